"""What a commit makes stale while Redis is away."""

from __future__ import annotations

from datetime import date

import pytest
import redis

from django_callcache.cache import recovery
from testproject.crm.models import Campaign
from tests.cache.conftest import start_redis
from tests.cache.proxy import Proxy
from tests.cache.waiting import wait_until

__all__ = ["start_redis"]


@pytest.mark.django_db(transaction=True)
class TestOutage:
    def test_commit__redis_away(self, make_caches, settings, start_redis, monkeypatch):
        """The commit stands, and the entry is deleted as soon as Redis answers again."""
        monkeypatch.setattr(recovery, "RETRY_SECONDS", (0.01, 0.02))
        server = start_redis()
        with Proxy(server.port) as proxy, redis.Redis.from_url(server.url) as others:
            options = {"OPTIONS": {"CALLCACHE": {"STATS": False, "DEADLINE": 0.5}}}
            (cache,) = make_caches(
                {"default": {"LOCATION": proxy.url, "KEY_PREFIX": "t", **options}},
                {"INVALIDATE": {"crm.Campaign": ["campaign:{pk}"]}},
            )
            wait_until(lambda: cache.set("campaign:1", "old") and others.exists("t:1:campaign:1"))
            proxy.is_silent = True
            proxy.drop_connections()
            Campaign.objects.create(pk=1, name="May", starts_on=date(2008, 5, 1))
            assert Campaign.objects.filter(pk=1).exists()
            assert others.exists("t:1:campaign:1")
            proxy.is_silent = False
            proxy.drop_connections()
            cache._runtime.breaker.forget()
            wait_until(lambda: not others.exists("t:1:campaign:1"))
