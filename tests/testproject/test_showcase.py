"""The made-up month fills what the admin pages show."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.cache import caches
from django.urls import reverse

from django_callcache.models import CacheHour, CacheStat
from testproject import showcase

pytestmark = pytest.mark.django_db


@pytest.fixture
def shown(settings, redis_url, redis_client):
    """The month, put in place twice, in a cache of its own."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django_callcache.cache.CallCache",
            "KEY_PREFIX": "showcasetest",
            "LOCATION": redis_url,
            "OPTIONS": {"CALLCACHE": {"RULES": {"call:": {"sync": "lww"}}}},
        }
    }
    showcase.fill()
    showcase.fill()
    yield caches["default"]
    for pattern in ("showcasetest:*", "callcache@showcasetest:*"):
        for key in redis_client.scan_iter(pattern):
            redis_client.unlink(key)


class TestFill:
    def test_pages(self, shown, client):
        """Every chart of the cache, of prefixes and of sync has something to draw; filling again replaces."""
        hours = CacheStat.objects.values_list("hour", flat=True).distinct()
        assert set(CacheHour.objects.values_list("hour", flat=True)) == set(hours)
        shown.read_learning()
        counted = sum(row.hits + row.near_hits + row.misses for row in CacheStat.objects.all())
        assert 0 < sum(shown.profile.counts.values()) < counted
        client.force_login(User.objects.get(username=showcase.NAME))

        def context(name):
            return client.get(reverse(f"admin:django_callcache_{name}"), {"period": "7d"}).context

        cache, prefixes, sync = context("cache")["facts"], context("prefixes"), context("sync")
        assert not any(chart.is_empty for chart in (cache.latency, cache.memory, *sync["charts"]))
        assert any(bar.amount for bar in cache.reads)
        assert any(bar.amount for bar in cache.lifetimes)
        assert prefixes["shown"].heat.busiest > 1000
        assert any(hour.is_peak for hour in prefixes["shown"].heat.hours)
