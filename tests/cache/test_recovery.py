"""Invalidations that were made while Redis was away."""

from __future__ import annotations

import logging
import threading

import pytest
import redis

from django_callcache.cache import recovery
from django_callcache.cache.recovery import Recovery
from django_callcache.redis_keys import RedisKeys
from tests.cache.proxy import Proxy
from tests.cache.test_faults import once
from tests.cache.waiting import wait_until

RULES = {"near:": {"near": True}}


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Let what was lost be made good at once."""
    monkeypatch.setattr(recovery, "RETRY_SECONDS", (0.01, 0.02))


@pytest.fixture
def server(start_redis):
    return start_redis()


@pytest.fixture
def proxy(server):
    with Proxy(server.port) as between:
        yield between


@pytest.fixture
def others(server):
    """What other processes see."""
    with redis.Redis.from_url(server.url) as client:
        yield client


def goes_away(proxy):
    """Let the server be silent, and have all connections end, so that no call waits for long."""
    proxy.is_silent = True
    proxy.drop_connections()


def comes_back(proxy, face):
    proxy.is_silent = False
    proxy.drop_connections()
    face.cache._runtime.breaker.forget()


def is_made_good(face):
    return not face.cache._runtime.recovery.is_pending


WRITES = {
    "set": lambda face, key: face.set(key, "new"),
    "xx": lambda face, key: face.set(key, "new", xx=True),
    "delete": lambda face, key: face.delete(key),
    "timeout": lambda face, key: face.set(key, "new", 0),
    "set_many": lambda face, key: face.set_many({key: "new", f"{key}+": "new"}),
    "delete_many": lambda face, key: face.delete_many([key, f"{key}+"]),
    "delete_pattern": lambda face, key: face.delete_pattern("near:*"),
    "delete_prefix": lambda face, key: face.delete_prefix("near:"),
    "clear": lambda face, key: face.clear(),
}


class TestReplay:
    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    async def test_replay__no_old_value(self, face_of, make_cache, proxy, others, write):
        """What was written in vain is gone when Redis is back: nobody reads the old value (FAULT-3)."""
        face = face_of(make_cache(proxy.url, DEADLINE=0.2, RULES=RULES, NEAR="rules"))
        others.ping()
        await once(lambda: face.set_many({"near:1": "old", "other": "kept"}), face, [])
        await once(lambda: face.get("near:1"), face, "old")
        goes_away(proxy)
        await write(face, "near:1")
        assert await face.get("near:1") is None
        comes_back(proxy, face)
        assert await face.get("near:1") in {None, "new"}
        wait_until(lambda: is_made_good(face))
        assert others.get("t:1:near:1") is None
        assert await face.get("near:1") is None

    @pytest.mark.parametrize("write", [WRITES["delete"], WRITES["delete_prefix"]])
    async def test_replay__no_stale_copy(self, face_of, make_cache, proxy, others, write):
        """Nor is a stale copy served that was kept for when a computation fails."""
        rules = {"near:": {"near": False, "ttl": 60, "grace": 600}}
        face = face_of(make_cache(proxy.url, DEADLINE=0.2, RULES=rules))
        assert await face.get_or_set("near:1", lambda: "old") == "old"
        assert others.hexists(face.cache.redis_keys.side(b"t:1:near:1"), "g")
        goes_away(proxy)
        await write(face, "near:1")
        comes_back(proxy, face)
        wait_until(lambda: is_made_good(face))

        def fails():
            raise KeyError("no source")

        with pytest.raises(KeyError):
            await face.get_or_set("near:1", fails)

    async def test_replay__without_a_call(self, face_of, make_cache, proxy, others):
        """A process that makes no further call makes good what it lost all the same."""
        face = face_of(make_cache(proxy.url, DEADLINE=0.2))
        await face.set("a", "old")
        goes_away(proxy)
        assert await face.delete("a") is False
        comes_back(proxy, face)
        wait_until(lambda: not others.exists("t:1:a"))
        wait_until(lambda: is_made_good(face))

    async def test_replay__raise(self, face_of, make_cache, proxy, others):
        """The same where callers are told by an exception."""
        face = face_of(make_cache(proxy.url, DEADLINE=0.2, ON_ERROR="raise"))
        await face.set("a", "old")
        goes_away(proxy)
        with pytest.raises(redis.ConnectionError):
            await face.delete("a")
        comes_back(proxy, face)
        wait_until(lambda: not others.exists("t:1:a"))

    @pytest.mark.parametrize("overflows", [False, True])
    async def test_replay__tags(self, face_of, make_cache, proxy, others, monkeypatch, overflows):
        """A tag that was dropped in vain is dropped when Redis is back, and the epoch ends behind it."""
        monkeypatch.setattr(recovery, "MAX_REMEMBERED", 5 if overflows else 10_000)
        face = face_of(make_cache(proxy.url, DEADLINE=0.2))
        await face.set("e:a", "old", tags=["red"])
        await face.set("e:b", "kept", tags=["blue"])
        for _ in range(2):
            assert await face.get_many(["e:a", "e:b"]) == {"e:a": "old", "e:b": "kept"}
            assert await face.get("e:a") == "old"
        goes_away(proxy)
        assert await face.delete_tags("red") == 0
        await face.delete_many([f"k:{number}" for number in range(10)])
        assert await face.delete_tags("green", "red") == 0
        lost = list(face.cache._runtime.recovery._lost)
        assert lost[-1] == face.cache.redis_keys.tag_epoch()
        assert len(lost) == 3 if overflows else 13
        comes_back(proxy, face)
        wait_until(lambda: is_made_good(face))
        assert await face.get("e:a") is None
        assert await face.get("e:b") == "kept"

    async def test_replay__before_the_next_write(self, face_of, make_cache, proxy, others, monkeypatch):
        """A write that comes through is not undone by what was lost before it."""
        monkeypatch.setattr(recovery, "RETRY_SECONDS", (60, 61))
        face = face_of(make_cache(proxy.url, DEADLINE=0.2))
        await face.set("a", "old")
        goes_away(proxy)
        await face.set("a", "lost")
        await face.delete("b")
        comes_back(proxy, face)
        assert await face.set("a", "new") is True
        assert is_made_good(face)
        assert await face.get("a") == "new"

    async def test_replay__many(self, face_of, make_cache, proxy, others):
        """Five hundred writes in an outage: right here at once, everywhere once Redis is back (F-K13)."""
        face = face_of(make_cache(proxy.url, DEADLINE=0.2, RULES=RULES, NEAR="rules"))
        keys = [f"near:{number}" for number in range(500)]
        await face.set_many(dict.fromkeys(keys, "old"))
        goes_away(proxy)
        for number, key in enumerate(keys):
            await (face.delete(key) if number % 2 else face.set(key, "new"))
            assert await face.get(key) is None
        comes_back(proxy, face)
        wait_until(lambda: is_made_good(face))
        assert others.mget([f"t:1:{key}" for key in keys]) == [None] * 500
        assert await face.get_many(keys) == {}

    async def test_add_and_incr__not_deleted(self, face_of, make_cache, proxy, others):
        """What adds, counts or touches invalidates nothing: locks and counters stay."""
        face = face_of(make_cache(proxy.url, DEADLINE=0.2))
        await face.set_many({"lock": 1, "count": 5})
        goes_away(proxy)
        await face.add("lock", 2)
        await face.incr("count")
        await face.touch("count", 100)
        await face.touch_many(["lock"], 100)
        assert is_made_good(face)

    async def test_overflow__prefixes_deleted(self, face_of, make_cache, proxy, others, monkeypatch):
        """More keys than are remembered: their prefixes are deleted, other keys stay."""
        monkeypatch.setattr(recovery, "MAX_REMEMBERED", 10)
        face = face_of(make_cache(proxy.url, DEADLINE=0.2))
        await face.set_many({**{f"a:{n}": n for n in range(30)}, "b:1": "kept", "a*:1": "kept"})
        goes_away(proxy)
        assert await face.delete_many([f"a:{n}" for n in range(11)]) == 0
        comes_back(proxy, face)
        wait_until(lambda: is_made_good(face))
        assert sorted(others.keys("t:*")) == [b"t:1:a*:1", b"t:1:b:1"]

    async def test_internal_keys__stay(self, face_of, make_cache, proxy, others, monkeypatch):
        """Deleting prefixes touches nothing of ours, such as the outbox."""
        face = face_of(make_cache(proxy.url, DEADLINE=0.2, RULES={"s:": {"sync": "lww"}}))
        await face.set("s:1", "x")
        goes_away(proxy)
        await face.clear()
        comes_back(proxy, face)
        wait_until(lambda: is_made_good(face))
        assert others.keys("t:*") == []
        assert len(others.keys("callcache@t:outbox*")) == 4

    async def test_log__once(self, face_of, make_cache, proxy, caplog):
        """Recovery is one line in the log, without keys."""
        face = face_of(make_cache(proxy.url, DEADLINE=0.2))
        await face.set("private", 1)
        goes_away(proxy)
        await face.delete("private")
        with caplog.at_level(logging.INFO, "django_callcache.cache.recovery"):
            comes_back(proxy, face)
            wait_until(lambda: is_made_good(face))
        told = [record.getMessage() for record in caplog.records if record.name == recovery.__name__]
        assert told == [f"redis={face.cache._runtime.server} lost_writes=made_good"]
        assert "private" not in caplog.text


class TestThread:
    async def test_thread__ends(self, face_of, make_cache, proxy):
        """The thread is there only as long as something is to be made good."""
        face = face_of(make_cache(proxy.url, DEADLINE=0.2))
        await face.set("a", 1)
        mine = face.cache._runtime.recovery
        assert mine._thread is None
        goes_away(proxy)
        await face.delete("a")
        assert mine._thread is not None
        comes_back(proxy, face)
        wait_until(lambda: mine._thread is None)

    def test_remembered_again__stays(self):
        """What is lost again while it is made good stays remembered."""
        mine = Recovery(lambda key: b"*", lambda: None, "x", RedisKeys("x"))
        mine._thread = threading.current_thread()
        mine.remember([b"a", b"b"])
        lost = mine._remembered()
        mine.remember([b"b"])
        mine._made_good(lost, [2])
        assert [key for key, _ in mine._remembered()] == [b"b"]
        assert mine.is_pending

    def test_refused__stays(self):
        """What the server refuses stays remembered."""
        mine = Recovery(lambda key: b"*", lambda: None, "x", RedisKeys("x"))
        mine._thread = threading.current_thread()
        mine.remember([b"a"])
        mine._made_good(mine._remembered(), [redis.exceptions.ReadOnlyError()])
        assert mine.is_pending
