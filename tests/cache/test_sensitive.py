"""Sensitive prefixes from end to end: what anybody finds who looks where a value has been."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from django_callcache.exceptions import InvalidValue
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.replication.values import CacheValues
from django_callcache.sync.rows import row_of
from tests.cache.waiting import wait_until

RULES = {
    "contact:": {"sensitive": True},
    "person:": {"sensitive": True, "sync": "lww"},
    "plain:": {"sync": "lww"},
}
PLANTED = "Alice-Example-300-555-0199"
NUMBER = 418877660099
VALUES = {
    "text": PLANTED,
    "model": {"name": PLANTED, "number": NUMBER},
    "long": [PLANTED] * 500,
    "number": NUMBER,
    "flat": {"name": PLANTED},
}
HITS = (PLANTED.encode(), str(NUMBER).encode(), NUMBER.to_bytes(8, "little")[:5])


def found_in(*texts):
    return [hit for text in texts for hit in HITS if hit in text]


def contents(directory: Path):
    return [path.read_bytes() for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize("serializer", ["pickle", "json"])
class TestSensitive:
    async def test_redis__nothing_readable(self, face_of, make_cache, start_redis, serializer, caplog):
        """Redis, its RDB and AOF, the outbox, rows for the remote store and logs show none of it (F-S7)."""
        server = start_redis(append_only=True)
        with caplog.at_level(logging.DEBUG):
            face = face_of(make_cache(server.url, DEADLINE=10, RULES=RULES, SERIALIZER=serializer))
            for prefix in ("contact:", "person:"):
                for name, value in VALUES.items():
                    assert await face.set(prefix + name, value) is True
                    assert await face.get(prefix + name) == value
                assert await face.incr(prefix + "number") == NUMBER + 1
                assert await face.decr(prefix + "number") == NUMBER
                assert await face.set_many({prefix + "many": PLANTED}) == []
                assert await face.incr_version(prefix + "flat") == 2
                assert await face.get_or_set(prefix + "computed", lambda: PLANTED) == PLANTED
            assert await face.hset("contact:hash", "field", PLANTED) == 1
            assert await face.hget("contact:hash", "field") == PLANTED
        client = face.cache.redis_client()
        assert found_in(*(client.dump(key) for key in client.keys("*"))) == []
        values = CacheValues(face.cache)
        entries = DirtyEntries(client, face.cache.redis_keys).claim(100, 10**9, 30).entries
        rows = [row_of(entry, values, int(time.time() * 1000)) for entry in entries]
        assert len(rows) >= len(VALUES)
        assert found_in(repr(rows).encode(), caplog.text.encode()) == []
        client.bgrewriteaof()
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        client.save()
        files = contents(server.directory)
        assert any(b"contact:" in content for content in files)
        assert found_in(*files) == []

    async def test_plain__is_found(self, face_of, make_cache, start_redis, serializer):
        """The search of the test above finds what is not encrypted."""
        server = start_redis()
        face = face_of(make_cache(server.url, DEADLINE=10, RULES=RULES, SERIALIZER=serializer))
        await face.set("plain:a", PLANTED)
        client = face.cache.redis_client()
        assert found_in(*(client.dump(key) for key in client.keys("*"))) != []


class TestCollections:
    async def test_members__refused(self, face_of, make_cache, redis_client):
        """Sets compare their members, so a sensitive prefix cannot have them; nothing is stored."""
        face = face_of(make_cache(RULES=RULES))
        for method, arguments in (("sadd", ("contact:s", PLANTED)), ("zadd", ("contact:z", {PLANTED: 1}))):
            with pytest.raises(InvalidValue, match="compares"):
                await getattr(face, method)(*arguments)
        assert redis_client.keys("t:*") == []


class TestNear:
    async def test_near__private_copies(self, face_of, make_cache):
        """Near copies of sensitive values are handed out right, hit after hit."""
        face = face_of(make_cache(RULES=RULES, NEAR="rules"))
        value = {"name": PLANTED, "nested": {"a": [1]}}
        await face.set("contact:7", value)
        near = face.cache._runtime.near

        def is_near():
            return face.cache.get("contact:7") == value and len(near) == 1

        wait_until(is_near)
        for _ in range(3):
            copy = await face.get("contact:7")
            assert copy == value
            copy["nested"]["a"].append(2)
