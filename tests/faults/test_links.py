"""Slow and thin lines to Redis, and such that break: bounds in milliseconds and bytes."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest
import redis

from testproject.parts.redis_server import RedisServer
from tests.cache.conftest import Face
from tests.cache.proxy import Proxy
from tests.cache.test_faults import DEFAULT, once
from tests.faults.lateness import Lateness

pytestmark = pytest.mark.long

MEGABYTE = 1_000_000
THIN = 20_000
"""Bytes a second."""


class TestThin:
    @pytest.mark.parametrize("method", ["get", "set", "set_many"])
    async def test_megabyte__deadline(self, face_of, make_cache, start_redis, capsys, method):
        """What a line cannot carry in time is given up at the deadline, 50 ms more or less (F-R18)."""
        with Proxy(start_redis().port) as proxy:
            face = face_of(make_cache(proxy.url, COMPRESS=False))
            value = os.urandom(MEGABYTE)
            await once(lambda: face.set("a", value), face, True)
            await once(lambda: face.get("x", DEFAULT), face, DEFAULT)
            proxy.bytes_per_second = THIN
            calls = {
                "get": lambda: face.get("a", DEFAULT),
                "set": lambda: face.set("b", value),
                "set_many": lambda: face.set_many({"b": value}),
            }
            with Lateness() as late:
                began = time.monotonic()
                answer = await calls[method]()
                took = time.monotonic() - began
        with capsys.disabled():
            sys.stdout.write(f"\n{method}: {took * 1000:.0f} ms, {late}\n")
        assert answer == {"get": DEFAULT, "set": False, "set_many": ["b"]}[method]
        assert 0.200 <= took <= 0.300 + late.seconds


class TestSlow:
    @pytest.mark.parametrize(("deadline", "worst"), [(3.0, 3.0), (0.25, 0.3)])
    def test_two_hundred_threads(self, make_cache, start_redis, capsys, deadline, worst):
        """Two hundred threads on ten connections, 20 ms away: bounded; with patience, no error (F-R14)."""
        server = start_redis()
        with Proxy(server.port) as proxy, redis.Redis.from_url(server.url) as admin:
            proxy.delay_seconds = 0.02
            cache = make_cache(proxy.url, DEADLINE=deadline, MAX_CONNECTIONS=10)
            cache.set("a", 1)
            took, found, together = [], [], threading.Barrier(200)

            def work():
                together.wait()
                for _ in range(3):
                    began = time.monotonic()
                    found.append(cache.get("a"))
                    took.append(time.monotonic() - began)

            threads = [threading.Thread(target=work) for _ in range(200)]
            with Lateness() as late:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            connections = len(admin.client_list()) - 1
        errors = cache.counted()["other"]["errors"]
        with capsys.disabled():
            sys.stdout.write(
                f"\nDEADLINE {deadline:g}: {errors} of {len(found)} errors, worst {max(took):.2f} s, "
                f"{connections} connections, {late}\n"
            )
        assert connections <= 12
        assert max(took) <= worst + late.seconds
        assert set(found) <= {1, None}
        assert errors == found.count(None)
        assert errors == 0 or deadline < 1
        assert not cache._runtime.breaker.is_open


class TestBreaking:
    def test_every_byte(self, make_cache):
        """After whichever byte of an answer the line breaks, all of it is returned or nothing (F-R16)."""
        value = {"name": "x", "numbers": (1, 2)}
        with RedisServer() as server:
            whole = make_cache(server.url, DEADLINE=10)
            whole.set_many({"a": value, "b": 5})
            whole.hset("h", mapping={"f": 1, "g": value})
            whole.zadd("z", {"m": 1.5, "n": 2})
            whole.sadd("s", 1, 2)
            calls = {
                "get": (("a", DEFAULT), value, DEFAULT),
                "get_many": ((["a", "b", "c"],), {"a": value, "b": 5}, {}),
                "hgetall": (("h",), {"f": 1, "g": value}, {}),
                "smembers": (("s",), {1, 2}, set()),
                "zscore": (("z", "m"), 1.5, None),
                "has_key": (("a",), True, False),
            }
            for name, (arguments, right, none) in calls.items():
                for cut in range(200):
                    with Proxy(server.port, iter([cut, cut])) as proxy:
                        face = Face(make_cache(proxy.url, DEADLINE=5), is_native=False)
                        for _ in range(2):  # a call that is not repeated leaves the second cut to the next
                            found = getattr(face.cache, name)(*arguments)
                            assert found in (right, none), (name, cut, found)
                        assert getattr(face.cache, name)(*arguments) == right
