from __future__ import annotations

import os
import time

import pytest
import redis

from django_callcache.cache.flusher import Flusher
from django_callcache.ttl.change_tables import ALL_CHANGES, OBSERVATIONS
from tests.cache.conftest import APP, BACKEND

pytestmark = pytest.mark.usefixtures("undisturbed")

RULES = {"row:": {"ttl": "adaptive"}}


def runtime_for(make_cache):
    """The runtime of a process that has just started: caches made anew share nothing but Redis."""
    cache = make_cache(app={**APP, "RELEASE": os.urandom(4).hex()}, NEAR=False, RULES=RULES)
    return cache._runtime


def tables_of(runtime):
    return runtime.learners()["row:"].tables


def learn(runtime, *, changes, now=None):
    """Let a process have seen some reloads, all of which found a change."""
    now = time.time() if now is None else now
    for _ in range(changes):
        tables_of(runtime).added[ALL_CHANGES] += 1
        tables_of(runtime).observed(now, now, runtime.learners()["row:"].bins)


class TestShareLearning:
    def test_share_learning__two_processes(self, make_cache):
        """Processes learn from each other, and nothing counts twice."""
        one, other = runtime_for(make_cache), runtime_for(make_cache)
        learn(one, changes=3)
        learn(other, changes=4)
        for runtime in (one, other, one, other):
            runtime.exchange.share_learning(with_all=True)
        assert tables_of(one).observations == tables_of(other).observations == 7
        assert tables_of(one)._sum(ALL_CHANGES) == 7

    def test_share_learning__restart(self, make_cache):
        """A process that has just started goes on from what was known."""
        before = runtime_for(make_cache)
        learn(before, changes=50)
        before.exchange.share_learning()
        after = runtime_for(make_cache)
        assert tables_of(after).observations == 0
        after.exchange.share_learning(with_all=True)
        assert tables_of(after).observations == 50
        assert tables_of(after).baseline.seasons is not None

    def test_share_learning__nothing_new(self, make_cache, redis_client):
        """Where nothing was learnt Redis is not asked."""
        runtime = runtime_for(make_cache)
        runtime.exchange.share_learning()
        assert redis_client.keys("callcache@t:{stats}:learnt:*") == []

    def test_share_learning__fading(self, make_cache):
        """After 4,000 reloads over all processes the sums are halved, once."""
        one, other = runtime_for(make_cache), runtime_for(make_cache)
        learn(one, changes=3990)
        one.exchange.share_learning()
        learn(other, changes=20)
        other.exchange.share_learning()
        assert tables_of(other).observations == 4010
        assert tables_of(other)._sum(ALL_CHANGES) == pytest.approx(4010 / 2)
        one.exchange.share_learning(with_all=True)
        assert tables_of(one)._sum(ALL_CHANGES) == pytest.approx(4010 / 2)

    def test_share_learning__old_hours(self, make_cache, redis_client):
        """Changes of hours long ago are forgotten when the sums are halved."""
        runtime = runtime_for(make_cache)
        hour = redis_client.time()[0] // 3600
        name = runtime.redis_keys.learnt("row:")
        learn(runtime, changes=1)
        runtime.exchange.share_learning()
        redis_client.hset(name, mapping={f"h{hour - 700}": 5, f"h{hour - 600}": 6, str(OBSERVATIONS): 3999})
        learn(runtime, changes=1)
        runtime.exchange.share_learning()
        assert not redis_client.hexists(name, f"h{hour - 700}")
        assert redis_client.hget(name, f"h{hour - 600}") == b"6"

    def test_share_learning__redis_down(self, make_cache, make_caches):
        """What did not arrive waits for the next time."""
        rules = {"CALLCACHE": {"NEAR": False, "RULES": RULES}}
        dead = {"BACKEND": BACKEND, "LOCATION": "redis://127.0.0.1:1/0", "OPTIONS": rules}
        (cache,) = make_caches({"default": dead})
        learn(cache._runtime, changes=5)
        with pytest.raises(redis.RedisError):
            cache._runtime.exchange.share_learning()
        assert tables_of(cache._runtime).growth().sums[ALL_CHANGES] == 5

    def test_finish__learning(self, make_cache, monkeypatch):
        """What a process has learnt is handed over when it ends."""
        runtime = runtime_for(make_cache)
        monkeypatch.setattr("django_callcache.cache.flusher.runtimes", lambda: [runtime])
        learn(runtime, changes=6)
        Flusher().finish()
        assert not tables_of(runtime).growth()

    def test_share_learning__small_numbers(self, make_cache, redis_client):
        """Sums survive the journey to Redis to the last digit that matters."""
        runtime = runtime_for(make_cache)
        tables_of(runtime).added[3] = 1.25e-9
        tables_of(runtime).added[OBSERVATIONS] = 1
        runtime.exchange.share_learning()
        assert tables_of(runtime)._sum(3) == pytest.approx(1.25e-9)
        assert redis_client.ttl(runtime.redis_keys.learnt("row:")) > 30 * 86400
