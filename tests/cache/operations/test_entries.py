from __future__ import annotations

import asyncio
import enum
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.core.cache.backends.base import CacheKeyWarning, InvalidCacheKey

from django_callcache.cache.prefixes import LONGEST_PX

FALSY = [0, "", [], {}, False, b"", 0.0, None]


class Colour(enum.IntEnum):
    RED = 7


class Unpicklable:
    def __reduce__(self):
        raise TypeError("not this one")


class TestGet:
    @pytest.mark.parametrize("value", [*FALSY, 1, -(2**80), "ü", (1, [2]), {1: {2}}, Colour.RED, True, b"12"])
    async def test_get__what_was_stored(self, face, value):
        """A value comes back equal and of the same type; falsy ones, None among them, are hits."""
        assert await face.set("a", value) is True
        found = await face.get("a", "default")
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize("default", [None, 0, [], "x", object()])
    async def test_get__missing(self, face, default):
        """A missing key gives the caller's own default, whatever its type."""
        assert await face.get("nothing", default) is default

    async def test_get__versions(self, face):
        """Versions are different values, version 0 too."""
        await face.set("a", "one")
        await face.set("a", "zero", version=0)
        await face.set("a", "two", version=2)
        assert await face.get("a") == await face.get("a", version=1) == "one"
        assert await face.get("a", version=0) == "zero"
        assert await face.get("a", None, 2) == "two"
        assert await face.get("a", version=3) is None

    async def test_get__text_form(self, face):
        """Keys are told apart by their text form, as Django does it: 1 is "1", True is not."""
        await face.set(1, "number")
        assert await face.get("1") == "number"
        assert await face.get(True) is None
        await face.set(True, "truth")
        assert await face.get(1) == "number"
        assert await face.get("True") == "truth"

    async def test_get__lone_surrogate(self, face):
        """A key without UTF-8 is refused as an invalid key, by reads and writes alike."""
        for call in (face.get, face.delete, face.touch, face.has_key, face.ttl, face.incr):
            with pytest.raises(InvalidCacheKey):
                await call("a\ud800")
        for call in (face.set, face.add, face.get_or_set):
            with pytest.raises(InvalidCacheKey):
                await call("a\ud800", 1)

    async def test_get__key_warning(self, face):
        """A key that memcached would refuse works, and warns as with Django's own backends."""
        with pytest.warns(CacheKeyWarning, match="t:1:a b"):
            await face.set("a b", 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert await face.get("a b") == 1


class TestStoredBytes:
    @pytest.mark.parametrize("number", [0, 1, -1, 2**63 - 1, -(2**63), 10**30])
    async def test_int__plain_text(self, face, redis_client, number):
        """An int lies in Redis as its digits, so that Redis can count with it."""
        await face.set("a", number)
        assert redis_client.get("t:1:a") == str(number).encode()

    @pytest.mark.parametrize("value", [True, Colour.RED, 1.5, "1", b"1", None])
    async def test_other__sealed(self, face, redis_client, value):
        """Whatever is not exactly an int is sealed, so that its type comes back."""
        await face.set("a", value)
        assert redis_client.get("t:1:a")[0] not in b"-0123456789"

    async def test_get__another_type_at_the_key(self, face, redis_client):
        """A list at the key is a miss and is counted; a set replaces it."""
        redis_client.rpush("t:1:a", "x")
        assert await face.get("a", "default") == "default"
        assert face.cache.counted()["other"]["undecodable"] == 1
        assert await face.get_many(["a"]) == {}
        assert await face.set("a", "healed") is True
        assert await face.get("a") == "healed"

    @pytest.mark.parametrize(
        "planted",
        [
            b"",
            b"garbage",
            b"\x00" * 40,
            b"12x",
            b"007",
            b"cposix\nsystem\n(S'touch /nowhere'\ntR.",
            b"\x80\x05K\x01.",
        ],
    )
    async def test_get__foreign_bytes(self, face, redis_client, planted):
        """Bytes that this project has not sealed are a miss, counted, and never unpickled."""
        redis_client.set("t:1:a", planted)
        assert await face.get("a", "default") == "default"
        assert await face.get_many(["a"]) == {}
        counts = face.cache.counted()["other"]
        assert counts["undecodable"] == counts["misses"] == 2
        with pytest.raises(ValueError, match="not found"):
            await face.incr("a")
        assert await face.set("a", 5)
        assert await face.incr("a") == 6

    async def test_get__blob_moved_to_another_key(self, face, redis_client):
        """A sealed value means nothing under another key, version or prefix."""
        await face.set("a", "secret")
        for other in ("t:1:b", "t:2:a", "u:1:a"):
            redis_client.restore(other, 0, redis_client.dump("t:1:a"))
        assert await face.get("b") is None
        assert await face.get("a", version=2) is None
        assert await face.get("a") == "secret"

    async def test_get__blob_moved_to_another_alias(self, face_of, make_caches, redis_url):
        """A value of one alias is a miss for another, even under the same Redis key."""
        same = {"LOCATION": redis_url, "KEY_PREFIX": "t"}
        first, second = map(face_of, make_caches({"one": same, "two": {**same, "TIMEOUT": 60}}))
        await first.set("a", "secret")
        assert await second.get("a") is None
        assert await first.get("a") == "secret"

    async def test_get__two_aliases(self, face_of, make_caches, redis_url):
        """Aliases with their own prefixes share a database without meeting."""
        stated = {name: {"LOCATION": redis_url, "KEY_PREFIX": name} for name in ("one", "two")}
        first, second = map(face_of, make_caches(stated))
        await first.set("a", 1)
        await second.set("a", 2)
        assert (await first.get("a"), await second.get("a")) == (1, 2)
        await first.clear()
        assert (await first.get("a"), await second.get("a")) == (None, 2)


class TestTimeout:
    @pytest.mark.parametrize("seconds", [0, -1, -0.5])
    async def test_set__nothing_is_kept(self, face, redis_client, seconds):
        """A timeout of zero or less deletes the key, and is a success whether it was there or not."""
        await face.set("a", 1)
        assert await face.set("a", 2, seconds) is True
        assert await face.set("missing", 2, seconds) is True
        assert redis_client.dbsize() == 0

    async def test_set__none(self, face, redis_client):
        """None is for ever, also over a value that had a timeout."""
        await face.set("a", 1, 10)
        await face.set("a", 1, None)
        assert redis_client.pttl("t:1:a") == -1

    async def test_set__fractions(self, face, redis_client):
        """Fractions of a second are kept."""
        await face.set("a", 1, 0.4)
        assert 0 < redis_client.pttl("t:1:a") <= 400

    @pytest.mark.parametrize("seconds", [10**12, 10**20, float("inf")])
    async def test_set__huge(self, face, redis_client, seconds):
        """A timeout beyond what Redis can count is cut, not refused."""
        assert await face.set("a", 1, seconds) is True
        assert LONGEST_PX - 60_000 < redis_client.pttl("t:1:a") <= LONGEST_PX
        assert await face.touch("a", seconds) is True
        assert await face.add("b", 1, seconds) is True

    async def test_set__expires(self, face):
        """An entry that has expired is a miss."""
        await face.set("a", 1, 0.001)
        await asyncio.sleep(0.02)
        assert await face.get("a") is None
        assert await face.has_key("a") is False

    @pytest.mark.parametrize(
        ("stated", "key", "seconds"),
        [
            ({}, "free:1", 3600),
            ({"TIMEOUT": 90}, "free:1", 90),
            ({"TIMEOUT": 90}, "ruled:1", 20),
            ({"TIMEOUT": 90}, "ruled:deep:1", 30),
            ({"TIMEOUT": 90}, "synced:1", 90),
            ({"TIMEOUT": 90}, "peak:1", 3600),
            ({"TIMEOUT": 90}, "ever:1", None),
            ({"TIMEOUT": None}, "free:1", None),
            ({"TIMEOUT": None}, "ruled:1", 20),
        ],
    )
    async def test_set__policy(self, face_of, make_cache, redis_client, stated, key, seconds):
        """Without a timeout the rule with the longest prefix decides, else the alias, else the policy."""
        rules = {
            "ruled:": {"ttl": 20},
            "ruled:deep:": {"ttl": 30},
            "synced:": {"sync": "lww"},
            "peak:": {"ttl": "fixed"},
            "ever:": {"ttl": None},
        }
        any_hour = {"TTL": {"DEFAULT_TTL": 3600, "PEAK_TTL": 3600}}
        face = face_of(make_cache(app=any_hour, RULES=rules, **stated))
        await face.set(key, 1)
        assert await face.ttl(key) == seconds
        await face.set_many({key: 1}, 5)
        await face.touch(key)
        assert await face.ttl(key) == seconds
        await face.set_many({key: 2})
        assert await face.ttl(key) == seconds
        await face.delete(key)
        await face.add(key, 1)
        assert await face.ttl(key) == seconds
        await face.delete(key)
        await face.get_or_set(key, 1)
        assert await face.ttl(key) == seconds

    async def test_set__explicit_timeout_wins(self, face_of, make_cache):
        """A timeout that the caller gives is never overridden, None included."""
        face = face_of(make_cache(TIMEOUT=90, RULES={"ruled:": {"ttl": 20}}))
        for key in ("ruled:1", "free:1"):
            await face.set(key, 1, 45)
            assert await face.ttl(key) == 45
            await face.set(key, 1, None)
            assert await face.ttl(key) is None

    async def test_set__alias_keeps_nothing(self, face_of, make_cache, redis_client):
        """``TIMEOUT`` 0 means what a timeout of 0 means: nothing is kept."""
        face = face_of(make_cache(TIMEOUT=0))
        assert await face.set("a", 1) is True
        assert await face.set_many({"b": 1}) == []
        assert await face.add("c", 1) is True
        assert redis_client.dbsize() == 0
        await face.set("a", 1, 10)
        assert await face.get("a") == 1


class TestSet:
    async def test_set__nx_and_xx(self, face):
        """``nx`` stores where nothing is, ``xx`` where something is; the answer says whether it did."""
        assert await face.set("a", 1, xx=True) is False
        assert await face.has_key("a") is False
        assert await face.set("a", 1, nx=True) is True
        assert await face.set("a", 2, nx=True) is False
        assert await face.set("a", 3, 50, xx=True) is True
        assert (await face.get("a"), await face.ttl("a")) == (3, 50)

    async def test_set__unencodable(self, face):
        """What cannot be encoded raises, and the old value stays."""
        await face.set("a", 1)
        with pytest.raises(TypeError, match="not this one"):
            await face.set("a", Unpicklable())
        assert await face.get("a") == 1


class TestAdd:
    async def test_add__only_absent(self, face):
        """Add stores where nothing is, a stored None being something."""
        assert await face.add("a", None, 30) is True
        assert await face.add("a", 2, 60) is False
        assert await face.get("a", "default") is None
        assert await face.ttl("a") == 30

    @pytest.mark.parametrize("seconds", [0, -1])
    async def test_add__nothing_to_keep(self, face, redis_client, seconds):
        """With no time to live the answer is that of a real add, and nothing is stored."""
        assert await face.add("a", 1, seconds) is True
        assert redis_client.dbsize() == 0
        await face.set("a", 1)
        assert await face.add("a", 2, seconds) is False
        assert await face.get("a") == 1

    async def test_add__one_of_many(self, make_cache):
        """Of many that add at once exactly one succeeds."""
        cache = make_cache()
        with ThreadPoolExecutor(8) as threads:
            added = list(threads.map(lambda number: cache.add("a", number), range(64)))
        assert added.count(True) == 1
        assert cache.get("a") == added.index(True)


class TestDelete:
    async def test_delete__existed(self, face):
        """The answer says whether there was something, in that version."""
        await face.set("a", None)
        assert await face.delete("a", version=2) is False
        assert await face.delete("a") is True
        assert await face.delete("a") is False


class TestTouch:
    async def test_touch__exists(self, face):
        """The answer says whether the key exists, whatever timeout it had and gets."""
        await face.set("a", 1, None)
        assert await face.touch("a", None) is True
        assert await face.touch("a", 30) is True
        assert await face.ttl("a") == 30
        assert await face.touch("a", None) is True
        assert await face.ttl("a") is None
        assert await face.touch("a", 0.4) is True
        assert 0 < await face.pttl("a") <= 400

    async def test_touch__missing(self, face, redis_client):
        """A missing key is not created."""
        for timeout in (None, 10, 0, -1):
            assert await face.touch("a", timeout) is False
        assert redis_client.dbsize() == 0

    @pytest.mark.parametrize("seconds", [0, -1])
    async def test_touch__zero_deletes(self, face, seconds):
        """No time to live means that the entry ends now."""
        await face.set("a", 1)
        assert await face.touch("a", seconds) is True
        assert await face.has_key("a") is False


class TestTimeLeft:
    async def test_ttl__missing_and_persistent(self, face):
        """Nothing left of a missing key, None for one that never expires."""
        assert await face.ttl("a") == await face.pttl("a") == 0
        await face.set("a", 1, None)
        assert await face.ttl("a") is None
        assert await face.pttl("a") is None

    async def test_ttl__never_zero_for_a_key_that_is_there(self, face):
        """A key that has less than half a second left is not reported as missing."""
        await face.set("a", 1, 0.4)
        assert await face.ttl("a") == 1
        assert 0 < await face.pttl("a") <= 400

    async def test_persist(self, face):
        """Persist takes the timeout away and says whether there was one."""
        await face.set("a", 1, 10)
        assert await face.persist("a") is True
        assert await face.persist("a") is False
        assert await face.persist("missing") is False
        assert await face.ttl("a") is None

    async def test_expire(self, face):
        """Timeouts can be given in seconds, in milliseconds and as a timedelta."""
        await face.set("a", 1)
        assert await face.expire("a", 20) is True
        assert await face.ttl("a") == 20
        assert await face.expire("a", timedelta(minutes=1)) is True
        assert await face.ttl("a") == 60
        assert await face.pexpire("a", 30_000) is True
        assert await face.ttl("a") == 30
        assert await face.pexpire("a", timedelta(seconds=50)) is True
        assert await face.ttl("a") == 50
        assert await face.expire("missing", 20) is False

    async def test_expire_at(self, face):
        """A time can be a datetime or a number; one that has passed ends the entry."""
        in_a_minute = time.time() + 60
        for call, when in (
            (face.expire_at, in_a_minute),
            (face.pexpire_at, in_a_minute * 1000),
            (face.expire_at, datetime.fromtimestamp(in_a_minute, UTC)),
            (face.pexpire_at, datetime.fromtimestamp(in_a_minute, UTC)),
        ):
            await face.set("a", 1)
            assert await call("a", when) is True
            assert 50_000 < await face.pttl("a") <= 60_000
            assert await call("missing", when) is False
        assert await face.expire_at("a", datetime.now(UTC) - timedelta(seconds=5)) is True
        assert await face.has_key("a") is False


class TestIncr:
    async def test_incr__sums(self, face):
        """Numbers are added and taken away, by any step."""
        await face.set("a", 10)
        assert await face.incr("a") == 11
        assert await face.incr("a", 5) == 16
        assert await face.decr("a") == 15
        assert await face.decr("a", -2) == 17
        assert await face.incr("a", -20) == -3
        assert await face.incr("a", 0) == -3
        assert await face.get("a") == -3

    async def test_incr__missing(self, face, redis_client):
        """A missing key raises, and nothing is created."""
        for delta in (1, 0, 1.5, 2**70):
            with pytest.raises(ValueError, match="not found"):
                await face.incr("a", delta)
            with pytest.raises(ValueError, match="not found"):
                await face.decr("a", delta)
        with pytest.raises(ValueError, match="not found"):
            await face.incr("a", version=2)
        assert redis_client.dbsize() == 0

    async def test_incr__ignore_key_check(self, face):
        """On demand a missing key counts from zero."""
        assert await face.incr("a", 3, ignore_key_check=True) == 3
        assert await face.incr("a", 3, ignore_key_check=True) == 6
        assert await face.incr("f", 1.5, ignore_key_check=True) == 1.5

    async def test_incr__keeps_timeout(self, face):
        """Counting does not change how long the entry lives."""
        await face.set("a", 1, 50)
        await face.set("f", 1.5, 50)
        await face.set("p", 2**70, None)
        await face.incr("a")
        await face.incr("f")
        await face.incr("p")
        assert await face.ttl("a") == await face.ttl("f") == 50
        assert await face.ttl("p") is None

    @pytest.mark.parametrize(
        ("value", "delta"),
        [
            (1.5, 1),
            (1, 0.5),
            (1.5, 0.25),
            (2**63 - 1, 1),
            (-(2**63), -1),
            (2**70, 1),
            (1, 2**70),
            (2**70, 0.5),
            (2**63, -(2**63)),
        ],
    )
    async def test_incr__beyond_64_bits_and_floats(self, face, value, delta):
        """What Redis cannot count with is counted here, exactly as Python does."""
        await face.set("a", value)
        assert await face.incr("a", delta) == value + delta
        found = await face.get("a")
        assert found == value + delta
        assert type(found) is type(value + delta)

    @pytest.mark.parametrize("value", [True, "1", None, [1], b"5"])
    async def test_incr__no_number(self, face, value):
        """A value that is no number raises TypeError, and stays."""
        await face.set("a", value)
        for delta in (1, 1.5):
            with pytest.raises(TypeError, match="not a number"):
                await face.incr("a", delta)
        assert await face.get("a") == value

    async def test_incr__another_type_at_the_key(self, face, redis_client):
        """A list at the key is no value, so nothing is found to add to."""
        redis_client.rpush("t:1:a", "x")
        for delta in (1, 1.5):
            with pytest.raises(ValueError, match="not found"):
                await face.incr("a", delta)

    @pytest.mark.parametrize(("start", "delta"), [(0, 1), (0.0, 0.5), (2**70, 1)])
    def test_incr__eight_threads(self, make_cache, start, delta):
        """No addition is lost, however many count at once, whatever kind of number it is."""
        cache = make_cache()
        cache.set("a", start)
        with ThreadPoolExecutor(8) as threads:
            sums = list(threads.map(lambda _: cache.incr("a", delta), range(200)))
        assert cache.get("a") == start + 200 * delta
        assert sorted(sums) == [start + step * delta for step in range(1, 201)]

    @pytest.mark.parametrize(("start", "delta"), [(0, 1), (0.0, 0.5)])
    async def test_incr__many_tasks(self, make_cache, start, delta):
        """The same for tasks."""
        cache = make_cache()
        await cache.aset("a", start)
        await asyncio.gather(*(cache.aincr("a", delta) for _ in range(30)))
        assert await cache.aget("a") == start + 30 * delta


class TestIncrVersion:
    async def test_incr_version__moves(self, face):
        """The value moves with its milliseconds; the old version is gone."""
        await face.set("a", {"x": 1}, 50)
        before = await face.pttl("a")
        assert await face.incr_version("a") == 2
        assert await face.get("a") is None
        assert await face.get("a", version=2) == {"x": 1}
        assert 0 <= before - await face.pttl("a", version=2) < 10_000
        assert await face.decr_version("a", 2, version=2) == 0
        assert await face.get("a", version=0) == {"x": 1}
        assert await face.ttl("a", version=0) == 50

    @pytest.mark.parametrize("value", [None, 5, "x"])
    async def test_incr_version__any_value(self, face, value):
        """None and numbers move like any value, and one that never expires still does not."""
        await face.set("a", value, None)
        await face.set("a", "old", 20, version=4)
        assert await face.incr_version("a", 3) == 4
        assert await face.get("a", "default", version=4) == value
        assert await face.ttl("a", version=4) is None

    async def test_incr_version__missing(self, face):
        """A missing key raises."""
        for call in (face.incr_version, face.decr_version):
            with pytest.raises(ValueError, match="not found"):
                await call("a")

    async def test_incr_version__by_zero(self, face):
        """A move to where it is leaves the value there."""
        await face.set("a", "x", 50)
        assert await face.incr_version("a", 0) == 1
        assert (await face.get("a"), await face.ttl("a")) == ("x", 50)

    def test_incr_version__eight_threads(self, make_cache):
        """Of many that move the same version each finds it once: none moves a value that is gone."""
        cache = make_cache()
        cache.set("a", "x", 50, version=0)

        def move(_):
            try:
                return cache.incr_version("a", version=0)
            except ValueError:
                return None

        with ThreadPoolExecutor(8) as threads:
            moved = list(threads.map(move, range(32)))
        assert moved.count(1) == 1
        assert cache.get("a", version=1) == "x"


class TestGetOrSet:
    async def test_get_or_set__stores(self, face):
        """A missing value is made, stored and returned; one that is there is returned."""
        assert await face.get_or_set("a", "made", 50) == "made"
        assert await face.get_or_set("a", lambda: "not this") == "made"
        assert await face.ttl("a") == 50

    @pytest.mark.parametrize("value", FALSY)
    async def test_get_or_set__falsy(self, face, value):
        """A factory's falsy value is a value: it is called once."""
        calls = []

        def factory():
            calls.append(1)
            return value

        assert await face.get_or_set("a", factory) == value
        assert await face.get_or_set("a", factory) == value
        assert len(calls) == 1

    async def test_get_or_set__factory_error(self, face, redis_client):
        """A factory's error is the caller's, and nothing is stored."""

        def factory():
            raise LookupError("no such campaign")

        with pytest.raises(LookupError, match="no such campaign"):
            await face.get_or_set("a", factory)
        assert redis_client.dbsize() == 0

    async def test_get_or_set__somebody_else_was_faster(self, face):
        """Who finds the key filled meanwhile returns what is there."""

        def factory():
            face.cache.set("a", "theirs")
            return "ours"

        assert await face.get_or_set("a", factory) == "theirs"

    async def test_get_or_set__nothing_to_keep(self, face, redis_client):
        """With no time to live the value is made and returned all the same."""
        assert await face.get_or_set("a", lambda: 5, 0) == 5
        assert redis_client.dbsize() == 0

    async def test_get_or_set__version(self, face):
        """A version holds for reading and storing."""
        assert await face.get_or_set("a", 1, version=2) == 1
        assert await face.get("a") is None
        assert await face.get("a", version=2) == 1

    async def test_aget_or_set__coroutine_factory(self, make_cache):
        """The asyncio method awaits what its factory returns: a coroutine, or any awaitable."""
        cache = make_cache()

        async def factory():
            await asyncio.sleep(0)
            return "awaited"

        assert await cache.aget_or_set("a", factory) == "awaited"
        assert await cache.aget_or_set("b", lambda: asyncio.ensure_future(factory())) == "awaited"
        assert await cache.aget("a") == "awaited"

    async def test_aget_or_set__coroutine_factory_error(self, make_cache, redis_client):
        """An error in a coroutine is the caller's too."""

        async def factory():
            raise LookupError("no such campaign")

        with pytest.raises(LookupError):
            await make_cache().aget_or_set("a", factory)
        assert redis_client.dbsize() == 0

    def test_get_or_set__coroutine_factory(self, make_cache, redis_client):
        """The blocking method says what to call instead; nothing is stored, nothing left unawaited."""

        async def factory():
            raise AssertionError("never run")

        with pytest.raises(TypeError, match="a… method"):
            make_cache().get_or_set("a", factory)
        assert redis_client.dbsize() == 0

    async def test_get_or_set__nested(self, face):
        """A factory may use the cache itself."""
        made = await face.get_or_set("a", lambda: face.cache.get_or_set("b", lambda: 1) + 1)
        assert made == 2
        assert await face.get("b") == 1
