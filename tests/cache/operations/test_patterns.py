from __future__ import annotations

import asyncio
import re
import warnings
from random import Random

import pytest
from django.core.cache.backends.base import InvalidCacheKey

from django_callcache.cache import escape_glob
from django_callcache.outbox.dirty import DirtyEntries

NAMES = [
    "plain",
    "a*b",
    "a?b",
    "[x]",
    "[",
    "]",
    "a\\b",
    "\\*",
    "^",
    "ünï",
    "x:y",
    ":",
    "-",
    "{t}",
    "callcache@t:x",
]
PREFIXES = ["t", "", "a:b", "t*", "t?", "[t]", "t\\", "t\\*", "[^t]", "t[a-z]", "ü"]
OTHERS = ["tt", "t", "tx", "a", "a:", "b", "t\\x", "x", "ta", "x:1", "t*x"]


@pytest.fixture(autouse=True)
def _no_key_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class TestHostileNames:
    @pytest.mark.needs_rights("prefixes that stand in no rule")
    @pytest.mark.parametrize("prefix", PREFIXES)
    async def test_listing__all_of_its_own(self, face_of, make_cache, redis_client, prefix):
        """Every key of the alias is listed as its writer spelt it, and none of anybody else's."""
        face = face_of(make_cache(KEY_PREFIX=prefix))
        names = [*NAMES, "line\nfeed", "with space"]
        await face.set_many(dict.fromkeys(names, 1))
        await face.set("of another version", 1, version=2)
        others = plant(redis_client, prefix)
        assert sorted(await face.keys()) == sorted(names)
        assert sorted(await face.iter_keys("*")) == sorted(names)
        assert await face.count() == len(names)
        assert await face.keys(version=2) == ["of another version"]
        assert redis_client.exists(*others) == len(others)

    @pytest.mark.needs_rights("prefixes that stand in no rule")
    @pytest.mark.parametrize("prefix", PREFIXES)
    async def test_clear__all_of_its_own(self, face_of, make_cache, redis_client, prefix):
        """Clear takes every value of the alias, whatever its version, and nothing else."""
        face = face_of(make_cache(KEY_PREFIX=prefix))
        await face.set_many(dict.fromkeys([*NAMES, "line\nfeed"], 1))
        await face.set("a", 1, version=0)
        await face.set("a", 1, version=17)
        others = plant(redis_client, prefix)
        assert await face.clear() is True
        assert set(redis_client.keys()) == set(others)

    @pytest.mark.needs_rights("prefixes that stand in no rule")
    @pytest.mark.parametrize("prefix", PREFIXES)
    async def test_delete_pattern__all_of_its_own(self, face_of, make_cache, redis_client, prefix):
        """A pattern deletes its matches of the alias, counts them, and reaches nothing else."""
        face = face_of(make_cache(KEY_PREFIX=prefix))
        await face.set_many(dict.fromkeys([*NAMES, "line\nfeed"], 1))
        others = plant(redis_client, prefix)
        assert await face.delete_pattern("*") == len(NAMES) + 1
        assert set(redis_client.keys()) == set(others)

    @pytest.mark.parametrize("name", [*NAMES, "line\nfeed", ""])
    async def test_delete_prefix__literal(self, face, name):
        """A prefix is a literal text, whatever characters it has."""
        own = [name, name + "1", name + "*", name + "\n"]
        others = ["zzz", "a", "ab", "x" + name, "*" + name, "\\" + name]
        others = [other for other in others if not other.startswith(name)]
        await face.set_many(dict.fromkeys(own + others, 1))
        assert await face.delete_prefix(name) == len(own)
        assert sorted(await face.keys()) == sorted(others)


def plant(client, prefix):
    """Put other people's keys around those of a prefix; return them."""
    planted = [
        f"{other}:{version}:{name}".encode()
        for other in OTHERS
        for version in (1, 2)
        for name in ("plain", "a*b")
        if not f"{other}:".startswith(f"{prefix}:")
    ]
    planted += [b"bare", b"\xff\xfe", b"t"]
    planted += [b"callcache@%b:outbox:due" % prefix.encode(), b"callcache@%b:side:t:1:x" % prefix.encode()]
    client.mset(dict.fromkeys(planted, 1))
    return planted


class TestKeys:
    async def test_keys__pattern(self, face):
        """Redis's globs hold over the keys as callers write them."""
        await face.set_many(dict.fromkeys(["a1", "a2", "b1", "a"], 1))
        assert sorted(await face.keys("a?")) == ["a1", "a2"]
        assert sorted(await face.keys("[ab]1")) == ["a1", "b1"]
        assert await face.keys("nothing*") == []
        assert await face.count("a*") == 3

    async def test_keys__many(self, face):
        """Every key comes exactly once, also over many steps."""
        names = [f"k{number}" for number in range(3000)]
        await face.set_many(dict.fromkeys(names, 1))
        assert sorted(await face.keys()) == sorted(names)
        assert set(await face.iter_keys("*", itersize=7)) == set(names)
        assert await face.count() == 3000

    async def test_keys__internal_keys(self, face_of, make_cache, redis_client):
        """What the outbox and statistics keep is never listed, counted or deleted, not even of an alias
        whose prefix is like theirs."""
        face = face_of(make_cache(RULES={"s:": {"sync": "lww"}}))
        await face.set("s:1", 1)
        await face.get("s:1")
        face.cache.flush_stats()
        internal = set(redis_client.keys("callcache@*"))
        assert len(internal) >= 6
        assert await face.keys() == ["s:1"]
        for pattern in ("callcache@*", "*"):
            assert await face.delete_pattern(pattern, prefix="callcache@t") == 0
        await face.clear()
        assert set(redis_client.keys()) == internal

    async def test_keys__lone_surrogate(self, face):
        """A pattern without UTF-8 is refused as an invalid key."""
        for call in (face.keys, face.iter_keys, face.count, face.delete_pattern, face.delete_prefix):
            with pytest.raises(InvalidCacheKey):
                await call("\ud800*")

    @pytest.mark.needs_rights("keys of another form")
    async def test_keys__key_function(self, face_of, make_cache):
        """With a ``KEY_FUNCTION`` of the project's own, its inverse gives the keys back."""
        face = face_of(
            make_cache(
                KEY_FUNCTION="tests.cache.operations.test_patterns.shouted",
                REVERSE_KEY_FUNCTION="tests.cache.operations.test_patterns.spoken",
            )
        )
        await face.set_many({"a:1": 1, "b": 2})
        assert sorted(await face.keys()) == ["a:1", "b"]
        assert await face.keys("a*") == ["a:1"]
        assert await face.delete_pattern("a*") == 1
        assert await face.get("b") == 2
        await face.clear()
        assert await face.count() == 0


def shouted(key, key_prefix, version):
    return f"{key_prefix}!{version}!{key}"


def spoken(redis_key):
    return redis_key.split("!", 2)[2]


class TestDeletePattern:
    async def test_delete_pattern__version_and_prefix(self, face, redis_client):
        """A version, 0 too, or another prefix can be chosen."""
        for version in (0, 1, 2):
            await face.set("a", 1, version=version)
        redis_client.set("other:1:a", 1)
        assert await face.delete_pattern("a*", version=0) == 1
        assert sorted(redis_client.keys()) == [b"other:1:a", b"t:1:a", b"t:2:a"]
        assert await face.delete_pattern("a*", prefix="other") == 1
        assert sorted(redis_client.keys()) == [b"t:1:a", b"t:2:a"]

    async def test_delete_pattern__progress(self, face):
        """Progress is reported after each step, with what was deleted so far."""
        await face.set_many(dict.fromkeys(map(str, range(2000)), 1))
        steps = []
        assert await face.delete_pattern("*", itersize=100, progress=steps.append) == 2000
        assert steps == sorted(steps)
        assert steps[-1] == 2000
        assert len(steps) > 5
        await face.set_many(dict.fromkeys(map(str, range(2000)), 1))
        steps.clear()
        await face.delete_prefix("1", progress=steps.append)
        await face.clear(progress=steps.append)
        assert steps

    async def test_delete_pattern__outbox_stays(self, face_of, make_cache):
        """Deleting by pattern drops copies; what waits to be pushed is pushed all the same."""
        face = face_of(make_cache(RULES={"s:": {"sync": "lww"}}))
        await face.set_many({f"s:{number}": number for number in range(20)})
        assert await face.delete_prefix("s:") == 20
        await face.clear()
        entries = (
            DirtyEntries(face.cache.redis_client(), face.cache.redis_keys).claim(100, 1 << 20, 30).entries
        )
        assert sorted(entry.remote_key for entry in entries) == sorted(f"1:s:{n}" for n in range(20))
        assert not any(entry.deleted for entry in entries)


class TestIterKeys:
    def test_iter_keys__left_early(self, make_cache):
        """Who stops in the middle leaves nothing behind that later calls would trip over."""
        cache = make_cache()
        cache.set_many(dict.fromkeys(map(str, range(2000)), 1))
        for _ in range(20):
            keys = cache.iter_keys("*", itersize=10)
            next(keys)
            keys.close()
        assert cache.get("1") == 1
        assert len(list(cache.iter_keys("*"))) == 2000

    async def test_aiter_keys__left_early(self, make_cache):
        """The same on the event loop."""
        cache = make_cache()
        await cache.aset_many(dict.fromkeys(map(str, range(2000)), 1))
        for _ in range(20):
            keys = cache.aiter_keys("*", itersize=10)
            await anext(keys)
            await keys.aclose()
        await asyncio.sleep(0)
        assert await cache.aget("1") == 1

    def test_iter_keys__other_calls_in_between(self, make_cache):
        """A listing holds no connection: one is enough for it and the calls made meanwhile."""
        cache = make_cache(MAX_CONNECTIONS=1)
        cache.set_many(dict.fromkeys(map(str, range(500)), 1))
        assert all(cache.get(key) == 1 for key in cache.iter_keys("*", itersize=10))


@pytest.mark.needs_rights("FLUSHDB")
class TestFlushDb:
    async def test_flush_db__everything(self, face, redis_client):
        """Only this empties the whole database."""
        await face.set("a", 1)
        redis_client.set("somebody else's", 1)
        assert await face.clear() is True
        assert redis_client.dbsize() == 1
        assert await face.flush_db() is True
        assert redis_client.dbsize() == 0


SPECIAL = "[]*?\\^-{}!:ab\n é\"'\x00漢"


def hostile_names(random, number, stem):
    """Names that begin with a stem, of characters that mean something to somebody."""
    names = set()
    while len(names) < number:
        names.add(stem + "".join(random.choices(SPECIAL, k=random.randint(0, 12))))
    return sorted(names)


@pytest.mark.needs_rights("prefixes that stand in no rule")
@pytest.mark.needs_server("fifty deletions by pattern take minutes on a cluster")
class TestTenThousandHostileNames:
    STEMS = ("camp[a-z]*:", "camp", "c\\", "[", "*", "a?b\\*:", "^[", "ca\\[mp", "]", "\\\\")

    @pytest.fixture(params=["t", "t*[a]\\"])
    def planted(self, request, make_cache, session_redis):
        """A cache with 10,000 names, a thousand under each stem, and other people's keys around it."""
        random = Random(request.param)
        cache = make_cache(KEY_PREFIX=request.param)
        names = [name for stem in self.STEMS for name in hostile_names(random, 1000, stem)]
        cache.set_many(dict.fromkeys(names, 1))
        cache.set_many(dict.fromkeys(names[::10], 1), version=2)
        others = [f"{prefix}:1:{name}" for prefix in ("tt", "t*", "ta", "t*[a]") for name in names[::40]]
        session_redis.mset(dict.fromkeys(others, 1))
        return cache, set(names), session_redis.dbsize()

    def test_delete_prefix__exactly_its_own(self, planted, session_redis):
        """Each prefix takes all keys that begin with it, and none else: of this version, of this alias."""
        cache, names, size = planted
        assert len(names) >= 9000
        assert set(cache.keys()) == names
        for stem in self.STEMS:
            own = {name for name in names if name.startswith(stem)}
            assert cache.delete_prefix(stem) == len(own)
            names -= own
            size -= len(own)
            assert session_redis.dbsize() == size
        assert names == set(cache.keys()) == set()
        assert cache.count(version=2) > 900

    def test_delete_pattern__exactly_its_own(self, planted, session_redis):
        """Globs around escaped texts take what a regular expression says they should."""
        cache, names, size = planted
        for stem in self.STEMS:
            for glob, expression in (
                (f"{escape_glob(stem)}?", f"{re.escape(stem)}."),
                (f"{escape_glob(stem)}*[ab]", f"{re.escape(stem)}.*[ab]"),
                (f"*{escape_glob(stem)}[^a-z]*", f".*{re.escape(stem)}[^a-z].*"),
                (f"{escape_glob(stem)}*{escape_glob('*')}", f"{re.escape(stem)}.*\\*"),
            ):
                # Redis counts bytes where an expression counts characters.
                wanted = re.compile(expression.encode(), re.DOTALL)
                own = {name for name in names if wanted.fullmatch(name.encode())}
                assert cache.delete_pattern(glob) == len(own), glob
                names -= own
                size -= len(own)
        assert set(cache.keys()) == names
        assert session_redis.dbsize() == size


class TestInterruption:
    def test_delete_pattern__progress_raises(self, make_cache):
        """What `progress` raises ends the deletion; the rest stays, and the next call goes on."""
        cache = make_cache()
        cache.set_many(dict.fromkeys(map(str, range(3000)), 1))

        def enough(removed):
            if removed > 500:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cache.delete_pattern("*", itersize=100, progress=enough)
        left = cache.count()
        assert 0 < left < 2500
        assert cache.delete_pattern("*") == left

    async def test_adelete_pattern__cancelled(self, make_cache):
        """A task that is cancelled stops after the step under way."""
        cache = make_cache()
        await cache.aset_many(dict.fromkeys(map(str, range(3000)), 1))
        task = asyncio.current_task()

        def cancel(removed):
            if removed > 500:
                task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await cache.adelete_pattern("*", itersize=100, progress=cancel)
        task.uncancel()
        left = await cache.acount()
        assert 0 < left < 2500
        assert await cache.adelete_pattern("*") == left

    @pytest.mark.parametrize("itersize", [0, -1])
    async def test_itersize__refused(self, face, itersize):
        """A step of no keys is refused."""
        with pytest.raises(ValueError, match="itersize"):
            await face.delete_pattern("*", itersize=itersize)
        with pytest.raises(ValueError, match="itersize"):
            await face.iter_keys("*", itersize=itersize)
