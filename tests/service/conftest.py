from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime

import pytest
import redis
from django.core.cache import caches
from django.db import close_old_connections, connections

from django_callcache.cache.registry import runtimes
from django_callcache.service import CacheService, threads
from django_callcache.sync.memory import MemoryStore
from tests.conftest import empty

NOON_IN_BOGOTA = datetime.fromisoformat("2025-11-19T12:00:00-05:00").timestamp()


class Clock:
    """A clock that tests set."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now

    def set(self, text):
        """Set it to a local time of Bogota, the sample's time zone."""
        self.now = datetime.fromisoformat(f"{text}-05:00").timestamp()


@pytest.fixture(autouse=True)
def _nothing_counted(redis_client):
    """What was counted in other tests is neither reported in this one nor known to its cache."""
    with suppress(redis.RedisError):
        caches["default"].flush_stats()
    del caches["default"]
    for runtime in runtimes():
        with suppress(redis.RedisError):
            runtime.exchange.flush_stats()
    empty(redis_client)
    for runtime in runtimes():
        with suppress(redis.RedisError):
            runtime.read_profile()


@pytest.fixture(autouse=True)
def _closed_connections(monkeypatch):
    """Threads close their connections for good: Django leaves those to an in-memory SQLite open, and
    from 3.13 on Python complains of that when the thread has ended."""

    def close():
        close_old_connections()
        for connection in connections.all(initialized_only=True):
            if connection.connection is not None and connection.vendor == "sqlite":
                connection.connection.close()
                connection.connection = None

    monkeypatch.setattr(threads, "close_old_connections", close)


@pytest.fixture
def clock():
    """A clock that shows a Wednesday's noon in Bogota."""
    return Clock(NOON_IN_BOGOTA)


@pytest.fixture
def service(cache, clock):
    """A service over the default cache."""
    return CacheService(clock=clock)


class SharedStore(MemoryStore):
    """A remote store that settings can name, one for all passes of a test."""

    instance = None

    @classmethod
    def from_settings(cls, settings):
        return cls.instance


@pytest.fixture
def store(settings):
    """The remote store of the test, in memory, as the settings name it."""
    SharedStore.instance = SharedStore()
    settings.CALLCACHE = {
        "SYNC": {"REMOTE": f"{__name__}.SharedStore", "NAMESPACE": "tests", "BATCH": 1, "INTERVAL": 60}
    }
    yield SharedStore.instance
    SharedStore.instance = None


async def eventually(holds):
    """Wait until something holds; fail when it does not within half a minute."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  # what is waited for knows no event of ours
            await asyncio.sleep(0.01)
