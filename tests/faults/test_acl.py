"""The minimal user of Redis: it can do all that a cache does, and nothing else (F-S23)."""

from __future__ import annotations

import io

import pytest
import redis
from django.core.management import CommandError, call_command
from redis.exceptions import NoPermissionError

from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.rotation import rotate
from tests.cache.test_faults import DEGRADED
from tests.cache.waiting import wait_until
from tests.minimal_user import PASSWORD, define, refusals

NOT_FOR_IT = {"flush_db"}
"""Deletes other people's keys."""
RULES = {"s:": {"sync": "lww"}, "near:": {"near": True}}


@pytest.fixture
def server(start_redis):
    return start_redis()


@pytest.fixture
def admin(server):
    with redis.Redis.from_url(server.url) as client:
        define(client, "app", ["t"])
        yield client


@pytest.fixture
def location(server):
    return server.url.replace("//", f"//app:{PASSWORD}@")


class TestMinimalUser:
    async def test_every_method__allowed(self, face_of, make_cache, admin, location):
        """Every method of the cache works as this user."""
        face = face_of(make_cache(location, DEADLINE=10, RULES=RULES, NEAR="rules"))
        for method, (arguments, _) in DEGRADED.items():
            if method in NOT_FOR_IT:
                continue
            await face.clear()
            await face.set("s:1", 1)
            for key in ("a", "b"):
                if method.startswith("s") and method not in {"set", "set_many"}:
                    await face.sadd(key, 1)
                elif method.startswith("z"):
                    await face.zadd(key, {"m": 1})
                elif method.startswith("h") and method != "has_key":
                    await face.hset(key, "f", 1)
                else:
                    await face.set(key, 1)
            await getattr(face, method)(*arguments)
        assert refusals(admin, "app") == []

    async def test_behind_the_calls__allowed(self, face_of, make_cache, admin, location):
        """So does what goes on behind the calls: near copies, counts, outbox, locks, rotation."""
        cache = make_cache(location, DEADLINE=10, RULES=RULES, NEAR="rules")
        cache.set_many({"near:1": [1], "s:1": "x"})
        wait_until(lambda: cache.get("near:1") == [1] and len(cache._runtime.near) == 1)
        cache.flush_stats()
        cache._runtime.read_profile()
        cache.read_dictionaries()
        entries = DirtyEntries(cache.redis_client(), cache.redis_keys)
        assert entries.origin()
        claim = entries.claim(10, 10**6, 30)
        assert entries.acknowledge([(entry, 1) for entry in claim.entries]) == 1
        assert (entries.depth(), entries.payload_bytes(), entries.oldest_at()) == (0, 0, None)
        with cache.lock("job", timeout=10) as lock:
            lock.extend(5)
        assert rotate(cache).unreadable == 0
        assert refusals(admin, "app") == []

    def test_others__refused(self, admin, location):
        """Keys of others, administration and code of others are refused."""
        admin.set("other:1:a", "private")
        with redis.Redis.from_url(location) as client:
            for command in (
                ("GET", "other:1:a"),
                ("SET", "other:1:a", 1),
                ("EVAL", "return redis.call('GET', 'other:1:a')", 0),
                ("FLUSHDB",),
                ("FLUSHALL",),
                ("KEYS", "*"),
                ("CONFIG", "GET", "*"),
                ("CLIENT", "KILL", "TYPE", "normal"),
                ("MONITOR",),
                ("SHUTDOWN",),
                ("ACL", "LIST"),
                ("SCRIPT", "FLUSH"),
                ("SWAPDB", "0", "1"),
                ("SUBSCRIBE", "other"),
                ("PUBLISH", "other", "x"),
            ):
                with pytest.raises(redis.exceptions.ResponseError) as raised:
                    client.execute_command(*command)
                refused = isinstance(raised.value, NoPermissionError) or "permission" in str(raised.value)
                assert refused or "can't access" in str(raised.value), command
        assert admin.get("other:1:a") == b"private"


class TestCommand:
    def test_command__line(self, make_cache):
        """The command prints a line to enter in Redis, for the keys of its caches."""
        make_cache()
        told = io.StringIO()
        call_command("callcache_acl", "--user", "web", "--server-version", "6.2", stdout=told)
        line = told.getvalue()
        assert line.startswith("ACL SETUSER web on >PASSWORD ")
        assert " ~t:* ~callcache@t:* " in line
        assert "setinfo" not in line

    @pytest.mark.parametrize(("prefix", "arguments"), [("a*", []), ("t", ["--server-version", "new"])])
    def test_command__wrong(self, make_cache, prefix, arguments):
        """What cannot be is refused with a sentence."""
        make_cache(KEY_PREFIX=prefix)
        with pytest.raises(CommandError):
            call_command("callcache_acl", *arguments, stdout=io.StringIO())
