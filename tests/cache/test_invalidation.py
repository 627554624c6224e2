from __future__ import annotations

import asyncio
import datetime
import logging
import os
import threading
import time
import warnings
from contextlib import closing
from types import SimpleNamespace

import pytest
import redis
from django.contrib.sessions.backends.cache import SessionStore
from django.test import override_settings
from django_redis.util import CacheKey

from django_callcache.cache.announcer import Announcer
from django_callcache.cache.counters import NEAR_HITS
from django_callcache.cache.invalidation import outermost
from django_callcache.exceptions import SyncNotRecorded
from django_callcache.ttl import HourlyProfile
from tests.cache.linked import (
    OPTIONS,
    confirm_anew,
    connect_link,
    is_confirmed,
    is_near,
    keep,
    link_of,
    near_of,
    until,
    watch_of,
)

pytestmark = pytest.mark.usefixtures("hurried_links")


class TestReads:
    async def test_get__second_time(self, face_of, make_near, redis_client):
        """The second get of an entry asks Redis for nothing."""
        face = face_of(make_near())
        await asyncio.to_thread(keep, face.cache, "k:a", {"x": 1})
        redis_client.config_resetstat()
        assert [await face.get("k:a") for _ in range(20)] == [{"x": 1}] * 20
        assert "cmdstat_get" not in redis_client.info("commandstats")

    @pytest.mark.parametrize("value", [None, 0, "", False, [], {}, (1, [2]), {"a": {"b": 1}}, 12])
    async def test_get__values(self, face_of, make_near, value):
        """A near hit has the value and the type that Redis has."""
        face = face_of(make_near())
        await face.set("k:a", value)
        for _ in range(3):
            found = await face.get("k:a", "default")
            assert found == value
            assert type(found) is type(value)
        assert is_near(face.cache, "k:a")

    async def test_get__absent(self, face_of, make_pair):
        """A key known to be absent is answered here until somebody writes it."""
        cache, other = make_pair()
        face = face_of(cache)
        assert await face.get("k:a", 1) == 1
        assert await face.get("k:a", 2) == 2
        assert is_near(cache, "k:a")
        other.set("k:a", "there")
        confirm_anew(cache)
        assert await face.get("k:a") == "there"

    async def test_get_many__near_first(self, face_of, make_near, redis_client):
        """get_many asks Redis for what is not here alone, and gives what one read by one would give."""
        face = face_of(make_near())
        await face.set_many({f"k:{n}": n for n in range(10)})
        await asyncio.to_thread(confirm_anew, face.cache)
        await face.get_many([f"k:{n}" for n in range(8)])
        redis_client.config_resetstat()
        found = await face.get_many([f"k:{n}" for n in range(12)])
        assert found == {f"k:{n}": n for n in range(10)}
        stats = redis_client.info("commandstats")
        assert stats["cmdstat_mget"]["calls"] == 1
        assert stats["cmdstat_pttl"]["calls"] == 4
        redis_client.config_resetstat()
        assert await face.get_many([f"k:{n}" for n in range(12)]) == found
        assert "cmdstat_mget" not in redis_client.info("commandstats")

    async def test_get_many__odd_keys(self, face_of, make_near):
        """Keys that are no plain strings are read from Redis, whatever lies near under their text."""
        face = face_of(make_near())
        await face.set(1, "one")
        await face.set("k:1", "here")
        key = CacheKey("t:1:k:1")
        assert await face.get_many([1, "1", "k:1", key]) == {1: "one", "1": "one", "k:1": "here", key: "here"}

    @pytest.mark.parametrize("read", ["has_key", "add", "incr", "ttl"])
    async def test_others__from_redis(self, face_of, make_near, redis_client, read):
        """What must be exact is asked of Redis, whatever lies here."""
        face = face_of(make_near())
        await face.set("k:a", 1)
        await face.get("k:a")
        near_of(face.cache).invalidate = lambda keys: None  # deaf
        redis_client.delete("t:1:k:a")
        if read == "incr":
            with pytest.raises(ValueError, match="not found"):
                await face.incr("k:a")
        elif read == "add":
            assert await face.add("k:a", 2) is True
            assert await face.get("k:a") == 2
        else:
            assert not await getattr(face, read)("k:a")

    def test_get__expiring(self, make_near):
        """A copy is served no longer than its entry lives, whatever NEAR_TTL says."""
        cache = make_near()
        for key, timeout in (("k:a", 60), ("k:b", None)):
            cache.set(key, "x", timeout)
            confirm_anew(cache)
            cache.get(key)
        minute = time.monotonic_ns() + 61 * 10**9
        assert near_of(cache).find("k:a").deadline < minute < near_of(cache).find("k:b").deadline

    def test_get__expired_between_get_and_pttl(self, make_near, monkeypatch):
        """An entry that expired between its two commands is not kept; nor is one that came in between."""
        cache = make_near()
        cache.set("k:a", "x")

        async def ask_many(commands, started, *, reads=False):
            replies[0] = await ask(commands[0], started, reads=reads)
            return replies

        ask = cache.blocking._io.ask
        monkeypatch.setattr(cache.blocking._io, "ask_many", ask_many)
        for second in (-2, 0, redis.ResponseError("no")):
            replies = [None, second]
            assert cache.get("k:a") == "x"
            kept = near_of(cache).find("k:a")
            assert kept is None or kept.deadline < time.monotonic_ns()
        replies = [None, 1000]
        assert cache.get("k:nothing") is None
        assert not is_near(cache, "k:nothing")

    def test_get__foreign_bytes(self, make_near, redis_client):
        """What cannot be decoded is a miss each time, and not kept."""
        cache = make_near()
        redis_client.set("t:1:k:a", b"garbage")
        redis_client.rpush("t:1:k:b", "x")
        assert cache.get("k:a") is cache.get("k:b") is None
        assert cache.get_many(["k:a", "k:b"]) == {}
        assert not is_near(cache, "k:a")
        assert not is_near(cache, "k:b")

    def test_get__changed_by_a_caller(self, make_near):
        """What one caller does to a value no other caller sees (F-K16)."""
        cache = make_near()
        value = {"list": [1], "at": datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)}
        cache.set("k:a", value)
        cache.set("k:b", [1, 2])
        for _ in range(4):
            one, two, many = cache.get("k:a"), cache.get("k:b"), cache.get_many(["k:a", "k:b"])
            assert many == {"k:a": one, "k:b": two} == {"k:a": value, "k:b": [1, 2]}
            for changed in (one, many["k:a"]):
                changed["list"].append(2)
                changed["x"] = 1
            two.append(3)
            many["k:b"].append(3)


class TestWhatIsNear:
    def kept_of(self, cache, *keys):
        connect_link(cache)
        for key in keys:
            cache.set(key, "x")
        confirm_anew(cache)
        for key in keys:
            cache.get(key)
        return [key for key in keys if is_near(cache, key)]

    def test_near__by_rule(self, make_cache):
        """By default keys whose prefix has a rule are kept, unless it says otherwise."""
        rules = {"k:": {}, "k:not:": {"near": False}, "no:": {"near": False}, "no:but:": {}}
        cache = make_cache(RULES=rules)
        assert self.kept_of(cache, "k:a", "k:not:a", "no:a", "no:but:a", "x:a", "bare") == ["k:a", "no:but:a"]

    def test_near__everything(self, make_cache):
        """With NEAR all keys are kept, bar those that a rule excepts, and sessions."""
        cache = make_cache(NEAR=True, RULES={"no:": {"near": False}, "k:": {}})
        session = f"{SessionStore.cache_key_prefix}0123456789abcdef"
        assert self.kept_of(cache, "k:a", "no:a", "x:a", "bare", session) == ["k:a", "x:a", "bare"]

    @pytest.mark.parametrize(
        ("rule", "is_kept"), [({}, False), ({"near": True}, True), ({"near": False}, False)]
    )
    @pytest.mark.parametrize(
        "prefix", ["django.contrib.sessions", "django.contrib.sessions.cache", "django."]
    )
    @pytest.mark.parametrize("near", [True, "rules"])
    def test_near__sessions(self, make_cache, rule, is_kept, prefix, near):
        """Sessions are kept only where a rule of theirs asks for it in so many words."""
        cache = make_cache(NEAR=near, RULES={prefix: {"ttl": 77, **rule}, "k:": {}})
        session = "django.contrib.sessions.cachedeadbeef"
        is_broader = prefix == "django."
        if is_broader and near == "rules":
            pytest.skip("a rule that covers sessions among others")
        assert self.kept_of(cache, session) == ([session] if is_kept and not is_broader else [])
        assert cache.explain_ttl(session).ttl_seconds == 77

    def test_near__counters(self, make_cache):
        """With NEAR a counter is not kept, unless a rule asks for it."""
        cache = connect_link(make_cache(NEAR=True, RULES={"k:": {}}))
        for key in ("hits", "k:hits"):
            cache.add(key, 1)
            cache.incr(key)
            assert [cache.get(key), cache.get(key)] == [2, 2]
        confirm_anew(cache)
        assert [cache.get(key) for key in ("hits", "k:hits")] == [2, 2]
        assert not is_near(cache, "hits")
        assert is_near(cache, "k:hits")

    @pytest.mark.parametrize("options", [{"NEAR": False}, {"RULES": {}}, {"RULES": {"k:": {"near": False}}}])
    def test_near__off(self, make_cache, options):
        """Where nothing is near, nothing listens."""
        cache = make_cache(**{**OPTIONS, **options})
        before = threading.active_count()
        cache.set("k:a", 1)
        assert [cache.get("k:a"), cache.get("k:a")] == [1, 1]
        assert near_of(cache) is watch_of(cache) is None
        assert threading.active_count() <= before + 1  # the timer of statistics

    def test_near__key_function(self, make_cache, caplog):
        """Keys that a function makes cannot be mapped back: nothing is near, which is said once."""
        with caplog.at_level(logging.WARNING, "django_callcache"):
            cache = make_cache(KEY_FUNCTION="tests.cache.test_invalidation.shouting", **OPTIONS)
            for _ in range(3):
                cache.set("k:a", 1)
                assert cache.get("k:a") == 1
        assert near_of(cache) is None
        assert [record.getMessage() for record in caplog.records if "near=off" in record.getMessage()] == [
            "alias=default near=off: keys that KEY_FUNCTION makes cannot be mapped back"
        ]

    @pytest.mark.needs_rights("prefixes that stand in no rule")
    @pytest.mark.parametrize("prefix", ["", "a*b", "[x]", "a?\\", "ü:1:"])
    def test_near__key_prefix(self, make_near, redis_client, prefix):
        """A KEY_PREFIX is a text, whatever its characters mean in a pattern."""
        cache = make_near(KEY_PREFIX=prefix)
        keep(cache, "k:ü", "old")
        redis_client.delete(f"{prefix}:1:k:ü")
        confirm_anew(cache)
        assert cache.get("k:ü") is None

    def test_size__by_the_peak_rule(self, make_cache):
        """The near cache has its peak size in peak hours, its default size otherwise."""
        sizes = {"DEFAULT_CACHE_SIZE": 5, "PEAK_CACHE_SIZE": 9, "WARMUP_HOURS": 0}
        for threshold, size in ((0, 9), (10**9, 5)):
            app = {"TTL": {**sizes, "USAGE_THRESHOLD": threshold}, "STATS": {"FLUSH_INTERVAL": 3600}}
            cache = make_cache(app=app, **OPTIONS)
            hour = int(time.time() // 3600)
            cache._runtime.profile = HourlyProfile(dict.fromkeys(range(hour - 200, hour + 2), 10))
            connect_link(cache)
            for number in range(30):
                cache.get(f"k:{number}")
            assert len(near_of(cache)) == size


def shouting(key, prefix, version):
    return f"{prefix}:{version}:{str(key).upper()}"


WRITES = {
    "set": lambda face: face.set("k:a", "new"),
    "set_by_version": lambda face: face.set("k:a", "new", version=1),
    "set_by_text_version": lambda face: face.set("k:a", "new", version="1"),
    "set_by_full_key": lambda face: face.set(CacheKey("t:1:k:a"), "new"),
    "set_many": lambda face: face.set_many({"k:a": "new", "x:b": 1}),
    "set_many_by_version": lambda face: face.set_many({"k:a": "new"}, version=1),
    "set_expired": lambda face: face.set("k:a", "new", timeout=0),
    "set_xx": lambda face: face.set("k:a", "new", xx=True),
    "delete": lambda face: face.delete("k:a"),
    "delete_many": lambda face: face.delete_many(["x:b", "k:a"]),
    "delete_pattern": lambda face: face.delete_pattern("k:*"),
    "delete_prefix": lambda face: face.delete_prefix("k:"),
    "clear": lambda face: face.clear(),
    "flush_db": lambda face: face.flush_db(),
    "touch": lambda face: face.touch("k:a", 0.001),
    "touch_many": lambda face: face.touch_many(["k:a"], 0),
    "expire": lambda face: face.expire("k:a", -1),
    "expire_at": lambda face: face.expire_at("k:a", 1),
    "incr_version": lambda face: face.incr_version("k:a"),
    "sunionstore": lambda face: face.sunionstore("k:a", "x:1", "x:2"),
    "sdiffstore": lambda face: face.sdiffstore("k:a", "x:1", "x:2"),
    "sinterstore": lambda face: face.sinterstore("k:a", "x:1", "x:2"),
}


class TestOwnWrites:
    @pytest.mark.needs_rights("FLUSHDB", case="flush_db")
    @pytest.mark.parametrize("name", WRITES)
    @pytest.mark.parametrize("is_synced", [False, True], ids=["plain", "synced"])
    async def test_get__own_write(self, face_of, make_near, name, is_synced):
        """After a write has returned, no read in this process gives what was there before it."""
        cache = make_near(RULES={"k:": {"sync": "lww"} if is_synced else {}}, ON_ERROR="raise")
        face = face_of(cache)
        keep(cache, "k:a", "old")
        near_of(cache).invalidate = lambda keys: None  # what the link would say comes late
        if is_synced and name.endswith("store"):
            with pytest.raises(SyncNotRecorded, match="not synced"):
                await WRITES[name](face)
            assert await face.get("k:a") == "old"
            return
        await WRITES[name](face)
        if name == "touch":
            await asyncio.sleep(0.01)
        expected = "new" if name.startswith("set") and "expired" not in name else None
        assert await face.get("k:a") == expected
        assert await face.get_many(["k:a"]) == ({"k:a": expected} if expected else {})

    async def test_incr__own_write(self, face_of, make_near):
        """The sum is read at once."""
        cache = make_near()
        face = face_of(cache)
        keep(cache, "k:a", 1)
        near_of(cache).invalidate = lambda keys: None
        assert await face.incr("k:a") == 2
        assert await face.get("k:a") == 2
        assert await face.decr("k:a", 0.5) == 1.5
        assert await face.get("k:a") == 1.5

    @pytest.mark.parametrize("key", [7, 1.5, True, None, ("a", 1)])
    def test_set__keys_of_other_types(self, make_near, key):
        """A key of another type is its text: a write by the one is seen by the other."""
        cache = make_near(NEAR=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a space in the key
            keep(cache, str(key), "old")
            near_of(cache).invalidate = lambda keys: None
            cache.set(key, "new")
            assert cache.get(str(key)) == cache.get(key) == "new"

    def test_set__by_an_object_with_a_key_function(self, make_near):
        """A write through a key function assigned to one object is seen by the others of the alias."""
        cache = make_near()
        keep(cache, "k:a", "old")
        near_of(cache).invalidate = lambda keys: None
        odd = type(cache)(*cache._stated)
        odd.key_func = lambda key, prefix, version: f"{prefix}:{version}:k:{key}"
        odd.set("a", "new")
        assert odd.get("a") == "new"
        assert cache.get("k:a") == "new"

    def test_set__while_another_thread_reads(self, wire, make_near, redis_client):
        """A read that was answered before a write of another thread, and returns after it, keeps nothing."""
        cache = make_near(location=wire.url)
        near_of(cache).invalidate = lambda keys: None
        writer = SimpleNamespace(found=None)
        for round_ in range(20):
            redis_client.set("t:1:k:a", cache.codec_for("k:a").encode("old", b"t:1:k:a"))
            near_of(cache).drop("k:a")
            wire.replies.clear()
            reader = threading.Thread(target=lambda: setattr(writer, "found", cache.get("k:a")))
            reader.start()
            wire.held.acquire()
            setter = threading.Thread(target=cache.set, args=("k:a", f"new {round_}"))
            setter.start()
            wire.held.acquire()
            wire.replies.set()
            setter.join()
            first = cache.get("k:a")
            reader.join()
            assert {first, cache.get("k:a"), cache.get("k:a")} == {f"new {round_}"}

    async def test_set__cancelled(self, make_near, redis_client):
        """A cancelled write may have been done: it drops the copy, and the link tells the rest."""
        cache = make_near()
        await asyncio.to_thread(keep, cache, "k:a", "old")
        await cache.ahas_key("k:a")
        task = asyncio.create_task(cache.aset("k:a", "new"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_near(cache, "k:a")
        await asyncio.to_thread(confirm_anew, cache)
        stored = cache.codec_for("k:a").decode(redis_client.get("t:1:k:a"), b"t:1:k:a")
        assert await cache.aget("k:a") == stored

    async def test_get__cancelled(self, make_near):
        """Reads that are cancelled, or fail, leave nothing behind."""
        cache = make_near()
        await cache.aget("k:a")
        before = vars(near_of(cache)).copy()
        for number in range(50):
            task = asyncio.create_task(cache.aget(f"k:{number}"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert vars(near_of(cache)).keys() == before.keys()
        assert len(near_of(cache)._changed) == len(before["_changed"])
        assert await cache.aget("k:3", "default") == "default"


class TestOthersWrites:
    @pytest.mark.parametrize(
        "write",
        [
            lambda client: client.set("t:1:k:a", 5),
            lambda client: client.unlink("t:1:k:a"),
            lambda client: client.pexpire("t:1:k:a", 1),
            lambda client: client.rename("t:1:k:a", "elsewhere"),
            lambda client: client.eval("redis.call('DEL', KEYS[1])", 1, "t:1:k:a"),
            lambda client: client.pipeline().delete("t:1:k:a").set("y", 1).execute(),
            lambda client: client.flushdb(),
            lambda client: client.flushall(asynchronous=True),
        ],
    )
    def test_get__changed_in_redis(self, make_near, redis_client, write):
        """Whoever changes a key by whatever command, the copy is gone once the link has confirmed again."""
        cache = make_near()
        keep(cache, "k:a", 1)
        write(redis_client)
        confirm_anew(cache)
        assert not is_near(cache, "k:a")
        assert cache.get("k:a") != 1

    def test_get__same_key_in_another_database(self, make_near, redis_client, redis_url):
        """The same key in another database is another's; that its change drops a copy is no harm."""
        cache = make_near()
        keep(cache, "k:a", 1)
        with redis.Redis.from_url(redis_url.replace("/0", "/5")) as elsewhere:
            elsewhere.set("t:1:k:a", 2)
            confirm_anew(cache)
            assert cache.get("k:a") == 1
            elsewhere.delete("t:1:k:a")

    def test_get__two_aliases_on_one_server(self, make_caches, redis_url):
        """Two aliases hear of their own keys, and do not mistake the other's for theirs."""
        stated = {"LOCATION": redis_url, "OPTIONS": {"CALLCACHE": OPTIONS}}
        one, two = make_caches(
            {"default": {**stated, "KEY_PREFIX": "t"}, "two": {**stated, "KEY_PREFIX": "t:1:k"}}
        )
        connect_link(one)
        connect_link(two)
        keep(one, "k:a", "one")
        keep(two, "k:a", "two")
        one.set("k:a", "new")
        assert (one.get("k:a"), two.get("k:a")) == ("new", "two")
        two.delete("k:a")
        assert (one.get("k:a"), two.get("k:a")) == ("new", None)

    @pytest.mark.parametrize("payload", [b"", b"t:1:k:a", b"\x00" * 1000, b"\x93", b"*1\r\n"])
    def test_listen__wrong_messages(self, make_near, redis_client, payload):
        """What somebody publishes on Redis's own channel changes nothing and stops nothing."""
        cache = make_near()
        keep(cache, "k:a", 1)
        for _ in range(100):
            redis_client.publish("__redis__:invalidate", payload)
        confirm_anew(cache)
        assert is_near(cache, "k:a")
        redis_client.set("t:1:k:a", 2)
        confirm_anew(cache)
        assert cache.get("k:a") == 2

    def test_listen__flood(self, make_near, redis_client):
        """The link keeps up with writers: it does not fall behind by waiting for each announcement."""
        cache = make_near()
        keep(cache, "k:a", 1)
        with redis_client.pipeline(transaction=False) as pipeline:
            for number in range(50_000):
                pipeline.set(f"t:1:k:{number}", 1, ex=60)
            pipeline.delete("t:1:k:a").execute()
        confirm_anew(cache)
        assert not is_near(cache, "k:a")
        assert near_of(cache).invalidations > 50_000


class TestLink:
    def test_listen__cut(self, wire, make_pair, redis_url):
        """A lost link empties the cache, and nothing is served until a new one has confirmed."""
        cache, other = make_pair(location=wire.url, writer=redis_url)
        keep(cache, "k:a", "old")
        other.get("k:first")
        assert wire.cut(links=True)
        other.set("k:a", "new")
        until(lambda: not is_near(cache, "k:a"))
        assert cache.get("k:a") == "new"
        until(lambda: is_confirmed(cache))
        assert cache.get("k:a") == cache.get("k:a") == "new"
        assert is_near(cache, "k:a")

    def test_listen__silent(self, wire, make_pair, redis_url):
        """A link that falls silent serves nothing that was confirmed longer ago than MAX_STALENESS."""
        cache, other = make_pair(location=wire.url, writer=redis_url, MAX_STALENESS=1)
        keep(cache, "k:a", "old")
        wire.is_link_silent = True
        other.set("k:a", "new")
        acknowledged = time.monotonic_ns()
        while True:
            asked = time.monotonic_ns()
            if cache.get("k:a") == "new":
                break
            assert asked - acknowledged <= 1_000_000_000
        wire.is_link_silent = False
        until(lambda: is_confirmed(cache))
        assert cache.get("k:a") == "new"

    def test_listen__server_hangs(self, start_redis, make_cache):
        """With the server hung, copies are served for MAX_STALENESS; then calls miss until it is back."""
        server = start_redis()
        cache = connect_link(
            make_cache(location=server.url, **{**OPTIONS, "MAX_STALENESS": 1, "DEADLINE": 0.2})
        )
        keep(cache, "k:a", 1)
        os.kill(server.pid, 19)
        try:
            stopped = time.monotonic_ns()
            while True:
                asked = time.monotonic_ns()
                if cache.get("k:a") is None:
                    break
                assert asked - stopped < 1_100_000_000
        finally:
            os.kill(server.pid, 18)
        until(lambda: cache.get("k:a") == 1 and is_near(cache, "k:a"))

    def test_listen__server_restarts(self, start_redis, make_cache):
        """A server that came back empty leaves no copy standing."""
        server = start_redis()
        cache = connect_link(make_cache(location=server.url, **OPTIONS))
        keep(cache, "k:a", 1)
        server.kill()
        until(lambda: not is_near(cache, "k:a"))
        server.start()
        until(lambda: cache.get("k:a", "gone") == "gone" and is_confirmed(cache))
        assert cache.get("k:a") is None

    @pytest.mark.parametrize("is_native", [False, True])
    async def test_suspect__lost_data_connection(self, wire, make_near, is_native):
        """A connection that copies were read through takes them along: its server may be another now."""
        cache = make_near(location=wire.url)
        await asyncio.to_thread(keep, cache, "k:a", 1)
        await cache.aget("k:x")
        cache.get("k:y")
        first = link_of(cache)._connections
        wire.replies.clear()

        async def read():
            return await cache.aget("k:z") if is_native else await asyncio.to_thread(cache.get, "k:z")

        reading = asyncio.create_task(read())
        await asyncio.to_thread(wire.held.acquire)
        wire.cut(links=False)
        wire.replies.set()
        assert await reading is None
        await asyncio.to_thread(
            until, lambda: link_of(cache)._connections is not first and is_confirmed(cache)
        )
        assert await cache.aget("k:a") == 1

    def test_close__settings_changed(self, make_near):
        """A change of settings ends the link; a cache object that outlives it begins anew."""
        held = make_near()
        keep(held, "k:a", 1)
        link, near = link_of(held), near_of(held)
        thread = link._thread
        with override_settings(CALLCACHE={"STATS": {"FLUSH_INTERVAL": 3600}}):
            until(lambda: not thread.is_alive())
            assert (len(near), near.confirmed_until) == (0, 0)
            assert held.get("k:a") == 1
            connect_link(held)
            assert held.get("k:a") == held.get("k:a") == 1
            link.stop(watch_of(held))

    def test_start__many_threads(self, make_cache, redis_client):
        """However many threads read first, there is one link."""
        cache = make_cache(**OPTIONS)
        threads = [threading.Thread(target=cache.get, args=("k:a",)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: is_confirmed(cache))
        until(lambda: len(redis_client.client_list(_type="pubsub")) == 1)

    def test_start__no_thread_to_be_had(self, make_cache, monkeypatch):
        """Where no thread can be started, as when the interpreter ends, reads go to Redis."""
        cache = make_cache(**OPTIONS)
        cache.set("k:a", 1)

        def refuse(self):
            raise RuntimeError("can't create new thread at interpreter shutdown")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert cache.get("k:a") == 1
        connect_link(cache)

    def test_listen__speaks_resp2(self, make_near, redis_client):
        """The listener subscribes by RESP2, whose buffers Redis bounds."""
        make_near()
        until(lambda: len(redis_client.client_list(_type="pubsub")) == 1)  # others' have gone
        (listener,) = redis_client.client_list(_type="pubsub")
        if "resp" not in listener:
            pytest.skip("this Redis does not tell what its clients speak; install Redis 7 or later")
        assert listener["resp"] == "2"
        assert "t" in listener["flags"]

    def test_fork__child(self, make_near, redis_client):
        """A child serves nothing of its parent's, and makes a link of its own beside the parent's."""
        cache = make_near()
        keep(cache, "k:a", "old")
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
            child = os.fork()
        if child == 0:
            try:
                seen = [len(near_of(cache)), near_of(cache).confirmed_until, cache.get("k:a")]
                connect_link(cache)
                seen += [cache.get("k:a"), is_near(cache, "k:a")]
                os.write(writer, repr(seen).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with closing(os.fdopen(reader)) as pipe:
            assert pipe.read() == "[0, 0, 'old', 'old', True]"
        os.waitpid(child, 0)
        assert is_near(cache, "k:a")
        redis_client.delete("t:1:k:a")
        confirm_anew(cache)
        assert cache.get("k:a") is None


class TestCounting:
    def test_counted__near_hits(self, make_near):
        """Every get is counted once: as a hit of Redis, a near hit or a miss."""
        cache = make_near()
        keep(cache, "k:a", {"x": [1]})
        before = cache.counted()["k:"]
        for _ in range(10):
            cache.get("k:a")
        cache.get("k:nothing")
        for _ in range(5):
            cache.get("k:nothing")
        cache.get_many(["k:a", "k:nothing"])
        after = cache.counted()["k:"]
        grown = {name: after[name] - before[name] for name in ("hits", "near_hits", "misses")}
        assert grown == {"hits": 0, "near_hits": 11, "misses": 7}

    def test_flush_stats__near_hits(self, make_near, redis_client):
        """Near hits reach Redis with the other counts, and the hot keys with them."""
        cache = make_near()
        keep(cache, "k:a", 1)
        cache.flush_stats()
        for _ in range(7):
            cache.get("k:a")
        cache.flush_stats()
        cache.flush_stats()
        near_hits = hot = 0
        for key in redis_client.scan_iter("callcache@t:*"):
            if b":minute:" in key:
                counts = redis_client.hgetall(key)
                near_hits += sum(int(count) for name, count in counts.items() if b"near_hits" in name)
            elif b":hot:" in key:
                hot += redis_client.zscore(key, "k:a") or 0
        assert near_hits == 7
        assert hot == 8 + 0  # the read that filled the copy too

    def test_counts__child(self, make_near):
        """Near hits that a parent has not reported are not its child's to report."""
        cache = make_near()
        keep(cache, "k:a", 1)
        counts = cache._runtime.prefixes.of("k:a").counts
        before = counts.slots[NEAR_HITS]
        for _ in range(5):
            cache.get("k:a")
        near_of(cache).forget()  # what a child does first
        near_of(cache).collect()
        assert counts.slots[NEAR_HITS] == before


class TestWithoutTracking:
    def test_announced__another_process(self, deny, make_pair, caplog):
        """Where tracking is refused, writers announce: the copy is dropped as the write is acknowledged."""
        url = deny("-client|tracking")
        with caplog.at_level(logging.WARNING, "django_callcache"):
            cache, other = make_pair(location=url, writer=url)
        assert not watch_of(cache).is_tracking
        assert sum("near=announced" in record.getMessage() for record in caplog.records) == 1
        writes = {
            "k:a": lambda: other.set("k:a", "new"),
            "k:b": lambda: other.delete("k:b"),
            "k:c": lambda: other.set_many({"k:c": "new", "x:c": 1}),
            "k:d": lambda: other.delete_many(["k:d", "x:d"]),
            "k:e": lambda: other.delete_pattern("k:e*"),
            "k:f": lambda: other.touch("k:f", -1),
            "k:g": lambda: other.incr_version("k:g"),
            "k:h": lambda: other.touch_many(["k:h"], 0),
            "k:i": lambda: other.expire_at("k:i", 1),
        }
        for key, write in writes.items():
            keep(cache, key, "old")
            write()
            confirm_anew(cache)
            assert not is_near(cache, key), key
        keep(cache, "k:n", 1)
        other.incr("k:n")
        confirm_anew(cache)
        assert cache.get("k:n") == 2
        keep(cache, "k:a", "old")
        other.flush_db()
        confirm_anew(cache)
        assert len(near_of(cache)) == 0

    def test_announced__synced_prefix(self, deny, make_pair):
        """Writes that go to the outbox are announced too."""
        url = deny("-client|tracking")
        cache, other = make_pair(location=url, writer=url, RULES={"k:": {"sync": "lww"}}, ON_ERROR="raise")
        for write in (
            lambda: other.set("k:a", "new"),
            lambda: other.set_many({"k:a": "newer"}),
            lambda: other.delete("k:a"),
        ):
            keep(cache, "k:a", "old")
            write()
            confirm_anew(cache)
            assert not is_near(cache, "k:a")

    def test_announced__not_at_all(self, deny, make_near, redis_client):
        """What nobody announces is served for MAX_STALENESS at most after it was read."""
        cache = make_near(location=deny("-client|tracking"), MAX_STALENESS=1)
        keep(cache, "k:a", "old")
        cache.set("k:a", "old")
        cache.get("k:a")
        read = time.monotonic_ns()
        redis_client.set("t:1:k:a", 5)
        while True:
            asked = time.monotonic_ns()
            if cache.get("k:a") == 5:
                break
            assert asked - read <= 1_000_000_000

    @pytest.mark.parametrize("payload", [b"", b"garbage", b"\xc1" * 50, b"\x91\xa1x", b"\x81\x01\x02"])
    def test_announced__wrong_messages(self, deny, make_near, redis_client, payload):
        """An announcement that cannot be read empties the cache: anything may have changed."""
        cache = make_near(location=deny("-client|tracking"))
        keep(cache, "k:a", 1)
        redis_client.publish(cache.redis_keys.near_channel(), payload)
        confirm_anew(cache)
        assert cache.get("k:a") == 1
        redis_client.publish(cache.redis_keys.near_channel(), b"\x91\xc4\x07t:1:k:a")
        confirm_anew(cache)
        assert not is_near(cache, "k:a")

    def test_announced__server_gone(self, start_redis, make_cache):
        """A synced write that could not be sent was not recorded, announced or not."""
        server = start_redis()
        cache = make_cache(location=server.url, **{**OPTIONS, "RULES": {"k:": {"sync": "lww"}}})
        server.kill()
        for write in (lambda: cache.set("k:a", 1), lambda: cache.set_many({"k:a": 1})):
            watch_of(cache).announcer.is_heard = True
            with pytest.raises(SyncNotRecorded):
                write()

    @pytest.fixture
    def granted(self):
        return "+client|id +client|tracking +subscribe +publish +ping +pttl"

    def test_tracking__least_permissions(self, deny, make_pair, redis_client, granted):
        """What the documentation asks an ACL for is enough, and no command is refused."""
        redis_client.acl_log_reset()
        channels = "&__redis__:invalidate &callcache@t:near"
        url = deny("-@all", "+get", "+set", "resetchannels", *granted.split(), *channels.split())
        cache, other = make_pair(location=url, writer=url)
        assert watch_of(cache).is_tracking
        keep(cache, "k:a", "old")
        other.set("k:a", "new")
        confirm_anew(cache)
        assert cache.get("k:a") == "new"
        refused = {entry["object"] for entry in redis_client.acl_log()}
        assert refused <= {"client|setinfo", "client", "select"}  # redis-py's own, on connecting

    def test_refused__everything(self, deny, make_cache, caplog):
        """Where neither can be had there is no near cache, which is said once, and reads go on."""
        url = deny("-client|tracking", "-subscribe")
        with caplog.at_level(logging.WARNING, "django_callcache"):
            cache = make_cache(location=url, **OPTIONS)
            cache.set("k:a", 1)
            assert cache.get("k:a") == 1
            until(lambda: watch_of(cache).is_refused)
            until(lambda: link_of(cache)._thread is None)
            for _ in range(5):
                assert cache.get("k:a") == 1
        assert near_of(cache).confirmed_until == len(near_of(cache)) == 0
        assert sum("near=off" in record.getMessage() for record in caplog.records) == 1

    def test_publish__refused(self, deny, make_cache, redis_client):
        """A writer that may not publish writes on, and does not try again."""
        url = deny("-publish")
        cache = connect_link(make_cache(location=url, **OPTIONS))
        assert watch_of(cache).is_tracking
        assert cache.set("k:a", 1) is True
        assert cache.delete("k:a") is True
        assert watch_of(cache).announcer.announcement([b"t:1:k:a"], time.monotonic_ns() + 10**15) is None

    def test_refused__by_hanging_up(self, make_cache, caplog):
        """A server that ends the connection in reply to SUBSCRIBE, as fakeredis's does, is left alone."""
        fakeredis = pytest.importorskip("fakeredis")
        server = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        try:
            with caplog.at_level(logging.WARNING, "django_callcache"):
                cache = make_cache(location=f"redis://127.0.0.1:{server.server_address[1]}/0", **OPTIONS)
                cache.set("k:a", 1)
                assert cache.get("k:a") == 1
                until(lambda: watch_of(cache).is_refused)
                assert cache.get("k:a") == cache.get("k:a") == 1
            assert sum("near=off" in record.getMessage() for record in caplog.records) == 1
            cache._runtime.close()
        finally:
            server.shutdown()
            server.server_close()
            serving.join()


class TestAnnouncer:
    def announcer(self):
        return Announcer(b"channel", (b"t:1:k:",))

    def test_announcement__probes(self):
        """While nobody listens, one write in two seconds is announced; while somebody does, each."""
        announcer = self.announcer()
        second = 1_000_000_000
        assert announcer.announcement([b"t:1:k:a"], 0)
        announcer.announced(0, 0)
        assert announcer.announcement([b"t:1:k:a"], second) is None
        assert announcer.announcement([b"t:1:k:a"], 2 * second)
        announcer.announced(3, 2 * second)
        assert announcer.announcement([b"t:1:k:a"], 2 * second + 1)
        announcer.announced(0, 2 * second + 1)
        assert announcer.announcement([b"t:1:k:a"], 2 * second + 2) is None

    def test_announcement__other_keys(self):
        """Keys that nobody holds copies of are not announced; no keys at all stand for all."""
        announcer = self.announcer()
        assert announcer.announcement([b"t:1:x"], 0) is None
        assert b"t:1:x" not in announcer.announcement([b"t:1:x", b"t:1:k:a"], 0)
        assert announcer.announcement([], 0).endswith(b"$1\r\n\x90\r\n")


class TestOutermost:
    def test_outermost__overlapping(self):
        """Of prefixes that overlap, which Redis refuses, the shortest stand for all."""
        assert outermost((b"a:b:", b"a:", b"b", b"ab", b"a:")) == (b"a:", b"ab", b"b")
        assert outermost((b"", b"x")) == (b"",)
