from __future__ import annotations

import asyncio
import signal
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from django_callcache.cache.running import run
from tests.cache.proxy import Proxy


class Interrupt(BaseException):
    """As SystemExit is; an Exception may end as a miss where it meets the decoding of a value."""


@contextmanager
def interrupting(seconds):
    """Raise in the main thread after a while, as a worker's time limit does."""

    def interrupt(*_):
        raise Interrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


class TestRun:
    def test_run__result(self):
        """A coroutine that never suspends is run by one step, with its result or its error."""

        async def add(one, other):
            return one + other

        async def fail():
            raise LookupError("x")

        assert run(add(1, 2)) == 3
        with pytest.raises(LookupError):
            run(fail())

    def test_run__suspended(self):
        """One that suspends is refused, and closed: nothing of it is left to warn about."""
        closed = []

        async def suspend():
            try:
                await asyncio.sleep(0)
            finally:
                closed.append(1)

        with pytest.raises(RuntimeError, match="suspended"):
            run(suspend())
        assert closed == [1]


class TestBlockingIo:
    def test_ask__on_a_running_loop(self, make_cache):
        """A blocking call made on a running event loop works, as Django's own backends do."""
        cache = make_cache()

        async def call():
            cache.set("a", 1)
            return cache.get("a"), list(cache.iter_keys("*"))

        assert asyncio.run(call()) == (1, ["a"])

    def test_ask__idle_connection(self, make_cache, start_redis):
        """A connection that the server closed while it was idle is noticed before a write is sent on it."""
        server = start_redis(append_only=True)
        cache = make_cache(server.url, DEADLINE=5)
        cache.set("a", 1)
        connection = cache.blocking._io._connections.take(0)
        connection.used_at -= 2_000_000_000
        cache.blocking._io._connections.give(connection)
        server.kill()
        server.start()
        assert cache.set("a", 2) is True
        assert cache.get("a") == 2

    @pytest.mark.usefixtures("undisturbed")
    def test_ask__deadline_after_an_idle_time(self, make_cache, start_redis):
        """The check of an idle connection leaves the deadline as it was."""
        with Proxy(start_redis().port) as proxy:
            cache = make_cache(proxy.url, DEADLINE=1)
            assert cache.set("a", 1)
            connection = cache.blocking._io._connections.take(0)
            connection.used_at -= 2_000_000_000
            cache.blocking._io._connections.give(connection)
            assert cache.get("a") == 1
            proxy.is_silent = True
            assert cache.get("a") is None
            assert proxy.connections == 1

    @pytest.mark.parametrize("seconds", [0.0005, 0.002, 0.01])
    def test_ask__exception_from_a_signal(self, make_cache, start_redis, seconds):
        """A call that a signal handler ends takes no connection along and leaves its reply to nobody."""
        with Proxy(start_redis().port) as proxy:
            proxy.delay_seconds = 0.002
            cache = make_cache(proxy.url, MAX_CONNECTIONS=1, DEADLINE=10)
            cache.set_many({"a": "a" * 100, "b": "b" * 100})
            for _ in range(10):
                with suppress(Interrupt), interrupting(seconds):
                    while True:
                        assert cache.get("a") == "a" * 100
                assert cache.get("b") == "b" * 100
                assert len(cache.blocking._io._connections) <= 1

    @pytest.mark.long
    @pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
    def test_ask__exceptions_from_signals(self, make_cache):
        """The same at any moment of a call, a thousand times."""
        cache = make_cache(MAX_CONNECTIONS=2, DEADLINE=10)
        cache.set_many({"a": "a" * 100, "b": "b" * 100})
        for turn in range(1000):
            with suppress(Interrupt), interrupting(0.0002 + turn % 50 * 1e-5):
                while True:
                    assert cache.get("a") == "a" * 100
                    assert cache.get_many(["b", "a"]) == {"a": "a" * 100, "b": "b" * 100}
            assert cache.get("b") == "b" * 100
            assert len(cache.blocking._io._connections) <= 2

    def test_ask__twenty_threads_through_an_outage(self, make_cache, start_redis):
        """Threads that call while the server dies and comes back see no exception and no wrong value."""
        server = start_redis(append_only=True)
        cache = make_cache(server.url, DEADLINE=0.5)
        cache.set_many({f"k{number}": number for number in range(20)})
        is_over = threading.Event()
        seen = [set() for _ in range(20)]

        def work(number):
            while not is_over.is_set():
                seen[number].add(cache.get(f"k{number}", "missing"))
                time.sleep(0.001)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        server.kill()
        while not cache.blocking._runtime.breaker.is_open:
            time.sleep(0.01)
        server.start()
        cache.blocking._runtime.breaker._probe_at = 0.0
        while cache.blocking._runtime.breaker.is_open:
            time.sleep(0.01)
        is_over.set()
        for thread in threads:
            thread.join()
        assert all(values <= {number, "missing"} for number, values in enumerate(seen))
        assert cache.get_many(f"k{number}" for number in range(20)) == {f"k{n}": n for n in range(20)}
