from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from django_callcache.cache.connections import Connections
from django_callcache.exceptions import RedisUnavailable
from tests.cache.waiting import wait_until

NEVER = 10**20


class Link:
    """Stands for a connection: nothing here sends anything."""

    numbers = count()

    def __init__(self):
        self.number = next(self.numbers)

    def disconnect(self):
        self.number = None


def soon():
    return time.monotonic_ns() + 20_000_000


@pytest.fixture
def connections():
    return Connections(Link, 3, 30.0, "redis.example:6379")


class Taker(threading.Thread):
    """Takes a connection and keeps it."""

    def __init__(self, connections, expires_at=NEVER, taken=None):
        super().__init__(daemon=True)
        self.connections = connections
        self.expires_at = expires_at
        self.taken = taken if taken is not None else []
        self.got = None
        self.error = None

    def run(self):
        try:
            self.got = self.connections.take(self.expires_at)
            self.taken.append(self)
        except RedisUnavailable as error:
            self.error = error


def waiting(connections):
    return len(connections._waiters)


class TestTake:
    def test_take__last_in_first_out(self, connections):
        """The connection used last is used next, so that idle ones can be closed."""
        first, second = connections.take(NEVER), connections.take(NEVER)
        connections.give(first)
        connections.give(second)
        assert connections.take(NEVER) is second
        assert len(connections) == 2

    def test_take__limit(self, connections):
        """Beyond the limit a call waits as long as it may, and is told what to change."""
        taken = [connections.take(NEVER) for _ in range(3)]
        with pytest.raises(RedisUnavailable, match="MAX_CONNECTIONS") as raised:
            connections.take(soon())
        assert "redis.example:6379" in str(raised.value)
        assert not raised.value.sent
        assert len(connections) == 3
        assert len({link.number for link in taken}) == 3

    def test_take__max_wait(self):
        """The pool's own bound ends the wait, too."""
        connections = Connections(Link, 1, 0.02, "x")
        taken = connections.take(NEVER)
        with pytest.raises(RedisUnavailable):
            connections.take(time.monotonic_ns() + 3600 * 10**9)
        connections.give(taken)

    def test_take__no_time_left(self, connections):
        """Who is late already gets a free connection, but does not wait for one."""
        taken = [connections.take(0) for _ in range(3)]
        with pytest.raises(RedisUnavailable):
            connections.take(0)
        connections.give(taken[0])
        assert connections.take(0) is taken[0]

    def test_take__after_a_vain_wait(self, connections):
        """Who gave up is forgotten: what is brought back goes to the next, not to him."""
        taken = [connections.take(NEVER) for _ in range(3)]
        with pytest.raises(RedisUnavailable):
            connections.take(soon())
        connections.give(taken[0])
        assert connections.take(0) is taken[0]

    def test_take__lost_connection(self, connections):
        """A connection that an exception from a signal handler took along frees its place."""
        for _ in range(10):
            connections.take(0)
        gc.collect()
        assert len(connections) == 0


class TestGive:
    def test_give__longest_waiter_first(self, connections):
        """A connection goes from hand to hand, in the order in which the others began to wait."""
        taken = [connections.take(NEVER) for _ in range(3)]
        arrived = []
        takers = []
        for number in range(10):
            taker = Taker(connections, taken=arrived)
            taker.start()
            takers.append(taker)
            wait_until(lambda number=number: waiting(connections) == number + 1)
        link = taken[0]
        for number, taker in enumerate(takers):
            connections.give(link)
            wait_until(lambda number=number: len(arrived) == number + 1)
            assert arrived[-1] is taker
            link = taker.got
        assert len(connections) == 3

    def test_give__nobody_barges_in(self, connections):
        """Who comes while others wait does not get what is brought back."""
        taken = [connections.take(NEVER) for _ in range(3)]
        taker = Taker(connections)
        taker.start()
        wait_until(lambda: waiting(connections) == 1)
        connections.give(taken[0])
        with pytest.raises(RedisUnavailable):
            connections.take(0)
        taker.join()
        assert taker.got is taken[0]


class TestReleaseWaiters:
    def test_release_waiters(self, connections):
        """When the breaker opens everybody who waits is sent away at once."""
        taken = [connections.take(NEVER) for _ in range(3)]
        takers = [Taker(connections) for _ in range(5)]
        for taker in takers:
            taker.start()
        wait_until(lambda: waiting(connections) == 5)
        connections.release_waiters()
        for taker in takers:
            taker.join()
            assert isinstance(taker.error, RedisUnavailable)
        connections.give(taken[0])
        assert connections.take(0) is taken[0]


class TestInterruptedWait:
    @pytest.mark.parametrize("has_arrived", [False, True])
    def test_wait__exception_from_a_signal(self, connections, monkeypatch, has_arrived):
        """A wait that a signal handler's exception ends gives its turn, or its connection, to the next."""
        taken = [connections.take(NEVER) for _ in range(3)]
        other = Taker(connections)
        wait = connections._await_arrival

        class Interrupt(Exception):
            pass

        def interrupted(waiter, expires_at):
            if threading.current_thread() is other:
                return wait(waiter, expires_at)
            other.start()
            wait_until(lambda: waiting(connections) == 2)
            if has_arrived:
                connections.give(taken[0])
            raise Interrupt

        monkeypatch.setattr(connections, "_await_arrival", interrupted)
        with pytest.raises(Interrupt):
            connections.take(NEVER)
        if not has_arrived:
            connections.give(taken[0])
        other.join(30)
        assert other.got is taken[0]
        assert waiting(connections) == 0


class TestForget:
    def test_forget__fresh(self, connections):
        """A child process starts without connections, its own limit before it."""
        old = [connections.take(NEVER) for _ in range(3)]
        connections.forget()
        assert len(connections) == 0
        assert {connections.take(0) for _ in range(3)}.isdisjoint(old)

    def test_close__free_ones(self, connections):
        """Close takes the connections that nobody uses."""
        used, free = connections.take(NEVER), connections.take(NEVER)
        connections.give(free)
        connections.close()
        assert free.number is None
        assert used.number is not None


class TestManyThreads:
    def test_fifty_threads_on_three_connections(self, make_cache, start_redis):
        """Fifty threads share three connections: the limit holds, and no reply goes astray."""
        server = start_redis()
        cache = make_cache(server.url, MAX_CONNECTIONS=3, DEADLINE=20)
        before = cache.redis_client().info("stats")["total_connections_received"]

        def work(number):
            for step in range(20):
                assert cache.set(f"k{number}", (number, step))
                assert cache.get(f"k{number}") == (number, step)

        with ThreadPoolExecutor(50) as threads:
            list(threads.map(work, range(50)))
        received = cache.redis_client().info("stats")["total_connections_received"] - before
        assert received <= 3
        assert cache.counted()["other"]["errors"] == 0

    def test_waits__do_not_trip_the_breaker(self, make_cache, start_redis):
        """Waiting in vain for a connection is no evidence against the server."""
        server = start_redis()
        cache = make_cache(server.url, MAX_CONNECTIONS=1, DEADLINE=5, POOL_TIMEOUT=0.005, ON_ERROR="raise")
        cache.set("a", 1)
        io = cache.blocking._io
        link = io._connections.take(NEVER)
        for _ in range(20):
            with pytest.raises(RedisUnavailable, match="MAX_CONNECTIONS"):
                cache.get("a")
        io._connections.give(link)
        assert cache.get("a") == 1
