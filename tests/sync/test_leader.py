from __future__ import annotations

import dataclasses

from django_callcache.sync.leader import Heartbeat, LoopLease
from tests.outbox.recording import KEYS


class TestLoopLease:
    def test_take__one_at_a_time(self, redis_client):
        """One holder keeps others out for the time of the lease, and lets them in when it gives it back."""
        first, second = (LoopLease(redis_client, KEYS, 30) for _ in range(2))
        assert first.take()
        assert not second.take()
        assert 0 < second.remaining_seconds() <= 30
        first.give_back()
        assert second.take()

    def test_take__after_a_crash(self, redis_client):
        """The lease of a holder that died ends by itself."""
        LoopLease(redis_client, KEYS, 30).take()
        assert 0 < redis_client.pttl(KEYS.loop_lease()) <= 30_000

    def test_keep(self, redis_client):
        """The lease is renewed when a third of it is over, not before."""
        now = [0.0]
        lease = LoopLease(redis_client, KEYS, 30, clock=lambda: now[0])
        lease.take()
        redis_client.pexpire(KEYS.loop_lease(), 5000)
        now[0] = 9.9
        assert lease.keep()
        assert redis_client.pttl(KEYS.loop_lease()) <= 5000
        now[0] = 10.0
        assert lease.keep()
        assert redis_client.pttl(KEYS.loop_lease()) > 5000

    def test_keep__lapsed(self, redis_client):
        """Who was late goes on with its work where nobody else has begun meanwhile."""
        now = [0.0]
        slow = LoopLease(redis_client, KEYS, 30, clock=lambda: now[0])
        slow.take()
        redis_client.delete(KEYS.loop_lease())
        now[0] = 60.0
        assert slow.keep()
        assert 20 < slow.remaining_seconds() <= 30
        assert not LoopLease(redis_client, KEYS, 30).take()

    def test_keep__lost(self, redis_client):
        """Who slept too long learns that somebody else has the lease, and does not take it from them."""
        now = [0.0]
        sleeper = LoopLease(redis_client, KEYS, 30, clock=lambda: now[0])
        sleeper.take()
        redis_client.delete(KEYS.loop_lease())
        other = LoopLease(redis_client, KEYS, 30)
        other.take()
        now[0] = 60.0
        assert not sleeper.keep()
        sleeper.give_back()
        assert not sleeper.take()

    def test_remaining__nobody(self, redis_client):
        """A lease that nobody has lasts no time."""
        assert LoopLease(redis_client, KEYS, 30).remaining_seconds() == 0


class TestHeartbeat:
    def test_write_and_read(self, redis_client):
        """The last sign of life is read as it was written, and leaves Redis some day."""
        assert Heartbeat.read(redis_client, KEYS) is None
        beat = dataclasses.replace(Heartbeat.of_this_process(), passed_at=1.5, outcome="ok")
        beat.write(redis_client, KEYS)
        assert Heartbeat.read(redis_client, KEYS) == beat
        assert redis_client.ttl(KEYS.heartbeat()) > 86_400

    def test_read__something_else(self, redis_client):
        """What cannot be read is no sign of life."""
        redis_client.hset(KEYS.heartbeat(), "pid", "many")
        assert Heartbeat.read(redis_client, KEYS) is None
