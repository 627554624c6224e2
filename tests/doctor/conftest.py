"""Caches that something is wrong with, each on a Redis of its own."""

from __future__ import annotations

import pytest

from django_callcache.sync.leader import Heartbeat
from tests.cache.conftest import make_cache, make_caches, start_redis
from tests.sync.conftest import remote_url, supalite

__all__ = ["make_cache", "make_caches", "remote_url", "start_redis", "supalite"]


@pytest.fixture
def patient(make_cache, start_redis):
    """Make a cache on a server of its own, with a loop, on which a busy machine is no slow command."""

    def make(location=None, *, slow_milliseconds=2000, append_only=True, **stated):
        server = start_redis(append_only=append_only)
        cache = make_cache(location(server) if location else server.url, DEADLINE=10, STATS=True, **stated)
        client = cache.redis_client()
        client.config_set("slowlog-log-slower-than", slow_milliseconds * 1000)
        Heartbeat.of_this_process().write(client, cache.redis_keys)
        return cache

    return make
