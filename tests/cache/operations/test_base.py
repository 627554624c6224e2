"""What all operations share: recording for sync, faults and counts at the edge of a call."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_callcache.exceptions import BacklogFull
from django_callcache.outbox.dirty import DirtyEntries
from tests.cache.conftest import APP

SYNCED = {"s:": {"sync": "lww"}}


@pytest.fixture
def face(face_of, make_cache):
    """One face of a cache that has a synced prefix."""
    return face_of(make_cache(RULES=SYNCED))


def claimed(cache):
    """Take all entries out of the outbox, by remote key."""
    dirty = DirtyEntries(cache.redis_client(), cache.redis_keys)
    entries = dirty.claim(10_000, 1 << 30, 30).entries
    dirty.acknowledge([(entry, 1) for entry in entries])
    return {entry.remote_key: entry for entry in entries}


def value_of(cache, entry):
    """What an entry will make of the value when another Redis reads it."""
    return cache.codec_for("s:").decode(entry.blob, entry.redis_key)


def has_expiry(entry, seconds):
    """Tell whether an entry ends in about so many seconds by the clock of this machine, Redis's too."""
    if seconds is None:
        return entry.expires_at_ms is None
    left = entry.expires_at_ms / 1000 - time.time()
    return seconds - 30 < left <= seconds + 1


class TestRecording:
    async def test_set__entry(self, face):
        """A set leaves the value, its key with version, and its expiry, in the outbox."""
        assert await face.set("s:1", {"x": [1]}, 500) is True
        (entry,) = claimed(face.cache).values()
        assert (entry.remote_key, entry.redis_key, entry.deleted) == ("1:s:1", b"t:1:s:1", False)
        assert value_of(face.cache, entry) == {"x": [1]}
        assert has_expiry(entry, 500)
        assert await face.get("s:1") == {"x": [1]}

    @pytest.mark.parametrize("value", [None, 0, "", False, 2**70])
    async def test_set__any_value(self, face, value):
        """None, falsy values and large numbers are recorded as what they are."""
        await face.set("s:1", value, None)
        (entry,) = claimed(face.cache).values()
        assert value_of(face.cache, entry) == value
        assert has_expiry(entry, None)

    async def test_other_prefixes(self, face, redis_client):
        """Writes of other prefixes leave nothing."""
        await face.set("x:1", 1)
        await face.set_many({"s": 1, "sx:1": 2, "as:1": 3})
        await face.incr("x:1")
        await face.delete("x:1")
        assert redis_client.keys("callcache@*") == []

    @pytest.mark.parametrize("seconds", [0, -1])
    async def test_set__nothing_is_kept(self, face, seconds):
        """A set without time to live is a deletion, for the remote store too."""
        assert await face.set("s:1", 1, seconds) is True
        (entry,) = claimed(face.cache).values()
        assert entry.deleted

    async def test_add__entry(self, face):
        """An add is recorded where it stored something."""
        assert await face.add("s:1", 1, 500) is True
        assert value_of(face.cache, claimed(face.cache)["1:s:1"]) == 1
        assert await face.add("s:1", 2) is False
        assert await face.add("s:2", 2, 0) is True
        assert await face.set("s:1", 3, nx=True) is False
        assert claimed(face.cache) == {}

    async def test_set__xx(self, face):
        """A set of what is there is recorded where it was there."""
        assert await face.set("s:1", 1, xx=True) is False
        assert claimed(face.cache) == {}
        assert await face.has_key("s:1") is False
        await face.set("s:1", 1)
        assert await face.set("s:1", 2, 500, xx=True) is True
        (entry,) = claimed(face.cache).values()
        assert value_of(face.cache, entry) == await face.get("s:1") == 2
        assert has_expiry(entry, 500)

    async def test_delete__entry(self, face):
        """A delete is recorded, also of a key that is not here: the remote store may have it."""
        await face.set("s:1", 1)
        assert await face.delete("s:1") is True
        assert claimed(face.cache)["1:s:1"].deleted
        assert await face.delete("s:2") is False
        assert claimed(face.cache)["1:s:2"].deleted

    async def test_touch__entry(self, face):
        """A touch is recorded with the value and the new expiry."""
        await face.set("s:1", "x", 50)
        for call, seconds in (
            (face.touch("s:1", 500), 500),
            (face.touch("s:1", None), None),
            (face.expire("s:1", 300), 300),
            (face.persist("s:1"), None),
            (face.pexpire("s:1", 200_000), 200),
            (face.expire_at("s:1", time.time() + 600), 600),
            (face.touch_many(["s:1"], 700), 700),
        ):
            claimed(face.cache)
            assert await call
            (entry,) = claimed(face.cache).values()
            assert value_of(face.cache, entry) == "x"
            assert has_expiry(entry, seconds)
        assert await face.touch("s:1", 0) is True
        assert claimed(face.cache)["1:s:1"].deleted
        assert await face.touch("s:1", 10) is False
        assert await face.persist("s:1") is False
        assert claimed(face.cache) == {}

    @pytest.mark.parametrize(
        ("value", "delta"), [(1, 5), (1.5, 1), (1, 0.5), (2**70, 1), (2**63 - 1, 1), (1, 2**70)]
    )
    async def test_incr__entry(self, face, value, delta):
        """A sum is recorded in the same step, whatever kind of number it is, and keeps its expiry."""
        await face.set("s:1", value, 500)
        claimed(face.cache)
        assert await face.incr("s:1", delta) == value + delta
        (entry,) = claimed(face.cache).values()
        assert value_of(face.cache, entry) == await face.get("s:1") == value + delta
        assert has_expiry(entry, 500)
        assert 495 <= await face.ttl("s:1") <= 500
        await face.touch("s:1", None)
        claimed(face.cache)
        await face.decr("s:1", delta)
        (entry,) = claimed(face.cache).values()
        assert has_expiry(entry, None)

    async def test_incr__no_entry(self, face):
        """A sum that was not made is not recorded."""
        for delta in (1, 1.5, 2**70):
            with pytest.raises(ValueError, match="not found"):
                await face.incr("s:1", delta)
        assert claimed(face.cache) == {}
        await face.set("s:1", "text")
        claimed(face.cache)
        with pytest.raises(TypeError):
            await face.incr("s:1", 0.5)
        assert claimed(face.cache) == {}

    @pytest.mark.parametrize(("start", "delta"), [(0, 1), (0.0, 0.5)])
    def test_incr__eight_threads(self, make_cache, start, delta):
        """No addition is lost, and what is recorded last is the last sum."""
        cache = make_cache(RULES=SYNCED)
        cache.set("s:1", start)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: cache.incr("s:1", delta), range(100)))
        assert cache.get("s:1") == value_of(cache, claimed(cache)["1:s:1"]) == start + 100 * delta

    async def test_incr_version__entries(self, face):
        """A move is recorded as a write of the new version and a deletion of the old one."""
        await face.set("s:1", "x", 500)
        claimed(face.cache)
        assert await face.incr_version("s:1") == 2
        entries = claimed(face.cache)
        assert entries.keys() == {"1:s:1", "2:s:1"}
        assert entries["1:s:1"].deleted
        assert value_of(face.cache, entries["2:s:1"]) == "x"
        assert has_expiry(entries["2:s:1"], 500)
        assert entries["1:s:1"].version > entries["2:s:1"].version
        assert await face.get("s:1") is None
        assert await face.get("s:1", version=2) == "x"
        assert 495 <= await face.ttl("s:1", version=2) <= 500

    async def test_incr_version__no_entry(self, face):
        """A move of nothing, or to where it is, is not recorded."""
        with pytest.raises(ValueError, match="not found"):
            await face.incr_version("s:1")
        await face.set("s:1", "x")
        claimed(face.cache)
        assert await face.incr_version("s:1", 0) == 1
        assert claimed(face.cache) == {}
        assert await face.get("s:1") == "x"

    async def test_set_many__entries(self, face):
        """Synced keys of a batch are recorded, the others are not."""
        data = {"s:1": 1, "x:1": 2, "s:2": None, 5: 3}
        assert await face.set_many(data, 500) == []
        entries = claimed(face.cache)
        assert {key: value_of(face.cache, entry) for key, entry in entries.items()} == {
            "1:s:1": 1,
            "1:s:2": None,
        }
        assert await face.get_many(data) == data
        assert await face.set_many({"s:1": 1}, 0) == []
        assert claimed(face.cache)["1:s:1"].deleted

    async def test_set_many__unencodable(self, face, redis_client):
        """A value that cannot be encoded raises before anything is recorded."""
        with pytest.raises((TypeError, AttributeError)):
            await face.set_many({"s:1": 1, "s:2": lambda: None})
        assert redis_client.dbsize() == 0

    async def test_delete_many__entries(self, face):
        """Deletions of a batch are recorded, and counted as existing where they were."""
        await face.set_many({"s:1": 1, "x:1": 2})
        claimed(face.cache)
        assert await face.delete_many(["s:1", "s:2", "x:1", "x:2"]) == 2
        entries = claimed(face.cache)
        assert entries.keys() == {"1:s:1", "1:s:2"}
        assert all(entry.deleted for entry in entries.values())

    async def test_get_or_set__entry(self, face):
        """What a factory made is recorded."""
        await face.get_or_set("s:1", lambda: "made", 500)
        assert value_of(face.cache, claimed(face.cache)["1:s:1"]) == "made"

    async def test_version__in_remote_key(self, face):
        """Versions are different entries."""
        await face.set("s:1", "zero", version=0)
        await face.set("s:1", "one")
        entries = claimed(face.cache)
        assert value_of(face.cache, entries["0:s:1"]) == "zero"
        assert value_of(face.cache, entries["1:s:1"]) == "one"

    async def test_script__unknown_to_the_server(self, face, redis_client):
        """A server that has lost its scripts is told again, by single writes and in batches."""
        for _ in range(2):
            redis_client.script_flush()
            await face.set("s:1", 1)
            redis_client.script_flush()
            assert await face.set_many({f"s:{number}": number for number in range(5)}) == []
            redis_client.script_flush()
            assert await face.delete_many(["s:1"]) == 1
            redis_client.script_flush()
            assert await face.incr("s:2") == 3
        assert len(claimed(face.cache)) == 5

    async def test_versions_ascend(self, face):
        """Every write has a later version than those before it, from whatever method it came."""
        versions = []
        for write in (
            face.set("s:1", 1.5),
            face.incr("s:1"),
            face.touch("s:1", 50),
            face.set("s:1", 1, xx=True),
            face.set_many({"s:1": 2}),
            face.delete("s:1"),
            face.add("s:1", 1),
        ):
            await write
            versions.append(claimed(face.cache)["1:s:1"].version)
        assert versions == sorted(set(versions))


class TestBacklog:
    """In a cluster the bound is one of each slot."""

    @pytest.fixture
    def face(self, face_of, make_cache):
        """One face of a cache whose outbox takes three keys."""
        app = {**APP, "SYNC": {"NAMESPACE": "tests", "MAX_KEYS": 3}}
        return face_of(make_cache(app=app, RULES=SYNCED))

    async def test_backlog_full(self, face):
        """A key that the outbox does not know is refused when it is full, with nothing stored; known ones
        are taken."""
        await face.set_many({"s:{one}1": 1, "s:{one}2": 2, "s:{one}3": 3})
        for refused in (
            lambda: face.set("s:{one}4", 4),
            lambda: face.add("s:{one}4", 4),
            lambda: face.set_many({"x:1": 1, "s:{one}4": 4}),
            lambda: face.delete("s:{one}4"),
            lambda: face.delete_many(["s:{one}4"]),
            lambda: face.get_or_set("s:{one}4", lambda: 4),
        ):
            with pytest.raises(BacklogFull, match="runcachesync"):
                await refused()
            assert await face.get("s:{one}4") is None
        assert await face.set("s:{one}1", 10) is True
        assert await face.incr("s:{one}2") == 3
        assert await face.delete("s:{one}3") is True
        assert await face.set("x:2", 1) is True
        assert len(claimed(face.cache)) == 3
        assert await face.set("s:{one}4", 4) is True

    async def test_backlog_full__counted(self, face):
        """A refusal is counted as an error, not as a set."""
        await face.set_many({"s:{one}1": 1, "s:{one}2": 2, "s:{one}3": 3})
        before = dict(face.cache.counted()["s:"])
        with pytest.raises(BacklogFull):
            await face.set("s:{one}4", 4)
        after = face.cache.counted()["s:"]
        assert after["errors"] == before["errors"] + 1
        assert after["sets"] == before["sets"] == 3

    async def test_backlog_full__by_tasks(self, face):
        """However many write at once, the bound holds exactly."""

        async def write(number):
            try:
                return await face.set(f"s:{{one}}{number}", number)
            except BacklogFull:
                return False

        stored = await asyncio.gather(*(write(number) for number in range(20)))
        assert sum(stored) == len(claimed(face.cache)) == 3


class TestCounting:
    @pytest.fixture
    def face(self, face_of, make_cache):
        """One face of a cache with a plain and a synced prefix that both have a rule."""
        return face_of(make_cache(RULES={**SYNCED, "p:": {"ttl": 60}}))

    @pytest.mark.parametrize("prefix", ["p:", "s:"])
    @pytest.mark.parametrize(
        ("calls", "expected"),
        [
            ([("get", "1")], {"misses": 1, "reads": 1}),
            ([("set", "1", 1)], {"sets": 1, "writes": 1}),
            ([("set", "1", 1), ("get", "1")], {"sets": 1, "hits": 1, "reads": 1, "writes": 1}),
            ([("set", "1", None), ("get", "1")], {"sets": 1, "hits": 1, "reads": 1, "writes": 1}),
            ([("set", "1", 1, 0)], {"deletes": 1, "writes": 1}),
            ([("add", "1", 1)], {"sets": 1, "writes": 1}),
            ([("get_or_set", "1", 1)], {"misses": 1, "sets": 1, "reads": 1, "writes": 1}),
            (
                [("get_or_set", "1", lambda: 1)] * 2,
                {"misses": 1, "hits": 1, "sets": 1, "reads": 2, "writes": 1},
            ),
            ([("delete", "1")], {"deletes": 1, "writes": 1}),
            ([("set", "1", 1), ("incr", "1")], {"sets": 2, "writes": 2}),
            ([("set", "1", 1.5), ("incr", "1")], {"sets": 2, "writes": 2}),
            ([("set", "1", 1), ("touch", "1", 5)], {"sets": 1, "writes": 1}),
            ([("touch", "1", 5), ("ttl", "1"), ("has_key", "1"), ("persist", "1")], {}),
            ([("set", "1", 1), ("set", "1", 1, 50, None)], {"sets": 2, "writes": 2}),
        ],
    )
    async def test_counts__once_a_call(self, face, prefix, calls, expected):
        """A call is counted once, at its outer edge, synced or not, with its time."""
        for method, key, *arguments in calls:
            await getattr(face, method)(prefix + key, *arguments)
        counts = face.cache.counted()[prefix]
        latencies = {
            "reads": sum(counts[f"r{slot}"] for slot in range(24)),
            "writes": sum(counts[f"w{slot}"] for slot in range(24)),
        }
        names = ("hits", "misses", "sets", "deletes", "errors", "undecodable")
        seen = {name: counts[name] for name in names} | latencies
        assert {name: count for name, count in seen.items() if count} == expected

    async def test_counts__many(self, face):
        """Batches are counted by key, each under its own prefix."""
        await face.set_many({"p:1": 1, "p:2": 2, "s:1": 3, "x:1": 4})
        await face.get_many(["p:1", "p:9", "s:1", "s:9", "x:1", "bare"])
        await face.delete_many(["p:1", "s:1", "s:2"])
        seen = {
            prefix: tuple(counts[name] for name in ("hits", "misses", "sets", "deletes", "errors"))
            for prefix, counts in face.cache.counted().items()
        }
        assert seen == {
            "p:": (1, 1, 2, 1, 0),
            "s:": (1, 1, 1, 2, 0),
            "x:": (1, 0, 1, 0, 0),
            "other": (0, 1, 0, 0, 0),
        }

    async def test_counts__latency_slots(self, face):
        """Every get has a slot for its time, none of them beyond a second here."""
        for _ in range(50):
            await face.get("p:1", version=1)  # not from the near cache, whose hits take no time
        counts = face.cache.counted()["p:"]
        assert sum(counts[f"r{slot}"] for slot in range(24)) == 50
        assert sum(counts[f"r{slot}"] for slot in range(5)) == 0
        assert sum(counts[f"w{slot}"] for slot in range(24)) == 0
