"""Caches made by their settings, and the two faces of each behind one way to call them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
from django.core.cache import caches

from testproject.parts.missing import PartMissing
from testproject.parts.redis_server import RedisServer
from tests.conftest import require

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
