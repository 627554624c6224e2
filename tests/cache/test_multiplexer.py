from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import threading

import pytest
import redis
from asgiref.sync import async_to_sync
from django.core.cache import caches

from tests.cache.proxy import Proxy
from tests.cache.waiting import wait_until


def own_connections(client):
    """The server's connections but those of the client that asks."""
    return [each for each in client.client_list() if not each["cmd"].startswith("client")]


@pytest.fixture
def server(start_redis):
    """A server that nobody else talks to."""
    return start_redis()


@pytest.mark.usefixtures("undisturbed")
class TestOneConnection:
    async def test_tasks__share_a_connection(self, make_cache, server):
        """Two hundred tasks share one connection, and each gets its own reply."""
        cache = make_cache(server.url, DEADLINE=10)
        admin = cache.redis_client()
        admin.ping()

        async def work(number):
            for step in range(5):
                await cache.aset(f"k{number}", (number, step))
                assert await cache.aget(f"k{number}") == (number, step)

        await asyncio.gather(*(work(number) for number in range(200)))
        assert len(own_connections(admin)) == 1
        assert admin.info("stats")["total_connections_received"] <= 4  # start-up's, ours and this client's

    async def test_backends__share_a_connection(self, make_cache, server):
        """So do the backend objects that Django makes for each task."""
        make_cache(server.url, DEADLINE=10)

        async def work(number):
            backend = caches.create_connection("default")
            await backend.aset(f"k{number}", number)
            return await backend.aget(f"k{number}")

        assert await asyncio.gather(*(work(number) for number in range(50))) == list(range(50))
        admin = caches["default"].redis_client()
        admin.ping()
        assert len(own_connections(admin)) == 1

    async def test_commands__leave_in_one_write(self, make_cache, server):
        """What tasks send in the same turn of the loop travels together."""
        with Proxy(server.port) as proxy:
            cache = make_cache(proxy.url, DEADLINE=10)
            await cache.aset("a", 1)
            assert await asyncio.gather(*(cache.aget("a") for _ in range(300))) == [1] * 300
            assert proxy.connections == 1


class TestCancellation:
    @pytest.mark.parametrize("number_of_tasks", [1000, pytest.param(10_000, marks=pytest.mark.long)])
    async def test_cancelled__no_reply_goes_astray(self, make_cache, server, number_of_tasks):
        """Half of many tasks are cancelled at any moment; the other half get their own replies."""
        cache = make_cache(server.url, DEADLINE=20)
        await cache.aset_many({f"k{number}": number for number in range(number_of_tasks)})
        chance = random.Random(7)
        wrong = []

        async def work(number):
            found = await cache.aget(f"k{number}")
            if found != number:
                wrong.append((number, found))

        tasks = [asyncio.create_task(work(number)) for number in range(number_of_tasks)]
        await asyncio.sleep(0)
        for position, task in enumerate(chance.sample(tasks, number_of_tasks // 2)):
            if position > 200 and chance.random() < 0.05:
                await asyncio.sleep(0)
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert not wrong
        assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) > 200
        assert {outcome for outcome in outcomes if not isinstance(outcome, asyncio.CancelledError)} == {None}
        assert await cache.aget("k5") == 5
        with redis.Redis.from_url(server.url) as admin:
            assert admin.info("clients")["connected_clients"] <= 3  # ours, the counts' and this one

    async def test_cancelled__while_connecting(self, make_cache, server):
        """Who is cancelled while the connection is made does not take it from the others."""
        cache = make_cache(server.url, DEADLINE=10)
        tasks = [asyncio.create_task(cache.aget_or_set(f"k{number}", number)) for number in range(20)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        tasks[1].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes[2:] == list(range(2, 20))

    async def test_cancelled__in_the_middle_of_a_batch(self, make_cache, server):
        """All replies of a cancelled batch are read and thrown away."""
        cache = make_cache(server.url, DEADLINE=10)
        await cache.aset("a", "right")
        for _ in range(20):
            task = asyncio.create_task(cache.aset_many({f"k{number}": number for number in range(200)}))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            assert await cache.aget("a") == "right"


class TestTimeouts:
    @pytest.mark.usefixtures("undisturbed")
    async def test_timeout__fails_all_and_reconnects(self, make_cache, server):
        """A late reply ends the connection: every call that waits degrades, the next gets a new one."""
        with Proxy(server.port) as proxy:
            cache = make_cache(proxy.url, DEADLINE=1)
            await cache.aset_many({f"k{number}": number for number in range(20)})
            proxy.is_silent = True
            before = proxy.connections
            found = await asyncio.gather(*(cache.aget(f"k{number}", "none") for number in range(20)))
            assert found == ["none"] * 20
            proxy.is_silent = False
            assert await cache.aget("k3") == 3
            assert proxy.connections == before + 1

    async def test_timeout__many_pending_count_once(self, make_cache, server):
        """However many calls a hung connection takes along, it is one failure to the breaker."""
        with Proxy(server.port) as proxy:
            cache = make_cache(proxy.url, DEADLINE=0.1)
            await cache.aset("a", 1)
            proxy.is_silent = True
            await asyncio.gather(*(cache.aget("a") for _ in range(50)))
            assert not cache.blocking._runtime.breaker.is_open

    async def test_timeout__loop_goes_on(self, make_cache, server):
        """While calls wait for a server that hangs, the event loop serves others."""
        cache = make_cache(server.url, DEADLINE=0.2)
        await cache.aget("a")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            calls = asyncio.gather(*(cache.aget("a", "none") for _ in range(50)))
            turns = 0
            while not calls.done():
                await asyncio.sleep(0.001)
                turns += 1
            assert await calls == ["none"] * 50
            assert turns > 10
        finally:
            os.kill(server.pid, signal.SIGCONT)

    async def test_cut__pending_calls_fail(self, make_cache, server):
        """When the server closes the connection, reads and plain writes that wait are sent once more."""
        with Proxy(server.port) as proxy:
            cache = make_cache(proxy.url, DEADLINE=10)
            await cache.aset("a", 1)
            proxy.is_silent = True
            reads = asyncio.gather(*(cache.aget("a", "none") for _ in range(10)))
            writes = asyncio.gather(*(cache.aset("b", 1) for _ in range(10)))
            others = asyncio.gather(*(cache.aadd(f"c{number}", 1) for number in range(10)))
            requested = proxy.requested
            await asyncio.to_thread(wait_until, lambda: proxy.requested > requested)
            proxy.is_silent = False
            proxy.drop_connections()
            assert await reads == [1] * 10
            assert await writes == [True] * 10
            assert await others == [False] * 10

    async def test_cut__right_after_connecting(self, make_cache, server):
        """A connection that ends as soon as it is made fails the call; it does not leave it waiting."""
        for cut in range(12):
            with Proxy(server.port, iter([cut] * 4)) as proxy:
                cache = make_cache(proxy.url, DEADLINE=5)
                assert await cache.aget("a", "none") == "none"
                assert await cache.aset("a", 1) is False


@pytest.mark.usefixtures("undisturbed")
class TestLoops:
    def test_loops__one_after_another(self, make_cache, server):
        """Each event loop gets a connection of its own, and takes it along when it ends."""
        cache = make_cache(server.url, DEADLINE=10)
        admin = cache.redis_client()

        async def work(number):
            await cache.aset("a", number)
            return await cache.aget("a")

        for number in range(5):
            assert asyncio.run(work(number)) == number
        gc.collect()
        admin.ping()
        wait_until(lambda: not own_connections(admin))

    def test_loops__at_the_same_time(self, make_cache, server):
        """Threads with loops of their own do not meet."""
        cache = make_cache(server.url, DEADLINE=10)
        found = {}

        def work(number):
            async def calls():
                for step in range(20):
                    await cache.aset(f"k{number}", step)
                    assert await cache.aget(f"k{number}") == step
                found[number] = True

            asyncio.run(calls())

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8

    def test_loops__async_to_sync(self, make_cache, server):
        """The short-lived loops that asgiref makes work too, and leave nothing open."""
        cache = make_cache(server.url, DEADLINE=10)
        for number in range(5):
            async_to_sync(cache.aset)("a", number)
            assert async_to_sync(cache.aget)("a") == number
        gc.collect()

    def test_loops__ended_in_the_middle(self, make_cache, server):
        """A loop that ends while calls wait, or while the connection is made, leaves nothing open."""

        async def leave(cache, turns):
            tasks = [asyncio.create_task(cache.aget(str(number))) for number in range(10)]
            for _ in range(turns):
                await asyncio.sleep(0)
            return len(tasks)

        cache = make_cache(server.url, DEADLINE=10)
        for turns in range(30):
            assert asyncio.run(leave(cache, turns)) == 10
        gc.collect()
        admin = cache.redis_client()
        admin.ping()
        wait_until(lambda: not own_connections(admin))

    async def test_hung_while_connecting__leaves_nothing_open(self, make_cache, server):
        """A connection that could not be made in time is closed."""
        cache = make_cache(server.url, DEADLINE=0.05)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            assert await cache.aget("a", "none") == "none"
            gc.collect()
        finally:
            os.kill(server.pid, signal.SIGCONT)
