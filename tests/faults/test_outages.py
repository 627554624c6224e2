"""Redis away, slow, starting or of another mind, as a site meets it: what its threads and requests see."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest
import redis

from django_callcache.exceptions import RedisMisconfigured
from tests.cache.test_faults import DEFAULT, stopped
from tests.cache.waiting import wait_until
from tests.tls import certificate, tls_server

GENEROUS = 60.0
"""Seconds for what takes milliseconds: nothing here waits for an outage to end."""


def in_threads(number, work):
    """Run some work in threads; return what they raised."""
    raised = []

    def guarded(name):
        try:
            work(name)
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(name,)) for name in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GENEROUS)
    assert not any(thread.is_alive() for thread in threads)
    return raised


class TestKilled:
    def test_threads__no_exception(self, make_cache, start_redis):
        """Twenty threads live through a crash and a restart: no exception, and Redis is used again (F-R2)."""
        server = start_redis(append_only=True)
        cache = make_cache(server.url, DEADLINE=1)
        cache.set_many({f"k{n}": n for n in range(20)}, timeout=None)
        stop, wrong = threading.Event(), []

        def work(name):
            while not stop.is_set():
                value = cache.get(f"k{name}")
                if value not in {None, name}:
                    wrong.append((name, value))
                cache.set(f"w{name}", name)

        def disturb():
            server.kill()
            server.start()
            cache._runtime.breaker.forget()
            wait_until(lambda: cache.get("k1") == 1 and cache.set("back", 1))
            stop.set()

        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        raised = in_threads(20, work)
        disturbing.join(GENEROUS)
        assert (raised, wrong) == ([], [])


class TestHung:
    async def test_request__one_wait(self, face_of, make_cache, start_redis):
        """A request of twenty calls waits for a hung server three times at most, then never (F-R3)."""
        server = start_redis()
        face = face_of(make_cache(server.url, DEADLINE=0.25))
        await face.set("a", 1)
        with stopped(server):
            waited = 0
            for number in range(20):
                breaker = face.cache._runtime.breaker
                waited += not breaker.is_open
                assert await face.get(f"k{number}", DEFAULT) is DEFAULT
        assert waited <= 3

    async def test_pause__reads_go_on(self, face_of, make_cache, start_redis):
        """A server that pauses writes answers reads; a write fails and is made good (F-R13)."""
        server = start_redis()
        face = face_of(make_cache(server.url, DEADLINE=1))
        with redis.Redis.from_url(server.url) as admin:
            await face.set("a", "old")
            admin.execute_command("CLIENT", "PAUSE", "20000", "WRITE")
            assert await face.get("a") == "old"
            assert await face.set("a", "new") is False
            admin.execute_command("CLIENT", "UNPAUSE")
            face.cache._runtime.breaker.forget()
            wait_until(lambda: not face.cache._runtime.recovery.is_pending)
            assert await face.get("a") is None

    async def test_connections_shared__no_error(self, make_cache, start_redis):
        """Two hundred threads on ten connections: no error, and no more connections than ten (F-R14)."""
        server = start_redis()
        cache = make_cache(server.url, DEADLINE=30, MAX_CONNECTIONS=10)
        cache.set("a", 1)
        failures = []

        def work(name):
            for _ in range(5):
                if cache.get("a") != 1:
                    failures.append(name)

        assert in_threads(200, work) == []
        assert failures == []
        assert len(cache._runtime.connections) <= 10
        assert cache.counted()["other"]["errors"] == 0


class TestStarting:
    async def test_loading__misses_then_hits(self, face_of, make_cache, start_redis):
        """A server that loads its data is an outage: misses at first, then the values (F-R8)."""
        config = {"key-load-delay": "5000"}
        server = start_redis(append_only=True, config=config)
        face = face_of(make_cache(server.url, DEADLINE=1))
        await face.set_many({f"k{n}": "x" * 100 for n in range(300)}, timeout=None)
        server.stop()
        starting = threading.Thread(target=server.start)
        starting.start()
        seen = set()
        while starting.is_alive():
            face.cache._runtime.breaker.forget()
            seen.add(await face.get("k7", "missed"))
        starting.join(GENEROUS)
        face.cache._runtime.breaker.forget()
        assert seen <= {"missed", "x" * 100}
        assert await face.get("k7") == "x" * 100

    @pytest.mark.long
    async def test_loading__many_keys(self, face_of, make_cache, start_redis, capsys):
        """So is one that loads a million and a half keys: no exception, and values soon after (F-R8)."""
        server = start_redis(append_only=True, config={"enable-debug-command": "yes"})
        face = face_of(make_cache(server.url, RULES={"near:": {"near": True}}, NEAR="rules"))
        with redis.Redis.from_url(server.url, socket_timeout=300) as admin:
            admin.execute_command("DEBUG", "POPULATE", 1_500_000, "filler", 100)
            face.cache.set("near:1", "kept", None)
            admin.bgrewriteaof()
            wait_until(lambda: not admin.info("persistence")["aof_rewrite_in_progress"], 300)
        server.stop()
        starting = threading.Thread(target=server.start)
        starting.start()
        seen = []
        while starting.is_alive():
            seen.append(await face.get("near:1", "missed"))
        starting.join()
        loaded_at = time.monotonic()
        while await face.get("near:1", "missed") == "missed":
            assert time.monotonic() < loaded_at + GENEROUS
            await asyncio.sleep(0.01)
        took = time.monotonic() - loaded_at
        with capsys.disabled():
            sys.stdout.write(f"\n{len(seen):,} calls while it started, normal after {took:.1f} s\n")
        assert set(seen) <= {"missed", "kept"}
        assert "missed" in seen
        assert took <= 5


class TestReads:
    async def test_get_many__some_unreadable(self, face_of, make_cache, start_redis):
        """Of a thousand keys the three that cannot be read are missing, the others are there (F-L6)."""
        server = start_redis()
        face = face_of(make_cache(server.url, DEADLINE=10))
        await face.set_many({f"k{n}": n for n in range(1000)})
        with redis.Redis.from_url(server.url) as admin:
            admin.set("t:1:k1", b"\x01\x00garbage-garbage-garbage")
            admin.delete("t:1:k2")
            admin.rpush("t:1:k2", "a list")
            admin.set("t:1:k3", b"\x01\x04" + bytes(60))
        found = await face.get_many([f"k{n}" for n in range(1000)])
        assert found == {f"k{n}": n for n in range(1000) if n not in {1, 2, 3}}
        assert await face.set("k2", "healed") is True
        assert await face.get("k2") == "healed"


class TestConfiguration:
    @pytest.mark.parametrize("wrong", ["self-signed", "another host", "expired"])
    async def test_tls__refused(self, face_of, make_cache, tmp_path, wrong):
        """A server whose certificate does not hold is raised as configuration (F-S22)."""
        host = "elsewhere.example" if wrong == "another host" else "localhost"
        trusted, key = certificate(tmp_path, host, days=-1 if wrong == "expired" else 1)
        with tls_server(trusted, key) as (_, port):
            location = f"rediss://localhost:{port}/0"
            if wrong != "self-signed":
                location += f"?ssl_ca_certs={trusted}"
            face = face_of(make_cache(location, DEADLINE=10))
            for _ in range(3):
                with pytest.raises(RedisMisconfigured, match="TLS"):
                    await face.get("a")

    async def test_tls__trusted(self, face_of, make_cache, tmp_path):
        """A certificate that holds is what the tests above lack."""
        trusted, key = certificate(tmp_path, "localhost")
        with tls_server(trusted, key) as (_, port):
            face = face_of(make_cache(f"rediss://localhost:{port}/0?ssl_ca_certs={trusted}", DEADLINE=10))
            assert await face.set("a", 1) is True
            assert await face.get("a") == 1

    async def test_no_permission__raised_for_ever(self, face_of, make_cache, start_redis):
        """A command that the user may not run is raised each time, never taken for an outage."""
        server = start_redis()
        with redis.Redis.from_url(server.url) as admin:
            admin.acl_setuser("app", enabled=True, passwords=["+pw"], commands=["+@all", "-unlink"], keys="*")
        face = face_of(make_cache(server.url.replace("//", "//app:pw@"), DEADLINE=10))
        for _ in range(20):
            with pytest.raises(RedisMisconfigured):
                await face.delete("a")
        assert await face.set("a", 1) is True
        assert not face.cache._runtime.breaker.is_open
