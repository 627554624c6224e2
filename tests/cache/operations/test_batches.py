from __future__ import annotations

import pytest

from django_callcache.cache.operations.batches import READ_CHUNK, WRITE_CHUNK


class Unpicklable:
    def __reduce__(self):
        raise TypeError("not this one")


class TestGetMany:
    async def test_get_many__gaps(self, face):
        """Keys without a value are left out, a stored None is in."""
        await face.set_many({"a": 1, "b": None, "c": ""})
        assert await face.get_many(["a", "x", "b", "c", "y"]) == {"a": 1, "b": None, "c": ""}

    @pytest.mark.parametrize("keys", [[], (), iter(()), {}])
    async def test_get_many__nothing(self, face, keys):
        """No key, no value."""
        assert await face.get_many(keys) == {}

    async def test_get_many__any_iterable(self, face):
        """Generators, sets and repeated keys are taken."""
        await face.set_many({"a": 1, "b": 2})
        assert await face.get_many(key for key in "abca") == {"a": 1, "b": 2}
        assert await face.get_many({"a", "b"}) == {"a": 1, "b": 2}

    async def test_get_many__callers_keys(self, face):
        """The answer has the keys as the caller wrote them, 1 and "1" each."""
        await face.set("1", "one")
        found = await face.get_many([1, "1", 2])
        assert found == {1: "one", "1": "one"}
        assert [type(key) for key in found] == [int, str]

    async def test_get_many__version(self, face):
        """A version holds for all of them, 0 too."""
        await face.set("a", 0, version=0)
        await face.set("a", 1)
        assert await face.get_many(["a"], version=0) == {"a": 0}
        assert await face.get_many(["a"]) == {"a": 1}

    async def test_get_many__bad_ones_among_them(self, face, redis_client):
        """What cannot be decoded is left out; the others come."""
        data = {f"k{number}": number / 2 for number in range(100)}
        await face.set_many(data)
        redis_client.set("t:1:k5", b"garbage")
        redis_client.delete("t:1:k6")
        redis_client.rpush("t:1:k6", "x")
        redis_client.restore("t:1:k7", 0, redis_client.dump("t:1:k8"), replace=True)
        expected = {key: value for key, value in data.items() if key not in {"k5", "k6", "k7"}}
        assert await face.get_many(data) == expected

    async def test_get_many__more_than_a_chunk(self, face):
        """Any number of keys, in the order they were asked for."""
        data = {f"k{number}": number for number in range(2 * READ_CHUNK + 1)}
        assert await face.set_many(data) == []
        assert list((await face.get_many(data)).items()) == list(data.items())


class TestSetMany:
    async def test_set_many__stores(self, face):
        """Values are stored with the timeout and version given; nothing failed."""
        assert await face.set_many({"a": 1, 2: "two"}, 50, version=3) == []
        assert await face.get_many(["a", 2], version=3) == {"a": 1, 2: "two"}
        assert await face.ttl("a", version=3) == 50

    async def test_set_many__nothing(self, face):
        """No value, no failure."""
        assert await face.set_many({}) == []

    @pytest.mark.parametrize("seconds", [0, -1])
    async def test_set_many__nothing_is_kept(self, face, redis_client, seconds):
        """A timeout of zero deletes, as for one key."""
        await face.set_many({"a": 1, "b": 2})
        assert await face.set_many({"a": 1, "b": 2, "c": 3}, seconds) == []
        assert redis_client.dbsize() == 0

    async def test_set_many__none(self, face):
        """None is for ever."""
        await face.set_many({"a": 1}, None)
        assert await face.ttl("a") is None

    async def test_set_many__unencodable(self, face, redis_client):
        """A value that cannot be encoded raises before anything is sent, wherever it stands."""
        data = {f"k{number}": number for number in range(2 * WRITE_CHUNK)}
        with pytest.raises(TypeError, match="not this one"):
            await face.set_many({**data, "bad": Unpicklable()})
        assert redis_client.dbsize() == 0

    async def test_set_many__heals(self, face, redis_client):
        """A value of another type at a key is replaced."""
        redis_client.rpush("t:1:a", "x")
        assert await face.set_many({"a": 1}) == []
        assert await face.get("a") == 1


class TestDeleteMany:
    @pytest.mark.parametrize("keys", [[], (), iter(())])
    async def test_delete_many__nothing(self, face, keys):
        """No key: None, as Django's own backends say."""
        assert await face.delete_many(keys) is None

    async def test_delete_many__counts(self, face):
        """The answer is how many there were; a repeated key is one."""
        await face.set_many({"a": 1, "b": None, 1: 2, "stays": 3})
        assert await face.delete_many(key for key in ["a", "b", "a", "x", 1]) == 3
        assert await face.delete_many(["a"]) == 0
        assert await face.keys() == ["stays"]

    async def test_delete_many__version(self, face):
        """Only the version given is deleted."""
        await face.set("a", 1)
        assert await face.delete_many(["a"], version=0) == 0
        assert await face.has_key("a")

    async def test_delete_many__more_than_a_chunk(self, face, redis_client):
        """Any number of keys."""
        keys = [f"k{number}" for number in range(2 * READ_CHUNK + 1)]
        await face.set_many(dict.fromkeys(keys, 1))
        assert await face.delete_many(keys) == len(keys)
        assert redis_client.dbsize() == 0


class TestTouchMany:
    async def test_touch_many__counts(self, face):
        """The answer is how many exist; those get the timeout."""
        await face.set_many({"a": 1, "b": 2}, None)
        assert await face.touch_many(["a", "b", "x"], 50) == 2
        assert await face.ttl("a") == await face.ttl("b") == 50
        assert await face.touch_many([]) == 0
        assert await face.touch_many(["a"], 0) == 1
        assert not await face.has_key("a")
