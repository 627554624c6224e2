from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cache.fill_process import OPTIONS, loader_of, mixed, race
from tests.cache.waiting import wait_until


class FillProcess:
    """A process of its own, see `fill_process`."""

    def __init__(self, url):
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.cache.fill_process", url],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self._process.communicate()

    def kill(self):
        self._process.kill()

    def tell(self, name, *arguments):
        """Give an order, without waiting for the reply."""
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()

    def hear(self):
        """The reply to the oldest order."""
        reply = self._process.stdout.readline()
        assert reply, "the process has died"
        return json.loads(reply)


@pytest.fixture
def start(redis_url):
    """Start processes that have connected."""

    def started(number):
        processes = [stack.enter_context(FillProcess(redis_url)) for _ in range(number)]
        for each in processes:
            each.tell("ready")
        for each in processes:
            each.hear()
        return processes

    with ExitStack() as stack:
        yield started


@pytest.fixture
def cache(make_cache, settings):
    """A cache in this process, of the same settings as the processes'."""
    settings.SECRET_KEY = "of processes that share a cache"
    return make_cache(**OPTIONS)


def misses(cache):
    """How many callers have found nothing, and wait or compute since."""
    return sum(counts["misses"] for counts in cache.counted().values())


def calls(redis_client, key):
    return int(redis_client.get(f"t:calls:{key}") or 0)


class TestOneCall:
    def test_threads(self, cache, redis_client):
        """Thirty-two threads on a cold key make one call."""
        assert mixed(cache, "cold", 32, 0, 0.05) == [1] * 32
        assert calls(redis_client, "cold") == 1

    def test_tasks(self, cache, redis_client):
        """Two hundred tasks on a cold key make one call."""
        assert mixed(cache, "cold", 0, 200, 0.05) == [1] * 200
        assert calls(redis_client, "cold") == 1

    def test_processes_threads_and_tasks(self, cache, redis_client, start):
        """Processes, threads and tasks on one cold key make one call in all."""
        processes = start(3)
        for each in processes:
            each.tell("mixed", "cold", 8, 40, 0.05)
        assert mixed(cache, "cold", 8, 40, 0.05) == [1] * 48
        for each in processes:
            assert each.hear() == [1] * 48
        assert calls(redis_client, "cold") == 1

    @pytest.mark.long
    def test_thirty_two_processes(self, redis_client, start):
        """Thirty-two processes on a cold key make one call, round after round."""
        processes = start(32)
        for number in range(10):
            for each in processes:
                each.tell("mixed", f"cold:{number}", 4, 8, 0.05)
            for each in processes:
                assert each.hear() == [1] * 12
            assert calls(redis_client, f"cold:{number}") == 1

    def test_waiters__objects_of_their_own(self, cache):
        """Nobody shares an object with another: what one changes, the others do not see."""
        begun, go_on = threading.Event(), threading.Event()

        def load():
            begun.set()
            go_on.wait(30)
            return {"calls": []}

        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(cache.get_or_set, "a", load)]
            begun.wait(30)
            asked += [pool.submit(cache.get_or_set, "a", load) for _ in range(3)]
            wait_until(lambda: misses(cache) == 4)
            go_on.set()
            found = [each.result(30) for each in asked]
        assert found == [{"calls": []}] * 4
        assert len({id(each) for each in found}) == 4


class TestEnds:
    def test_killed(self, cache, redis_client, start):
        """When the one who computes is killed, another takes over once the lease has run out."""
        (leader,) = start(1)
        leader.tell("hang", "k")
        wait_until(lambda: calls(redis_client, "k") == 1)
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(cache.get_or_set, "k", loader_of(cache, "k", 0.01)) for _ in range(8)]
            leader.kill()
            assert [each.result(60) for each in asked] == [{"n": 2}] * 8
        assert calls(redis_client, "k") == 2

    def test_slow__renewed(self, cache, redis_client):
        """The lease of a loader that takes long is renewed, to a few seconds at a time."""
        begun, go_on = threading.Event(), threading.Event()

        def load():
            begun.set()
            return go_on.wait(60)

        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(cache.get_or_set, "a", load)
            begun.wait(30)
            lease = cache.redis_keys.lease(b"t:1:a")
            redis_client.pexpire(lease, 600_000)
            wait_until(lambda: redis_client.pttl(lease) <= 3000)
            go_on.set()
            assert asked.result(30) is True
        assert redis_client.exists(lease) == 0
        assert cache.get("a") is True

    async def test_error__to_all_who_wait(self, cache):
        """The loader's error reaches all who wait, in threads and tasks, and keeps nobody waiting after."""
        begun, fail = threading.Event(), threading.Event()

        def load():
            begun.set()
            fail.wait(30)
            raise LookupError("no such campaign")

        first = asyncio.create_task(asyncio.to_thread(cache.get_or_set, "a", load))
        await asyncio.to_thread(begun.wait, 30)
        others = [asyncio.create_task(cache.aget_or_set("a", load)) for _ in range(3)]
        others += [asyncio.create_task(asyncio.to_thread(cache.get_or_set, "a", load)) for _ in range(3)]
        await asyncio.to_thread(wait_until, lambda: misses(cache) == 7)
        fail.set()
        results = await asyncio.gather(first, *others, return_exceptions=True)
        assert {type(each) for each in results} == {LookupError}
        assert cache.get_or_set("a", lambda: "well") == "well"

    async def test_cancelled__a_waiter_takes_over(self, cache):
        """When the task that computes is cancelled, one of those who wait computes."""
        begun = asyncio.Event()

        async def hang():
            begun.set()
            await asyncio.sleep(3600)

        leader = asyncio.create_task(cache.aget_or_set("a", hang))
        await begun.wait()
        waiters = [asyncio.create_task(cache.aget_or_set("a", lambda: "theirs")) for _ in range(3)]
        waiters += [asyncio.create_task(asyncio.to_thread(cache.get_or_set, "a", lambda: "theirs"))]
        await asyncio.to_thread(wait_until, lambda: misses(cache) == 5)
        leader.cancel()
        assert await asyncio.gather(*waiters) == ["theirs"] * 4
        with pytest.raises(asyncio.CancelledError):
            await leader
        assert await cache.aget("a") == "theirs"

    def test_cancelled__waiter(self, cache, redis_client):
        """A waiter that is cancelled leaves leader and other waiters alone."""

        async def story():
            go_on = asyncio.Event()

            async def load():
                await go_on.wait()
                return 7

            leader = asyncio.create_task(cache.aget_or_set("a", load))
            await asyncio.sleep(0)
            waiters = [asyncio.create_task(cache.aget_or_set("a", load)) for _ in range(3)]
            await asyncio.to_thread(wait_until, lambda: misses(cache) == 4)
            waiters[1].cancel()
            go_on.set()
            results = await asyncio.gather(leader, *waiters, return_exceptions=True)
            return [7 if each == 7 else type(each) for each in results]

        assert asyncio.run(story()) == [7, 7, asyncio.CancelledError, 7]
        assert cache.get("a") == 7

    def test_hanging__others_compute(self, cache):
        """After ``lock_timeout`` somebody else computes; what the hanging loader brings is not stored."""
        go_on, begun = threading.Event(), threading.Event()

        def hang():
            begun.set()
            go_on.wait(60)
            return "late"

        with ThreadPoolExecutor(5) as pool:
            late = pool.submit(cache.get_or_set, "a", hang, lock_timeout=0.3)
            begun.wait(30)
            others = [pool.submit(cache.get_or_set, "a", lambda: "soon", lock_timeout=0.3) for _ in range(4)]
            assert [each.result(30) for each in others] == ["soon"] * 4
            go_on.set()
            assert late.result(30) == "soon"
        assert cache.get("a") == "soon"


class TestReentrance:
    def test_same_key(self, cache):
        """A loader that asks for its own key computes it inside."""
        assert cache.get_or_set("a", lambda: cache.get_or_set("a", lambda: 1) + 1) == 2
        assert cache.get("a") == 2

    async def test_same_key__task(self, cache):
        """So does a coroutine, and a task that it starts."""

        async def outer():
            async with asyncio.TaskGroup() as group:
                inner = group.create_task(cache.aget_or_set("a", lambda: 1))
            return inner.result() + await cache.aget_or_set("a", lambda: 10)

        async with asyncio.timeout(20):
            assert await cache.aget_or_set("a", outer) == 11

    def test_crosswise__two_threads(self, cache):
        """Two loaders that need each other's key end, each with a value."""
        meet = threading.Barrier(2)

        def load(key, other):
            def first():
                meet.wait(30)
                return key + cache.get_or_set(other, lambda: other)

            return cache.get_or_set(key, first)

        with ThreadPoolExecutor(2) as pool:
            ab, ba = pool.submit(load, "a", "b"), pool.submit(load, "b", "a")
            results = {ab.result(20), ba.result(20)}
        assert results in ({"ab", "ba"}, {"aba", "ba"}, {"ab", "bab"})

    async def test_blocking_call__on_the_loop_that_computes(self, cache):
        """A blocking call on an event loop's own thread does not wait for a task of that loop."""
        begun = asyncio.Event()

        async def load():
            begun.set()
            await asyncio.sleep(3600)

        leader = asyncio.create_task(cache.aget_or_set("a", load))
        await begun.wait()
        assert cache.get_or_set("a", lambda: "own") == "own"
        leader.cancel()

    async def test_thread_of_a_loader(self, cache):
        """A thread that a coroutine loader waits for may ask for the same key."""

        async def load():
            return await asyncio.to_thread(cache.get_or_set, "a", lambda: "inner") + " outer"

        async with asyncio.timeout(20):
            assert await cache.aget_or_set("a", load) == "inner outer"


class TestRace:
    def test_threads_and_processes(self, cache, redis_client, start):
        """Forty rounds: no read that begins after an acknowledged deletion finds what was there before."""
        rounds = 40
        redis_client.mset({"t:source:r": 0, "t:acknowledged:r": 0})
        processes = start(2)
        for each in processes:
            each.tell("race", "r", 8, rounds)
        with ThreadPoolExecutor(1) as pool:
            own = pool.submit(race, cache, "r", 8, rounds)
            for number in range(1, rounds + 1):
                time.sleep(0.006)
                redis_client.set("t:source:r", number)
                cache.delete("r")
                redis_client.set("t:acknowledged:r", number)
            assert own.result(60) == []
        for each in processes:
            assert each.hear() == []
