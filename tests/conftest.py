"""Real parts for the tests: one private Redis a session from the start, PostgreSQL when first asked for.

``REDIS_URL`` given from outside is respected; only keys of the configured caches are deleted there.
A part that cannot be had skips the tests that need it, with the command that installs it;
with ``CALLCACHE_REQUIRE_PARTS=1`` it fails them. ``CALLCACHE_TEST_MINIMAL_USER=1`` lets the caches
reach the private Redis as the user of `tests.minimal_user`, ``CALLCACHE_TEST_CLUSTER=1`` makes it a
cluster: `tests.topology`.
"""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack

import django
import pytest
from django.conf import settings
from django.core.cache import caches

from django_callcache.cache.registry import runtimes
from testproject.parts.missing import PartMissing
from testproject.parts.postgres_server import PostgresServer
from tests import minimal_user, topology

REQUIRE_PARTS = os.environ.get("CALLCACHE_REQUIRE_PARTS") == "1"
parts = ExitStack()
atexit.register(parts.close)
missing_redis = ""

# Settings read REDIS_URL once, and conftests of subfolders import models: the server and
# Django come before the first hook could run. A worker of pytest-xdist finds the controller's
# server in its environment and starts one of its own.
private_redis = os.environ.get("REDIS_URL") == os.environ.get("CALLCACHE_PRIVATE_REDIS")
if private_redis:
    try:
        url = parts.enter_context(topology.start()).url
    except PartMissing as missing:
        missing_redis = str(missing)
        url = "redis://127.0.0.1:1/0"
    admin_url = url
    if minimal_user.IS_WANTED and not missing_redis:
        url = minimal_user.create(admin_url)
    os.environ["REDIS_URL"] = os.environ["CALLCACHE_PRIVATE_REDIS"] = url
elif minimal_user.IS_WANTED or topology.IS_CLUSTER:
    raise pytest.UsageError(
        "CALLCACHE_TEST_MINIMAL_USER and CALLCACHE_TEST_CLUSTER mean a private Redis: leave REDIS_URL out"
    )
else:
    admin_url = os.environ["REDIS_URL"]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
if private_redis:
    # A worker of pytest-xdist has read its settings by now, with the controller's address. Who asks stands
    # in it alone, so that a test that takes the same options elsewhere does not introduce itself.
    settings.CACHES["default"]["LOCATION"] = os.environ["REDIS_URL"]
    for name in ("USERNAME", "PASSWORD"):
        settings.CACHES["default"]["OPTIONS"].pop(name, None)
# A stall of a busy machine is not a miss: tests of the deadline make caches of their own.
settings.CACHES["default"]["OPTIONS"]["CALLCACHE"].setdefault("DEADLINE", 10)
django.setup()


def require(missing: str) -> None:
    """Skip the test that needs a missing part, or fail it where parts are required."""
    if REQUIRE_PARTS:
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


def pytest_unconfigure():
    """Stop what was started."""
    parts.close()


def pytest_collection_modifyitems(items):
    """Leave out what the minimal user may not do, or a cluster cannot, where the suite runs so."""
    topology.leave_out(items)
    if minimal_user.IS_WANTED:
        for item in items:
            for mark in item.iter_markers("needs_rights"):
                reason, case = mark.args[0], mark.kwargs.get("case", "")
                if case in item.name:
                    item.add_marker(pytest.mark.skip(reason=f"needs rights: {reason}"))


@pytest.fixture(scope="session")
def redis_url():
    """Address of a real Redis, as caches take it."""
    if missing_redis:
        require(missing_redis)
    return os.environ["REDIS_URL"]


@pytest.fixture(scope="session")
def session_redis(redis_url):
    """One redis-py client for the whole session, of the administrator."""
    return topology.client_of(admin_url)


@pytest.fixture
def redis_client(session_redis):
    """A plain redis-py client to the Redis of the tests, for looking behind the cache."""
    return session_redis


@pytest.fixture
def redis_place(redis_url):
    """Its host, port and database, for the address of another user."""
    return redis_url.partition("//")[2].rpartition("@")[2]


@pytest.fixture
def cache(redis_url):
    """The default cache."""
    return caches["default"]


@pytest.fixture(autouse=True)
def _same_settings():
    """No test leaves settings behind: overrides that end in another order than they began would."""
    before = settings._wrapped
    yield
    after, settings._wrapped = settings._wrapped, before
    assert after is before, "an override of settings outlived the test"


@pytest.fixture(autouse=True)
def _empty_redis():
    """Each test finds Redis empty, and no copy in this process of what was there."""
    yield
    if not missing_redis:
        client = topology.client_of(admin_url)
        empty(client)
        refused = minimal_user.IS_WANTED and minimal_user.refusals(client, minimal_user.NAME)
        if refused:
            minimal_user.forget_refusals(client)
        # The word of the server's that everything is gone may come after the next test has begun.
        for runtime in runtimes():
            if runtime.near is not None:
                runtime.near.empty()
        assert not refused, f"the minimal user was refused {refused}"


def empty(client):
    """Delete everything in a private Redis, the keys of the configured caches in another."""
    if private_redis:
        client.flushall()
        return
    for options in settings.CACHES.values():
        prefix = options.get("KEY_PREFIX", "")
        for pattern in (f"{prefix}:*", f"callcache@{prefix}:*"):
            for key in client.scan_iter(pattern, count=1000):
                client.unlink(key)


@pytest.fixture(scope="session")
def postgres_url():
    """Address of a private PostgreSQL, empty but for what the session's tests put in."""
    try:
        return parts.enter_context(PostgresServer()).url
    except PartMissing as missing:
        require(str(missing))
