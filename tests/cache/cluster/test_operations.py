"""Every kind of call on three real nodes, by both faces: keys of one call lie in slots of all of them."""

from __future__ import annotations

import time

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_callcache.exceptions import RedisMisconfigured, RedisUnavailable
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.redis_keys import slot_of

KEYS = [f"k:{number}" for number in range(60)]
SYNCED = {"RULES": {"call:": {"sync": "lww", "ttl": 600}}}


def nodes_with_keys(cluster):
    return [cluster.ask(node, "DBSIZE") > 0 for node in cluster.nodes]


class TestManyKeys:
    async def test_batches__slots_of_all_nodes(self, face, cluster):
        """What is written of many keys lies on all nodes, and is read, touched and deleted there."""
        assert await face.set_many({key: at for at, key in enumerate(KEYS)}) == []
        assert nodes_with_keys(cluster) == [True, True, True]
        asked = [*KEYS, "k:missing"]
        assert await face.get_many(asked) == {key: at for at, key in enumerate(KEYS)}
        assert await face.touch_many(asked, 50) == len(KEYS)
        assert await face.ttl(KEYS[7]) in (49, 50)
        assert await face.delete_many(asked) == len(KEYS)
        assert await face.get_many(asked) == {}

    async def test_get_many__order_of_replies(self, face):
        """Each key gets its own value, wherever it lies and however often it is asked for."""
        await face.set_many({"a": 1, "b": 2, "c": 3})
        assert await face.get_many(["c", "a", "x", "b", "a"]) == {"c": 3, "a": 1, "b": 2}

    async def test_get_many__something_else_lies_there(self, face, redis_client):
        """A key that holds no value is a miss, as on one server, and takes no other along."""
        redis_client.rpush("t:1:list", "x")
        await face.set("a", 1)
        assert await face.get_many(["a", "list"]) == {"a": 1}

    async def test_walks__all_nodes(self, face, redis_client):
        """Listing, counting and deleting by pattern reach every node, and nothing but the alias's keys."""
        redis_client.set("foreign", "x")
        await face.set_many(dict.fromkeys([*KEYS, "other"], 1))
        assert sorted(await face.keys("k:*")) == sorted(KEYS)
        assert sorted(await face.iter_keys("k:*", itersize=7)) == sorted(KEYS)
        assert await face.count() == len(KEYS) + 1
        assert await face.delete_pattern("k:*") == len(KEYS)
        assert await face.keys() == ["other"]
        assert await face.clear() is True
        assert redis_client.keys("*") == [b"foreign"]
        assert await face.flush_db() is True
        assert redis_client.keys("*") == []


class TestOneKey:
    async def test_calls(self, face):
        """Numbers, timeouts, versions and locks do what they do on one server."""
        assert await face.add("n", 1) is True
        assert await face.add("n", 2) is False
        assert await face.incr("n", 4) == 5
        assert await face.has_key("n") is True
        assert await face.touch("n", 100) is True
        assert await face.incr_version("n") == 2
        assert (await face.get("n"), await face.get("n", version=2)) == (None, 5)
        assert 90 < await face.ttl("n", version=2) <= 100
        assert await face.delete("n", version=2) is True

    def test_lock(self, make_cache):
        """A lock excludes."""
        cache = make_cache()
        with cache.lock("l", timeout=20):
            assert cache.lock("l").acquire(blocking=False) is False
        assert cache.lock("l", timeout=20).acquire(blocking=False) is True

    async def test_get_or_set__computed_once(self, face):
        """A value is computed, kept, and computed anew after a deletion by pattern."""
        values = iter(range(9))
        for key in KEYS[:3]:
            first = await face.get_or_set(key, lambda: next(values))
            assert await face.get_or_set(key, lambda: next(values)) == first
        await face.delete_pattern("k:*")
        assert await face.get_or_set(KEYS[0], lambda: next(values)) == 3

    @pytest.mark.parametrize("forget", ["delete", "delete_pattern", "clear"])
    async def test_fill__invalidated_meanwhile(self, face, forget):
        """What was invalidated while it was computed is not stored, whichever slot it belongs to."""
        for key in KEYS[:4]:
            _, token = await face.get_for_fill(key)
            await (face.clear() if forget == "clear" else getattr(face, forget)(key))
            assert await face.fill(key, 1, token) is False
            assert await face.get(key) is None

    async def test_tags(self, face):
        """A tag drops its entries on every node."""
        for key in KEYS[:9]:
            await face.set(key, 1, tags=("even" if int(key[2:]) % 2 == 0 else "odd",))
        assert await face.delete_tags("even") == 1
        found = await face.get_many(KEYS[:9])
        assert list(found) == [key for key in KEYS[:9] if int(key[2:]) % 2]

    async def test_sets(self, face):
        """Sets of several slots are combined; where Redis would store the result, the cure is said."""
        await face.sadd("one", 1, 2)
        await face.sadd("two", 2, 3)
        assert await face.sunion("one", "two") == {1, 2, 3}
        assert await face.sinter("one", "two") == {2}
        assert await face.sdiff("one", "two") == {1}
        with pytest.raises(ValueError, match="hash tag"):
            await face.sunionstore("three", "one", "two")
        with pytest.raises(ValueError, match="hash tag"):
            await face.smove("one", "two", 1)
        await face.sadd("{s}one", 1)
        assert await face.sunionstore("{s}two", "{s}one") == 1
        assert await face.smove("{s}one", "{s}three", 1) is True


class TestOutbox:
    async def test_synced__in_the_slot_of_the_value(self, face_of, make_cache, redis_client):
        """Each synced write leaves its payload in the bucket of its slot; all are claimed and cleared."""
        face = face_of(make_cache(**SYNCED))
        keys = [f"call:{number}" for number in range(20)]
        assert await face.set_many(dict.fromkeys(keys, "x")) == []
        await face.set(keys[0], "y")
        assert await face.incr_version(keys[1]) == 2
        outbox = DirtyEntries(redis_client, face.cache.redis_keys)
        assert outbox.depth() == 21
        assert outbox.payload_bytes() > 0
        assert outbox.oldest_at() <= time.time()
        for redis_key in outbox.redis_keys():
            (due, *others) = face.cache.redis_keys.outbox(redis_key)
            assert {slot_of(name) for name in (due, *others)} == {slot_of(redis_key)}
            assert redis_client.zscore(due, redis_key) is not None
        first = outbox.claim(8, 1 << 20, 60)
        second = outbox.claim(100, 1 << 20, 60)
        assert (len(first.entries), len(second.entries)) == (8, 13)
        assert outbox.acknowledge((entry, 1) for entry in (*first.entries, *second.entries)) == 21
        assert outbox.depth() == 0


class TestRefusals:
    @pytest.mark.parametrize(
        ("location", "stated", "words"),
        [
            ("redis+cluster://127.0.0.1:1/3", {}, "database 3"),
            ("redis+cluster://127.0.0.1:1", {"KEY_PREFIX": "a{b}"}, "braces"),
            ("redis+cluster://127.0.0.1:1", {"LINK": "per-key"}, "per-key"),
            (["redis+cluster://127.0.0.1:1", "redis://127.0.0.1:2"], {}, "each address"),
        ],
    )
    def test_settings__impossible(self, make_cache, location, stated, words):
        """What a cluster cannot have is refused by name when the cache is first used."""
        with pytest.raises(ImproperlyConfigured, match=words):
            make_cache(location, **stated).get("a")

    async def test_no_cluster(self, face_of, make_cache, start_redis):
        """A single server behind ``redis+cluster://`` is called what it is."""
        url = start_redis().url.replace("redis://", "redis+cluster://").removesuffix("/0")
        face = face_of(make_cache(url, DEADLINE=10))
        with pytest.raises(RedisMisconfigured, match="no cluster"):
            await face.get("a")

    async def test_nobody_there(self, face_of, make_cache):
        """Where no node answers, calls degrade or raise as ``ON_ERROR`` says, within the deadline."""
        nowhere = "redis+cluster://127.0.0.1:1,127.0.0.1:2"
        assert await face_of(make_cache(nowhere)).get("a", "default") == "default"
        with pytest.raises(RedisUnavailable):
            await face_of(make_cache(nowhere, ON_ERROR="raise")).get("a")

    async def test_several_addresses__a_list(self, face_of, make_cache, cluster):
        """A list of addresses means the same as one with commas; dead ones among them do not matter."""
        stated = [f"redis+cluster://127.0.0.1:{port}" for port in (1, cluster.nodes[1].port)]
        face = face_of(make_cache(stated, DEADLINE=10))
        assert await face.set("a", 1) is True
        assert await face.get("a") == 1
