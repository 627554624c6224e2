from __future__ import annotations

import time

import pytest

from django_callcache.sync.leader import Heartbeat

pytest.importorskip("health_check", reason="Install it with: pip install django-health-check")

from health_check.exceptions import ServiceUnavailable

from django_callcache.contrib.health import CallCacheLoop, CallCacheRedis


class TestCallCacheRedis:
    async def test_run(self, make_cache):
        """A Redis that answers is well."""
        make_cache()
        assert (await CallCacheRedis().get_result()).error is None

    async def test_run__down(self, make_cache, start_redis):
        """One that does not is told of, without its address."""
        server = start_redis()
        make_cache(server.url)
        server.stop()
        error = (await CallCacheRedis().get_result()).error
        assert isinstance(error, ServiceUnavailable)
        assert str(server.port) not in str(error)


class TestCallCacheLoop:
    async def test_run(self, make_cache):
        """The loop lives as long as its last sign is young."""
        cache = make_cache()
        client, keys = cache.redis_client(), cache.redis_keys
        assert "no sign of life" in str((await CallCacheLoop().get_result()).error)
        Heartbeat.of_this_process().write(client, keys)
        assert (await CallCacheLoop().get_result()).error is None
        client.delete(keys.heartbeat())
        Heartbeat(host="h", pid=1, started_at=0, alive_at=time.time() - 90).write(client, keys)
        assert "s old" in str((await CallCacheLoop().get_result()).error)
        assert (await CallCacheLoop(max_age_seconds=600).get_result()).error is None
