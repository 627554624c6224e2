"""Signals of cache calls: sent from every kind of call, and only where somebody listens."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from django_callcache import signals
from tests.cache.linked import OPTIONS, confirm_anew, connect_link

NAMES = ("hit", "miss", "written", "deleted", "invalidated")


@pytest.fixture
def heard():
    """What was sent, in order: name, sender and details. Nobody listens any more at the end."""
    told = []
    receivers = []
    for name in NAMES:

        def receive(signal, sender, _name=name, **details):
            told.append((_name, sender, details))

        getattr(signals, f"cache_{name}").connect(receive)
        receivers.append((name, receive))
    yield told
    for name, receive in receivers:
        assert getattr(signals, f"cache_{name}").disconnect(receive)


def of_key(name, key, version=1, **more):
    return name, "default", {"key": key, "version": version, **more}


def of_all(kind, names, removed):
    return "invalidated", "default", {"kind": kind, "names": names, "removed": removed}


class TestReads:
    async def test_get__hit_and_miss(self, face, heard):
        """A get tells whether it found something, and under which version."""
        await face.set("a", None)
        heard.clear()
        await face.get("a")
        await face.get("b")
        await face.get("a", version=2)
        assert heard == [
            of_key("hit", "a", near=False),
            of_key("miss", "b", near=False),
            of_key("miss", "a", 2, near=False),
        ]

    async def test_get_many__each_once(self, face, heard):
        """A batch tells of each key once, however often it was given."""
        await face.set_many({"a": 1, "b": 2})
        heard.clear()
        await face.get_many(["a", "x", "b", "a"])
        assert heard == [
            of_key("hit", "a", near=False),
            of_key("miss", "x", near=False),
            of_key("hit", "b", near=False),
        ]

    async def test_get__near(self, face_of, make_cache, heard):
        """Copies in the process, and known absence, are told of too, and served as before."""
        cache = connect_link(make_cache(**OPTIONS, MAX_STALENESS=20))
        face = face_of(cache)
        cache.set("k:1", "x")
        confirm_anew(cache)
        for _ in range(2):
            cache.get("k:1"), cache.get("k:2")
        heard.clear()
        assert await face.get("k:1") == "x"
        assert await face.get("k:2", "none") == "none"
        assert await face.get_many(["k:1", "k:2"]) == {"k:1": "x"}
        assert heard == [of_key("hit", "k:1", near=True), of_key("miss", "k:2", near=True)] * 2
        assert cache.counted()["k:"]["near_hits"] == 3

    async def test_get__redis_is_down(self, face_of, make_cache, start_redis, heard):
        """What Redis could not answer is neither hit nor miss."""
        server = start_redis()
        face = face_of(make_cache(location=server.url, DEADLINE=5))
        server.kill()
        assert await face.get("a") is None
        assert await face.get_many(["a"]) == {}
        assert await face.set("a", 1) is False
        assert await face.delete("a") is False
        assert heard == []


class TestWrites:
    async def test_written__each_kind(self, face, heard):
        """Whatever stores a value is told of, once."""
        await face.set("a", 1)
        assert await face.add("a", 1) is False
        await face.add("b", 1)
        await face.incr("a")
        await face.incr_version("a")
        await face.set_many({"c": 1, "d": 2})
        await face.set("e", 1, xx=True)
        assert heard == [
            *[of_key("written", key) for key in "aba"],
            of_key("written", "a", 2),
            *[of_key("written", key) for key in "cd"],
        ]

    async def test_written__synced(self, face_of, make_cache, heard):
        """The same under a synced prefix."""
        face = face_of(make_cache(RULES={"s:": {"sync": "lww"}}))
        await face.set("s:1", 1)
        assert await face.add("s:1", 1) is False
        await face.incr("s:1")
        await face.incr("s:1", 0.5)
        await face.touch("s:1", 50)
        await face.set_many({"s:2": 1})
        await face.delete("s:1")
        await face.delete_many(["s:2"])
        written = [of_key("written", key) for key in ("s:1", "s:1", "s:1", "s:2")]
        assert heard == [*written, of_key("deleted", "s:1"), of_key("deleted", "s:2")]

    async def test_deleted__each_kind(self, face, heard):
        """Deletions by key are told of, whether there was something or not."""
        await face.delete("a")
        await face.delete_many(["b", "c"])
        await face.set("d", 1, 0)
        await face.touch("e", -1)
        assert heard == [of_key("deleted", key) for key in "abcde"]

    @pytest.mark.needs_rights("FLUSHDB")
    async def test_invalidated__each_kind(self, face, heard):
        """Entries that are dropped together are told of together."""
        await face.set_many({"a1": 1, "a2": 2}, tags=["red"])
        await face.set("b1", 3)
        heard.clear()
        await face.delete_tags("red", "blue")
        await face.delete_prefix("a")
        await face.delete_pattern("?1")
        await face.clear()
        await face.flush_db()
        assert heard == [
            of_all("tags", ("red", "blue"), 1),
            of_all("prefix", ("a",), 2),
            of_all("pattern", ("?1",), 1),
            of_all("clear", (), 0),
            of_all("flush", (), None),
        ]


class TestReceivers:
    async def test_receive__raises(self, face, caplog):
        """What a receiver raises is logged; the call has its result, and other receivers hear of it."""
        told = []

        def broken(**_):
            raise RuntimeError("a receiver's own affair")

        def sound(key, **_):
            told.append(key)

        for receive in (broken, sound):
            signals.cache_written.connect(receive)
        try:
            with caplog.at_level(logging.ERROR):
                assert await face.set("a", 1) is True
        finally:
            for receive in (broken, sound):
                signals.cache_written.disconnect(receive)
        assert told == ["a"]
        assert "broken" in caplog.text

    async def test_receive__uses_the_cache(self, face, heard):
        """A receiver may use the cache; its own calls are not told, or there would be no end."""
        cache = face.cache

        def receive(key, **_):
            cache.set("seen", key)
            cache.get("seen")

        signals.cache_hit.connect(receive)
        try:
            await face.set("a", 1)
            await face.get("a")
        finally:
            signals.cache_hit.disconnect(receive)
        assert heard == [of_key("written", "a"), of_key("hit", "a", near=False)]
        assert await face.get("seen") == "a"

    async def test_receive__of_one_alias(self, make_caches, face_of, redis_url):
        """A receiver connected with an alias as sender hears of that alias alone."""
        told = []

        def receive(sender, **_):
            told.append(sender)

        name = "-".join(["one", "alias"])  # another object than the settings'
        made = make_caches(
            {alias: {"LOCATION": redis_url, "KEY_PREFIX": alias} for alias in ("one-alias", "b")}
        )
        signals.cache_written.connect(receive, sender=name)
        try:
            for cache in made:
                await face_of(cache).set("a", 1)
        finally:
            assert signals.cache_written.disconnect(receive, sender="".join(["one-", "alias"]))
        assert told == ["one-alias"]

    async def test_receive__asynchronous(self, make_cache):
        """A call on the loop awaits asynchronous receivers, and runs blocking ones beside it, not in it."""
        cache = make_cache()
        loop = asyncio.get_running_loop()
        told = []

        async def on_the_loop(key, **_):
            told.append((key, asyncio.get_running_loop() is loop))

        def beside(key, **_):
            told.append((key, threading.current_thread() is threading.main_thread()))

        signals.cache_written.connect(on_the_loop)
        signals.cache_written.connect(beside)
        try:
            await cache.aset("a", 1)
        finally:
            signals.cache_written.disconnect(on_the_loop)
            signals.cache_written.disconnect(beside)
        assert sorted(told) == [("a", False), ("a", True)]

    def test_receive__asynchronous_of_a_blocking_call(self, make_cache):
        """A blocking call runs asynchronous receivers to their end."""
        cache = make_cache()
        told = []

        async def receive(key, **_):
            await asyncio.sleep(0)
            told.append(key)

        signals.cache_written.connect(receive)
        try:
            assert cache.set("a", 1) is True
        finally:
            signals.cache_written.disconnect(receive)
        assert told == ["a"]

    async def test_receive__blocking_call_on_a_loop(self, make_cache, caplog):
        """A blocking call in a thread with a running loop cannot run them: it says so and has its result."""
        cache = make_cache()
        told = []

        async def receive(key, **_):
            told.append(key)

        signals.cache_written.connect(receive)
        try:
            with caplog.at_level(logging.ERROR):
                assert cache.set("a", 1) is True
        finally:
            signals.cache_written.disconnect(receive)
        assert told == []
        assert "signal=not-sent" in caplog.text


class TestNobodyListens:
    async def test_call__sends_nothing(self, face_of, make_cache, monkeypatch):
        """Without receivers no signal is so much as begun, before anybody listened and after."""
        face = face_of(connect_link(make_cache(**OPTIONS, MAX_STALENESS=20)))
        begun = []
        monkeypatch.setattr(signals.CacheSignal, "tell", lambda *_, **named: begun.append(named))

        async def atell(*_, **named):
            begun.append(named)

        monkeypatch.setattr(signals.CacheSignal, "atell", atell)

        def receive(**_):
            raise AssertionError

        async def work():
            await face.set("k:1", 1)
            for _ in range(3):
                await face.get("k:1")
                await face.get("k:2")
                await face.get_many(["k:1", "k:2"])
            await face.delete("k:1")
            await face.delete_tags("red")
            await face.delete_prefix("k:")

        await work()
        assert begun == []
        signals.cache_hit.connect(receive)
        await work()
        signals.cache_hit.disconnect(receive)
        assert begun
        begun.clear()
        await work()
        assert begun == []
        await face.get("k:1")
        assert face.cache._near is not None, "near hits are spelled out again"
