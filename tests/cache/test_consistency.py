"""Near copies compared with Redis: what is served too long is found, what is on its way out is not."""

from __future__ import annotations

import logging
import time

import pytest

from django_callcache.live import look
from django_callcache.watch import Watch
from tests.cache.linked import OPTIONS, connect_link, keep, near_of


@pytest.fixture
def cache(make_cache, wire):
    """A cache behind a proxy that can hold announcements back."""
    return connect_link(make_cache(location=wire.url, **OPTIONS))


@pytest.fixture
def deaf(cache, wire):
    """The link says nothing any more, and this process does not know: what must never be."""
    keep(cache, "k:1", {"a": 1})
    wire.is_link_silent = True
    near_of(cache).confirmed_until = time.monotonic_ns() + 10**15
    return cache


class TestProbe:
    def test_current(self, cache):
        """Copies that are what Redis holds are counted as compared, and nobody waits; absent keys too."""
        keep(cache, "k:1", {"a": 1})
        keep(cache, "k:2", 7)
        assert cache.get("k:absent") is None
        waited = []
        assert cache._runtime.probe(waited.append) == 0
        near = near_of(cache)
        assert near.checked >= 2
        assert (near.inconsistent, waited) == (0, [])

    @pytest.mark.parametrize("change", ["written", "deleted", "another type"])
    def test_served_too_long(self, deaf, redis_client, caplog, change):
        """A copy that is served after its time is counted and told."""
        redis_key = deaf.redis_key("k:1")
        redis_client.delete(redis_key)
        if change == "written":
            redis_client.set(redis_key, b"12")
        elif change == "another type":
            redis_client.rpush(redis_key, "a")
        waited = []
        with caplog.at_level(logging.ERROR, "django_callcache.cache.consistency"):
            assert deaf._runtime.probe(waited.append) == 1
        assert waited == [deaf.options.max_staleness]
        assert near_of(deaf).inconsistent == 1
        assert "near=inconsistent copies=1" in caplog.text
        assert "k:1" not in caplog.text

    def test_on_its_way(self, deaf, redis_client):
        """A copy that is dropped in time is none: the announcement was under way."""
        redis_client.delete(deaf.redis_key("k:1"))
        assert deaf._runtime.probe(lambda seconds: near_of(deaf).drop("k:1")) == 0

    def test_not_served(self, deaf, redis_client):
        """Nor is one that is not served, since the link has not confirmed it."""
        redis_client.delete(deaf.redis_key("k:1"))

        def lapse(seconds):
            near_of(deaf).confirmed_until = 0

        assert deaf._runtime.probe(lapse) == 0

    def test_nothing_kept(self, make_cache):
        """Without copies Redis is not asked."""
        assert make_cache(NEAR=False)._runtime.probe(pytest.fail) == 0


@pytest.mark.django_db
class TestTold:
    def test_totals(self, make_cache, undisturbed):
        """What was found reaches the totals of all processes, and the alert by what is new of it."""
        cache = connect_link(make_cache(**OPTIONS, STATS=True))
        watch = Watch(lambda: cache)
        near_of(cache).checked, near_of(cache).inconsistent = 5, 1
        cache.flush_stats()
        assert watch.signals(cache, look(cache), cache._runtime.settings)["inconsistent"] == 0
        near_of(cache).inconsistent += 2
        cache.flush_stats()
        totals = look(cache).totals
        assert (totals["near_checked"], totals["near_inconsistent"]) == (5, 3)
        assert watch.signals(cache, look(cache), cache._runtime.settings)["inconsistent"] == 2
        assert watch.signals(cache, look(cache), cache._runtime.settings)["inconsistent"] == 0
