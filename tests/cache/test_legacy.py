"""A change of backend: what Django's RedisCache and django-redis left at the same keys."""

from __future__ import annotations

import pickle
import zlib
from contextlib import ExitStack

import pytest
from django.core.cache.backends.redis import RedisCache as DjangoCache
from django_redis.cache import RedisCache as DjangoRedisCache

from django_callcache.rotation import rotate
from tests.cache.linked import near_of

PLAIN = {
    "text": "á",
    "number": 7,
    "float": 1.5,
    "dict": {"a": [1, None]},
    "true": True,
    "none": None,
    "list": [],
}
RICH = {**PLAIN, "tuple": (1, "x"), "set": frozenset({1})}
SERIALIZERS = "django_redis.serializers"
LEFT_BY = {
    "django": (DjangoCache, {}, RICH),
    "django-redis": (DjangoRedisCache, {}, RICH),
    "zlib": (DjangoRedisCache, {"COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"}, RICH),
    "gzip": (DjangoRedisCache, {"COMPRESSOR": "django_redis.compressors.gzip.GzipCompressor"}, RICH),
    "lzma": (DjangoRedisCache, {"COMPRESSOR": "django_redis.compressors.lzma.LzmaCompressor"}, RICH),
    "json": (DjangoRedisCache, {"SERIALIZER": f"{SERIALIZERS}.json.JSONSerializer"}, PLAIN),
    "msgpack": (DjangoRedisCache, {"SERIALIZER": f"{SERIALIZERS}.msgpack.MSGPackSerializer"}, PLAIN),
}
SAFE = ["json", "msgpack"]
LARGE = {"rows": ["a row of text"] * 500}


@pytest.fixture
def left_by(redis_url):
    """Make the other backend, at the keys of the caches that `make_cache` makes."""
    with ExitStack() as made:

        def make(name):
            backend, options, values = LEFT_BY[name]
            cache = backend(redis_url, {"KEY_PREFIX": "t", "OPTIONS": options})
            made.callback(cache.close)
            return cache, {**values, "large": LARGE}

        yield make


class TestReading:
    @pytest.mark.parametrize("name", LEFT_BY)
    async def test_get__what_another_backend_left(self, name, left_by, make_cache, face_of):
        """Every value that another backend left is found, by one key and by many, with its time to live."""
        other, values = left_by(name)
        other.set_many(values, 600)
        mode = "safe" if name in SAFE else "pickle"
        face = face_of(make_cache(READ_LEGACY=mode))
        assert await face.get_many([*values, "gone"]) == values
        for key, value in values.items():
            assert await face.get(key) == value
            assert 590 < await face.ttl(key) <= 600
        assert await face.get_or_set("dict", None) == values["dict"]
        assert not await face.add("text", "another")

    @pytest.mark.parametrize("name", ["django", "zlib"])
    async def test_get__pickles_only_where_allowed(self, name, left_by, make_cache, face_of):
        """Pickles are misses where only what is safe is read, and everything is where nothing is said."""
        other, _ = left_by(name)
        other.set("dict", {"a": (1,)})
        assert await face_of(make_cache(READ_LEGACY="safe")).get("dict", "none") == "none"
        assert await face_of(make_cache()).get("dict", "none") == "none"

    async def test_get__ours_are_never_theirs(self, make_cache, face_of, redis_client):
        """Bytes that begin as a value of ours are a miss without a valid seal, whatever follows."""
        face = face_of(make_cache(READ_LEGACY="pickle"))
        await face.set("key", {"a": 1})
        sealed = redis_client.get("t:1:key")
        redis_client.set("t:1:key", sealed[:-1] + bytes([sealed[-1] ^ 1]))
        assert await face.get("key", "none") == "none"
        redis_client.set("t:1:key", sealed[:4] + pickle.dumps({"a": 2}))
        assert await face.get("key", "none") == "none"

    @pytest.mark.parametrize("blob", [b"", b"\x80\x05garbage", b"{", b"\x78\x9cgarbage", b"\xff"])
    async def test_get__garbage(self, blob, make_cache, face_of, redis_client):
        """What nobody can read is a miss, counted as such, and no error."""
        face = face_of(make_cache(READ_LEGACY="pickle"))
        redis_client.set("t:1:key", blob)
        assert await face.get("key", "none") == "none"

    async def test_get__bomb(self, make_cache, face_of, redis_client):
        """A value that would grow beyond the bound when it is decompressed is a miss."""
        face = face_of(make_cache(READ_LEGACY="pickle", MAX_RAW_BYTES=1000))
        redis_client.set("t:1:key", zlib.compress(pickle.dumps("a" * 2000)))
        assert await face.get("key", "none") == "none"
        redis_client.set("t:1:key", zlib.compress(pickle.dumps("a" * 900)))
        assert await face.get("key", "none") == "a" * 900

    async def test_get__sensitive(self, left_by, make_cache, face_of):
        """Under a sensitive prefix nothing is taken that was not encrypted; under a checked one it is."""
        other, _ = left_by("django")
        other.set_many({"secret:1": "x", "checked:1": 5.5})
        rules = {"secret:": {"sensitive": True}, "checked:": {"validate": float}}
        face = face_of(make_cache(READ_LEGACY="pickle", RULES=rules))
        assert await face.get_many(["secret:1", "checked:1"]) == {"checked:1": 5.5}

    async def test_get__near(self, left_by, make_near, face_of):
        """Copies of their values are kept near like ours, and nobody shares one that can be changed."""
        other, _ = left_by("django-redis")
        other.set("k:1", {"a": [1]})
        cache = make_near(READ_LEGACY="pickle")
        face = face_of(cache)
        for _ in range(3):
            value = await face.get("k:1")
            assert value == {"a": [1]}
            value["a"].append(2)
        assert near_of(cache).find("k:1") is not None


class TestWriting:
    @pytest.mark.parametrize("name", ["django", "json"])
    async def test_write__ours(self, name, left_by, make_cache, face_of, redis_client):
        """What is written takes their value's place, sealed; what is deleted is gone for both."""
        other, _ = left_by(name)
        other.set_many({"a": "old", "b": "old", "c": 1.5, "d": "old"})
        face = face_of(make_cache(READ_LEGACY="pickle"))
        await face.set("a", "new")
        await face.delete("b")
        assert await face.incr("c", 1) == 2.5
        assert await face.touch("d", 60)
        assert not redis_client.get("t:1:a").startswith((b"\x80", b'"'))
        assert other.get("b") is None
        assert await face.get_many("abcd") == {"a": "new", "c": 2.5, "d": "old"}
        assert await face.delete_pattern("*") == 3

    @pytest.mark.parametrize("name", ["django", "django-redis", "zlib", "json", "msgpack"])
    async def test_write_legacy__read_by_others(self, name, left_by, make_cache, face_of):
        """During a roll processes of both backends read what either writes, and delete it."""
        other, values = left_by(name)
        serializer = name if name in SAFE else "pickle"
        face = face_of(make_cache(READ_LEGACY="pickle", WRITE_LEGACY=True, SERIALIZER=serializer))
        assert await face.set_many(values, 600) == []
        assert {key: other.get(key) for key in values} == values
        assert await face.get_many(values) == values
        assert await face.incr("number") == 8
        assert other.incr("number") == 9
        other.delete("text")
        assert await face.get("text") is None

    async def test_write_legacy__rules(self, left_by, make_cache, face_of, redis_client):
        """What a rule syncs, encrypts or tags is sealed all the same; what it checks is checked."""
        rules = {"call:": {"sync": "lww"}, "secret:": {"sensitive": True}, "checked:": {"validate": float}}
        cache = make_cache(READ_LEGACY="pickle", WRITE_LEGACY=True, RULES=rules)
        face = face_of(cache)
        await face.set_many({"call:1": "v", "secret:1": "v"})
        await face.set("tagged", "v", tags=["t"])
        for key in ("call:1", "secret:1", "tagged"):
            assert redis_client.get(f"t:1:{key}")[0] in (1, 2, 3)
            assert await face.get(key) == "v"
        with pytest.raises(ValueError, match="checked:1"):
            await face.set("checked:1", "v")
        await face.set("checked:1", 2.5)
        assert pickle.loads(redis_client.get("t:1:checked:1")) == 2.5

    async def test_write_legacy__collections(self, make_cache, face_of):
        """Members of collections are sealed, and found as they were."""
        face = face_of(make_cache(READ_LEGACY="pickle", WRITE_LEGACY=True))
        await face.sadd("members", "a", ("b", 1))
        assert await face.smembers("members") == {"a", ("b", 1)}
        assert await face.sismember("members", "a")

    async def test_write_legacy__too_large(self, make_cache, face_of):
        """The bound on values holds here too."""
        face = face_of(make_cache(READ_LEGACY="pickle", WRITE_LEGACY=True, MAX_VALUE_BYTES=100))
        with pytest.raises(ValueError, match="max_value_bytes"):
            await face.set("key", "a" * 200)


class TestEnd:
    @pytest.mark.parametrize("name", ["django-redis", "json"])
    def test_rotate__seals_what_is_left(self, name, left_by, make_cache, redis_client):
        """Rotation seals what the other backend left, with its time to live; READ_LEGACY may go then."""
        other, values = left_by(name)
        other.set_many(values, 600)
        rotated = rotate(make_cache(READ_LEGACY="pickle"))
        assert (rotated.resealed, rotated.unreadable) == (len(values) - 1, 0)  # an integer has no seal
        cache = make_cache()
        assert cache.get_many(values) == values
        assert 0 < cache.ttl("large") <= 600

    def test_rotate__while_others_read(self, left_by, make_cache):
        """As long as values are written as theirs they stay so, and what cannot be read stays a miss."""
        other, values = left_by("django")
        other.set_many(values, 600)
        rotated = rotate(make_cache(READ_LEGACY="pickle", WRITE_LEGACY=True))
        assert (rotated.resealed, rotated.unreadable) == (0, 0)
        assert {key: other.get(key) for key in values} == values
        assert rotate(make_cache(READ_LEGACY="safe")).unreadable > 0

    def test_codec__off(self, make_cache):
        """Where nothing of another backend is read, values go through the plain codec."""
        assert type(make_cache().codec_for("a")).__name__ == "Codec"
        assert type(make_cache(READ_LEGACY="safe").codec_for("a")).__name__ == "LegacyCodec"


class TestRoll:
    """The deployments that the documentation goes through, and the way back."""

    def test_roll__three_deployments(self, left_by, make_cache):
        """At each step all who run can read all there is."""
        other, values = left_by("django-redis")
        other.set_many(values, 600)
        first = make_cache(READ_LEGACY="pickle", WRITE_LEGACY=True)
        first.set("new", {"by": 1})
        assert other.get_many([*values, "new"]) == {**values, "new": {"by": 1}}
        second = make_cache(READ_LEGACY="pickle")
        second.set("new", {"by": 2})
        assert second.get_many([*values, "new"]) == {**values, "new": {"by": 2}}
        first = make_cache(READ_LEGACY="pickle", WRITE_LEGACY=True)
        assert first.get_many([*values, "new"]) == {**values, "new": {"by": 2}}
        rotate(make_cache(READ_LEGACY="pickle"))
        assert make_cache().get_many([*values, "new"]) == {**values, "new": {"by": 2}}

    @pytest.mark.parametrize("name", ["django", "django-redis"])
    def test_roll__why_not_at_once(self, name, left_by, make_cache):
        """The other backends raise on what is sealed."""
        make_cache().set("key", {"a": 1})
        with pytest.raises(pickle.UnpicklingError):
            left_by(name)[0].get("key")

    def test_back__from_sealed_values(self, left_by, make_cache):
        """After the cache was cleared by processes that write as the other backend does, it may come back."""
        other, _ = left_by("django")
        make_cache().set("sealed", 1.5)
        back = make_cache(READ_LEGACY="pickle", WRITE_LEGACY=True)
        assert back.clear()
        back.set("key", "value")
        assert other.get_many(["sealed", "key"]) == {"key": "value"}
