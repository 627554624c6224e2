from __future__ import annotations

import pytest

from django_callcache.exceptions import SyncNotRecorded

MEMBERS = ["a", "ü", 1, -5, 1.5, None, True, (1, "x"), b"\x00", "1"]


class TestSets:
    async def test_sadd__members(self, face):
        """Members come back as what they were; equal ones are one."""
        assert await face.sadd("s", *MEMBERS) == len(MEMBERS)
        assert await face.sadd("s", "a", "b", "b") == 1
        found = await face.smembers("s")
        assert {(type(member), member) for member in found} >= {
            (type(member), member) for member in ("a", "ü", -5, 1.5, None, (1, "x"), b"\x00")
        }
        assert await face.scard("s") == len(MEMBERS) + 1
        assert await face.sismember("s", "a") is True
        assert await face.sismember("s", "c") is False
        assert await face.smismember("s", "a", "c", None) == [True, False, True]
        assert await face.srem("s", "a", "c") == 1

    async def test_missing(self, face):
        """A missing set is an empty one."""
        assert await face.smembers("s") == set()
        assert await face.scard("s") == 0
        assert await face.sismember("s", "a") is False
        assert await face.spop("s") is None
        assert await face.spop("s", 2) == set()
        assert await face.srandmember("s") is None
        assert await face.srandmember("s", 2) == []
        assert await face.sscan("s") == set()
        assert await face.sscan_iter("s") == []

    async def test_algebra(self, face):
        """Sets are combined in Redis; members keep their seals under other keys."""
        await face.sadd("{s}a", 1, 2, "x")
        await face.sadd("{s}b", 2, 3, "x")
        assert await face.sdiff("{s}a", "{s}b") == {1}
        assert await face.sinter("{s}a", "{s}b") == {2, "x"}
        assert await face.sunion("{s}a", "{s}b") == {1, 2, 3, "x"}
        assert await face.sdiffstore("{s}to", "{s}a", "{s}b") == 1
        assert await face.smembers("{s}to") == {1}
        assert await face.sinterstore("{s}to", "{s}a", "{s}b") == 2
        assert await face.smembers("{s}to") == {2, "x"}
        assert await face.sunionstore("{s}to", "{s}a", "{s}b") == 4
        assert await face.smembers("{s}to") == {1, 2, 3, "x"}
        assert await face.smove("{s}a", "{s}c", "x") is True
        assert await face.smove("{s}a", "{s}c", "x") is False
        assert await face.smembers("{s}c") == {"x"}

    async def test_random(self, face):
        """Members are looked at, or taken away, at random."""
        await face.sadd("s", 1, 2, 3)
        assert await face.srandmember("s") in {1, 2, 3}
        assert sorted(await face.srandmember("s", 5)) == [1, 2, 3]
        taken = await face.spop("s")
        assert await face.smembers("s") == {1, 2, 3} - {taken}
        assert await face.spop("s", 5) == {1, 2, 3} - {taken}
        assert await face.scard("s") == 0

    async def test_sscan(self, face):
        """All members come, step by step; a match is refused, since Redis sees sealed bytes."""
        members = {f"member {number}" for number in range(1000)}
        await face.sadd("s", *members)
        assert set(await face.sscan_iter("s", count=20)) == members
        assert await face.sscan("s", count=20) <= members
        for call in (face.sscan, face.sscan_iter):
            with pytest.raises(ValueError, match="sealed"):
                await call("s", match="m*")

    async def test_version(self, face):
        """Versions are different sets."""
        await face.sadd("s", 1)
        await face.sadd("s", 2, version=0)
        assert await face.smembers("s") == {1}
        assert await face.smembers("s", version=0) == {2}

    async def test_foreign_members(self, face, redis_client):
        """Members that are not ours are left out and counted."""
        await face.sadd("s", "a")
        redis_client.sadd("t:1:s", b"\x80\x05K\x01.", b"garbage")
        assert await face.smembers("s") == {"a"}
        assert face.cache.counted()["other"]["undecodable"] == 2

    async def test_members__other_alias(self, face_of, make_caches, redis_url):
        """A member of one alias's set means nothing in another's."""
        same = {"LOCATION": redis_url, "KEY_PREFIX": "t"}
        first, second = map(face_of, make_caches({"one": same, "two": {**same, "TIMEOUT": 60}}))
        await first.sadd("s", "secret")
        assert await second.smembers("s") == set()


class TestHashes:
    async def test_hset__fields(self, face):
        """Values come back as what they were, names as text."""
        assert await face.hset("h", "a", {"x": 1}) == 1
        assert await face.hset("h", mapping={"b": None, "ü": 5}) == 2
        assert await face.hset("h", "a", "new", mapping={"c": 1}) == 1
        assert await face.hget("h", "a") == "new"
        assert await face.hget("h", "b", "default") is None
        assert await face.hget("h", "x") is None
        assert await face.hget("h", "x", "default") == "default"
        assert await face.hgetall("h") == {"a": "new", "b": None, "ü": 5, "c": 1}
        assert await face.hkeys("h") == ["a", "b", "ü", "c"]
        assert await face.hlen("h") == 4
        assert await face.hexists("h", "a") is True
        assert await face.hdel("h", "a") == 1
        assert await face.hexists("h", "a") is False

    async def test_missing(self, face):
        """A missing hash is an empty one."""
        assert await face.hgetall("h") == {}
        assert await face.hkeys("h") == []
        assert await face.hlen("h") == await face.hdel("h", "a") == 0

    async def test_foreign_values(self, face, redis_client):
        """A value that is not ours is left out with its name, and the others keep theirs."""
        await face.hset("h", mapping={"a": 1.5, "b": 2.5})
        redis_client.hset("t:1:h", "bad", b"garbage")
        redis_client.hset("t:1:h", b"\xff", b"5")
        await face.hset("h", "c", 3.5)
        assert await face.hget("h", "bad", "default") == "default"
        found = await face.hgetall("h")
        assert {name: found[name] for name in "abc"} == {"a": 1.5, "b": 2.5, "c": 3.5}
        assert "bad" not in found
        assert len(await face.hkeys("h")) == 5


class TestSortedSets:
    async def test_zadd__scores(self, face):
        """Members have scores, which Redis's flags guard."""
        assert await face.zadd("z", {"a": 1, "b": 2.5, ("c", 1): 3}) == 3
        assert await face.zadd("z", {"a": 5}, nx=True) == 0
        assert await face.zadd("z", {"a": 2, "new": 1}, xx=True, ch=True) == 1
        assert await face.zadd("z", {"a": 1.5}, incr=True) == 3.5
        assert await face.zadd("z", {"a": 1}, gt=True, ch=True) == 0
        assert await face.zadd("z", {"a": 1}, lt=True, ch=True) == 1
        assert await face.zadd("z", {"x": 1}, xx=True, incr=True) is None
        assert await face.zscore("z", "a") == 1
        assert await face.zscore("z", "x") is None
        assert await face.zcard("z") == 3
        assert await face.zincrby("z", 2, "a") == 3
        assert await face.zcount("z", 2.5, "+inf") == 3
        assert await face.zcount("z", "(3", "+inf") == 0
        assert await face.zrem("z", "a", "x") == 1

    async def test_zrange__order(self, face):
        """Members come by rank or by score, in either direction, with scores where asked for."""
        await face.zadd("z", {"a": 1, "b": 2, "c": 3, "d": 4})
        assert await face.zrange("z", 0, -1) == ["a", "b", "c", "d"]
        assert await face.zrange("z", 0, 1, desc=True) == ["d", "c"]
        assert await face.zrange("z", 0, 0, withscores=True) == [("a", 1.0)]
        assert await face.zrange("z", 0, 0, withscores=True, score_cast_func=int) == [("a", 1)]
        assert await face.zrevrange("z", 0, 1) == ["d", "c"]
        assert await face.zrangebyscore("z", 2, 3) == ["b", "c"]
        assert await face.zrangebyscore("z", "-inf", "+inf", start=1, num=2) == ["b", "c"]
        assert await face.zrevrangebyscore("z", 3, 2, withscores=True) == [("c", 3.0), ("b", 2.0)]
        assert await face.zrank("z", "c") == 2
        assert await face.zrank("z", "x") is None
        assert await face.zremrangebyscore("z", 1, 2) == 2
        for call in (face.zrangebyscore, face.zrevrangebyscore):
            with pytest.raises(ValueError, match="both"):
                await call("z", 1, 2, start=1)

    async def test_zpop(self, face):
        """The highest and the lowest are taken, one or several."""
        await face.zadd("z", {"a": 1, "b": 2, "c": 3})
        assert await face.zpopmax("z") == ("c", 3.0)
        assert await face.zpopmin("z") == ("a", 1.0)
        assert await face.zpopmin("z", 5) == [("b", 2.0)]
        assert await face.zpopmax("z") is None
        assert await face.zpopmax("z", 2) == []

    async def test_foreign_members(self, face, redis_client):
        """A member that is not ours takes its score along."""
        await face.zadd("z", {"a": 1, "c": 3})
        redis_client.zadd("t:1:z", {b"garbage": 2})
        assert await face.zrange("z", 0, -1, withscores=True) == [("a", 1.0), ("c", 3.0)]

    async def test_infinite_scores(self, face):
        """Infinity is a score."""
        await face.zadd("z", {"low": float("-inf"), "high": float("inf")})
        assert await face.zscore("z", "high") == float("inf")
        assert await face.zrange("z", 0, -1) == ["low", "high"]


class TestSyncedPrefix:
    """Collections are not synced, so they are refused where writes are meant for the remote store."""

    @pytest.fixture
    def face(self, face_of, make_cache):
        return face_of(make_cache(RULES={"call:": {"sync": "lww"}}))

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("sadd", ("call:s", 1)), ("srem", ("call:s", 1)), ("spop", ("call:s",)),
            ("hset", ("call:h", "f", 1)), ("hdel", ("call:h", "f")),
            ("zadd", ("call:z", {"a": 1})), ("zincrby", ("call:z", 1, "a")), ("zrem", ("call:z", "a")),
            ("zpopmin", ("call:z",)), ("zremrangebyscore", ("call:z", 0, 1)),
            ("smove", ("{s}", "call:{s}", 1)), ("sunionstore", ("call:{s}", "{s}")),
        ],
    )  # fmt: skip
    async def test_write(self, face, name, arguments):
        """A write says what to do instead."""
        with pytest.raises(SyncNotRecorded, match=r"set\(\)"):
            await getattr(face, name)(*arguments)

    async def test_read(self, face):
        """A read finds nothing, as ever."""
        assert await face.smembers("call:s") == set()
        assert await face.hget("call:h", "f") is None
