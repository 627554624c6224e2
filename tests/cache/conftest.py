"""Caches made by their settings, and the two faces of each behind one way to call them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
from django.core.cache import caches

from django_callcache.cache import invalidation
from testproject.parts.missing import PartMissing
from testproject.parts.redis_server import RedisServer
from tests.cache.linked import OPTIONS, connect_link
from tests.cache.wire import Wire
from tests.conftest import require
from tests.topology import IS_CLUSTER, servers_of

BACKEND = "django_callcache.cache.CallCache"
PATIENT = {"DEADLINE": 10}
"""On the Redis that all tests share nothing goes wrong: a stall of a busy machine is not a miss there."""
QUIET = {"STATS": False}
"""Nothing is flushed behind a test's back, over a connection that it counts; it counts all the same."""
APP = {"SYNC": {"NAMESPACE": "tests"}, "STATS": {"FLUSH_INTERVAL": 3600}}
"""Settings of the app."""


class Face:
    """The blocking or the asyncio methods of a cache, all to be awaited, so that a test is written once."""

    def __init__(self, cache, is_native):
        self.cache = cache
        self.is_native = is_native

    def __getattr__(self, name):
        method = getattr(self.cache, f"a{name}" if self.is_native else name)

        async def call(*args, **kwargs):
            result = method(*args, **kwargs)
            if inspect.isawaitable(result):
                return await result
            if isinstance(result, AsyncIterator):
                return [item async for item in result]
            return list(result) if isinstance(result, Iterator) else result

        return call


@pytest.fixture
def make_caches(settings):
    """Make caches of a dict of aliases; they are forgotten after the test."""

    def make(aliases, app=APP):
        # By the fixture that tests change settings with, so that all of them end in one order.
        settings.CACHES = {alias: {"BACKEND": BACKEND, **stated} for alias, stated in aliases.items()}
        settings.CALLCACHE = app
        return [caches[alias] for alias in aliases]

    return make


@pytest.fixture
def make_cache(make_caches, redis_url):
    """Make the default cache: alias settings by their own names, options of the backend by theirs."""

    def make(location=redis_url, app=APP, django_redis=None, **stated):
        alias_settings = {"LOCATION": location, "KEY_PREFIX": "t"}
        own = {**QUIET, **(PATIENT if location == redis_url else {})}
        for name, value in stated.items():
            (alias_settings if name in ALIAS_SETTINGS else own)[name] = value
        options = {**(django_redis or {}), **({"CALLCACHE": own} if own else {})}
        return make_caches({"default": {**alias_settings, "OPTIONS": options}}, app)[0]

    return make


@pytest.fixture
def undisturbed(monkeypatch):
    """Keep the timer of the process from a test that counts connections: it makes one of its own."""
    monkeypatch.setattr("django_callcache.cache.flusher.runtimes", list)


ALIAS_SETTINGS = {"KEY_PREFIX", "VERSION", "TIMEOUT", "KEY_FUNCTION", "REVERSE_KEY_FUNCTION"}


@pytest.fixture(params=["blocking", "asyncio"])
def face_of(request):
    """Make the one or the other face of a cache."""
    return lambda cache: Face(cache, is_native=request.param == "asyncio")


@pytest.fixture
def face(face_of, make_cache):
    """One face of a cache without any option."""
    return face_of(make_cache())


@pytest.fixture
def start_redis():
    """Start Redis servers of the test's own, for it to stop and kill."""
    with ExitStack() as servers:

        def start(**arguments):
            try:
                return servers.enter_context(RedisServer(**arguments))
            except PartMissing as missing:
                require(str(missing))

        yield start


@pytest.fixture
def hurried_links(monkeypatch):
    """Let links confirm often, and come back soon, so that the tests need not wait."""
    monkeypatch.setattr(invalidation, "PING_NS", 5_000_000)
    monkeypatch.setattr(invalidation, "RECONNECT_SECONDS", (0.001, 0.02))


@pytest.fixture
def link_mode():
    """The option ``LINK`` of the caches that `make_near` and `make_pair` make."""
    return "broadcast"


@pytest.fixture
def make_near(make_cache, link_mode):
    """Make a cache whose link listens."""

    def make(**options):
        return connect_link(make_cache(**{**OPTIONS, "LINK": link_mode, **options}))

    return make


@pytest.fixture
def make_pair(make_caches, redis_url, link_mode):
    """Make a cache whose link listens and, of the same alias, one like that of another process."""

    def make(location=None, writer=None, app=None, **options):
        stated = {
            "KEY_PREFIX": "t",
            "OPTIONS": {"CALLCACHE": {**OPTIONS, "LINK": link_mode, "ALIAS": "default", **options}},
        }
        app = app or {"SYNC": {"NAMESPACE": "tests"}, "STATS": {"FLUSH_INTERVAL": 3600}}
        both = make_caches(
            {
                "default": {**stated, "LOCATION": location or redis_url},
                "other": {**stated, "LOCATION": writer or redis_url},
            },
            app,
        )
        connect_link(both[0])
        return both

    return make


@pytest.fixture
def wire(session_redis):
    """A proxy to the Redis of the tests."""
    if IS_CLUSTER:
        pytest.skip("needs one server: a proxy to it")
    arguments = session_redis.connection_pool.connection_kwargs
    with Wire(arguments["host"], arguments["port"]) as proxy:
        yield proxy


@pytest.fixture
def deny(redis_client, redis_url, redis_place):
    """Make users of Redis that may not do some things."""
    before_7 = int(servers_of(redis_client)[0].info("server")["redis_version"].split(".")[0]) < 7
    with ExitStack() as stack:

        def make(*rules, name="limited"):
            if before_7 and "-client|tracking" in rules:  # a part of a command cannot be taken away yet
                rules = ("-client", "+client|id", "+client|list", "+client|kill", *rules)
                rules = tuple(rule for rule in rules if rule != "-client|tracking")
            for server in servers_of(redis_client):
                server.execute_command(
                    "ACL", "SETUSER", name, "reset", "on", ">secret", "~*", "&*", "+@all", *rules
                )
                stack.callback(server.execute_command, "ACL", "DELUSER", name)
            return f"{redis_url.partition('//')[0]}//{name}:secret@{redis_place}"

        yield make
