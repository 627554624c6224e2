from __future__ import annotations

import dataclasses
import time

import pytest
import redis

from django_callcache.outbox.dirty import DirtyEntries, DirtyEntry
from django_callcache.outbox.dirty_scripts import SIDE_GRACE_MS, TOMBSTONE_MS
from django_callcache.redis_keys import RedisKeys
from tests.cache.conftest import start_redis
from tests.cache.waiting import wait_until
from tests.outbox.recording import KEY, KEYS, record

__all__ = ["start_redis"]

BLOB = bytes(range(256)) + b"|1|2|" + b"\r\n\x00"
HOUR = 3_600_000


@pytest.fixture
def client(redis_client):
    return redis_client


@pytest.fixture
def dirty(client):
    return DirtyEntries(client, KEYS)


def server_us(client):
    seconds, microseconds = client.time()
    return seconds * 1_000_000 + microseconds


def claim_one(dirty, **options):
    (entry,) = dirty.claim(10, 1 << 20, 30, **options).entries
    return entry


class TestRecordWrite:
    def test_set__value_and_entry(self, client, dirty):
        """A set stores the value and, in the outbox, the same bytes with key, version and expiry."""
        before = server_us(client)

        assert record(client, "set", px=HOUR, blob=BLOB) == 1

        assert client.get(KEY) == BLOB
        assert 0 < client.pttl(KEY) <= HOUR
        entry = claim_one(dirty)
        assert entry.redis_key == KEY
        assert entry.remote_key == "1:call:7"
        assert entry.blob == BLOB
        assert not entry.deleted
        assert entry.remote_version == 0
        assert before <= entry.version <= server_us(client)
        assert before // 1000 <= entry.expires_at_ms - HOUR <= server_us(client) // 1000

    def test_set__side_record_outlives_value(self, client):
        """The side record has the version and lives for the value's TTL and a grace of at least an hour."""
        record(client, "set", px=1000, blob=b"x")
        assert client.hget(KEYS.side(KEY), "v") == client.get(KEYS.outbox(KEY).mark)
        assert SIDE_GRACE_MS < client.pttl(KEYS.side(KEY)) <= SIDE_GRACE_MS + 1000

        record(client, "set", px=10 * HOUR, blob=b"x")
        assert 19 * HOUR < client.pttl(KEYS.side(KEY)) <= 20 * HOUR

    def test_set__without_expiry(self, client, dirty):
        """A value that never expires has an entry and a side record that never do."""
        record(client, "set", px=1000, blob=b"x")
        record(client, "set", blob=b"y")

        assert client.pttl(KEY) == -1
        assert client.pttl(KEYS.side(KEY)) == -1
        assert claim_one(dirty).expires_at_ms is None

    def test_set__voids_the_lease(self, client):
        """A write ends a computation of the value that is under way."""
        client.set(KEYS.lease(KEY), "token")
        record(client, "set", blob=b"x")
        assert client.get(KEYS.lease(KEY)) is None

    def test_set__same_key_again(self, client, dirty):
        """A key written twice has one entry, the later, and the byte count is that entry's length."""
        record(client, "set", blob=b"x" * 100)
        first = claim_one(dirty)
        record(client, "set", blob=b"y" * 10)

        assert dirty.depth() == 1
        assert dirty.payload_bytes() == client.hstrlen(KEYS.outbox(KEY).payload, KEY)
        second = claim_one(dirty)
        assert second.blob == b"y" * 10
        assert second.version > first.version

    def test_set__clock_behind_mark(self, client, dirty):
        """Versions ascend by one where the server's clock is behind the highest version given."""
        mark = server_us(client) + 10**12
        client.set(KEYS.outbox(KEY).mark, mark)

        record(client, "set", blob=b"x")

        assert client.get(KEYS.outbox(KEY).mark) == str(mark + 1).encode()
        assert claim_one(dirty).version == mark + 1

    @pytest.mark.parametrize("px", ["0", "-5", "soon"])
    def test_set__nonsense_ttl(self, client, dirty, px):
        """A time to live below one millisecond is refused before anything is written."""
        with pytest.raises(redis.ResponseError, match="time to live"):
            record(client, "set", px=px, blob=b"x")
        assert not client.keys("*")

    def test_unknown_operation(self, client):
        """An operation the script does not know is refused before anything is written."""
        with pytest.raises(redis.ResponseError, match="unknown operation"):
            record(client, "append", blob=b"x")
        assert not client.keys("*")

    def test_add__only_where_missing(self, client, dirty):
        """Add stores and records a missing key, and leaves an existing one and the outbox alone."""
        assert record(client, "add", px=HOUR, blob=b"first") == 1
        version = claim_one(dirty).version

        assert record(client, "add", px=HOUR, blob=b"second") == 0

        assert client.get(KEY) == b"first"
        assert client.get(KEYS.outbox(KEY).mark) == str(version).encode()

    def test_delete__tombstone(self, client, dirty):
        """A deletion says whether there was a value, and is recorded in both cases."""
        assert record(client, "delete") == 0
        assert claim_one(dirty).deleted
        record(client, "set", px=1000, blob=b"x")

        assert record(client, "delete") == 1

        assert client.get(KEY) is None
        assert client.hget(KEYS.side(KEY), "d") == b"1"
        assert SIDE_GRACE_MS + 2000 < client.pttl(KEYS.side(KEY)) <= TOMBSTONE_MS
        entry = _only(client, dirty)
        assert entry.deleted
        assert entry.blob == b""
        assert entry.expires_at_ms is None

    def test_delete__then_set(self, client):
        """A value set again is no longer marked as deleted."""
        record(client, "delete")
        record(client, "set", px=1000, blob=b"x")
        assert client.hget(KEYS.side(KEY), "d") is None
        assert client.pttl(KEYS.side(KEY)) <= SIDE_GRACE_MS + 1000

    def test_touch(self, client, dirty):
        """Touch records the value there is with its new expiry; an empty one removes it."""
        assert record(client, "touch", px=1000) == 0
        assert dirty.depth() == 0
        record(client, "set", px=1000, blob=BLOB)

        assert record(client, "touch", px=HOUR) == 1
        assert client.pttl(KEY) > 1000
        assert record(client, "touch") == 1
        assert client.pttl(KEY) == -1
        assert client.pttl(KEYS.side(KEY)) == -1
        entry = claim_one(dirty)
        assert entry.blob == BLOB
        assert entry.expires_at_ms is None

    def test_incr(self, client, dirty):
        """Increment replies with the exact new value, keeps the expiry and records both."""
        assert record(client, "incr", blob="1") is None
        assert dirty.depth() == 0
        client.set(KEY, 2**63 - 10, px=HOUR)

        assert record(client, "incr", blob="3") == str(2**63 - 7).encode()

        assert client.get(KEY) == str(2**63 - 7).encode()
        assert 0 < client.pttl(KEY) <= HOUR
        entry = claim_one(dirty)
        assert entry.blob == str(2**63 - 7).encode()
        assert entry.expires_at_ms is not None

    @pytest.mark.parametrize("value", [b"sealed", str(2**63 - 1).encode()])
    def test_incr__not_possible(self, client, dirty, value):
        """A value that cannot be incremented is an error, and stays as it was."""
        client.set(KEY, value)
        with pytest.raises(redis.ResponseError, match=r"^(value is not an integer|increment)"):
            record(client, "incr", blob="1")
        assert client.get(KEY) == value
        assert dirty.depth() == 0

    def test_backlog_full__keys(self, client, dirty):
        """At the bound in keys a new key is refused whole, and known keys are taken."""
        record(client, "set", b"crm:1:{one}a", blob=b"x", max_keys=1)

        for op in ("set", "add", "delete"):
            with pytest.raises(redis.ResponseError, match="BACKLOGFULL"):
                record(client, op, b"crm:1:{one}b", blob=b"x", max_keys=1)

        assert client.get(b"crm:1:{one}b") is None
        assert not client.exists(KEYS.side(b"crm:1:{one}b"))
        assert record(client, "set", b"crm:1:{one}a", blob=b"y" * 5000, max_keys=1, max_bytes=100) == 1
        assert record(client, "delete", b"crm:1:{one}a", max_keys=1) == 1
        assert dirty.depth() == 1

    def test_backlog_full__bytes(self, client):
        """At the bound in bytes a new key is refused."""
        record(client, "set", b"crm:1:{one}a", blob=b"x" * 500, max_bytes=1000)
        with pytest.raises(redis.ResponseError, match="BACKLOGFULL"):
            record(client, "set", b"crm:1:{one}b", blob=b"x" * 500, max_bytes=1000)
        assert record(client, "set", b"crm:1:{one}c", blob=b"x" * 50, max_bytes=1000) == 1

    @pytest.mark.needs_server("sets what one server may hold")
    def test_full_server(self, client, dirty):
        """A server out of memory refuses a set without a trace, and records a deletion."""
        record(client, "set", blob=b"old")
        before = claim_one(dirty)
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                record(client, "set", blob=b"new")
            assert client.get(KEY) == b"old"
            assert client.get(KEYS.outbox(KEY).mark) == str(before.version).encode()
            assert record(client, "delete") == 1
        finally:
            client.config_set("maxmemory", 0)
        assert _only(client, dirty).deleted

    def test_full_disk(self, start_redis):
        """A server that cannot save refuses every write without a trace, and takes them when it can again."""
        server = start_redis(config={"save": "3600 1000000"})
        with redis.Redis.from_url(server.url) as client:
            dirty = DirtyEntries(client, KEYS)
            record(client, "set", px=HOUR, blob=b"old")
            before = claim_one(dirty)
            traces = everything_in(client)
            in_the_way = server.directory / "dump.rdb"
            in_the_way.mkdir()
            save(client, "err")
            try:
                for op, key in (("set", KEY), ("set", b"crm:1:new"), ("delete", KEY), ("touch", KEY)):
                    with pytest.raises(redis.ResponseError, match="MISCONF"):
                        record(client, op, key, px=2 * HOUR, blob=b"new")
                assert everything_in(client) == traces
                assert client.pttl(KEY) <= HOUR
            finally:
                in_the_way.rmdir()
            save(client, "ok")
            assert record(client, "set", blob=b"new") == 1
            assert _only(client, dirty).version > before.version


def save(client, outcome):
    """Let a server write its snapshot; wait until it says how that went."""
    client.bgsave()
    wait_until(lambda: not client.info("persistence")["rdb_bgsave_in_progress"])
    assert client.info("persistence")["rdb_last_bgsave_status"] == outcome


def everything_in(client):
    """What lies at every key."""
    return {key: client.dump(key) for key in client.scan_iter()}


def _only(client, dirty):
    """The one entry of the outbox, claimed or not."""
    client.zadd(KEYS.outbox(KEY).due, {KEY: 0}, xx=True)
    return claim_one(dirty)


class TestClaim:
    def test_nothing_due(self, client, dirty):
        """An empty outbox lends nothing and still tells the server's time."""
        claim = dirty.claim(10, 1000, 30)
        assert claim.entries == ()
        assert abs(claim.now_ms - server_us(client) // 1000) < 60_000

    def test_lends__once_until_the_lease_ends(self, client, dirty):
        """A claimed entry stays in the outbox and is lent to nobody else while the lease lasts."""
        record(client, "set", blob=b"x")
        claim = dirty.claim(10, 1000, 30)

        assert dirty.claim(10, 1000, 30).entries == ()

        assert dirty.depth() == 1
        assert client.zscore(KEYS.outbox(KEY).due, KEY) == claim.now_ms + 30_000

    def test_lends__again_after_the_lease(self, client, dirty):
        """An entry whose lease ran out is lent again."""
        record(client, "set", blob=b"x")
        assert dirty.claim(10, 1000, 0).entries == dirty.claim(10, 1000, 0).entries != ()

    def test_bounds(self, client, dirty):
        """A claim ends at its bound in entries or in bytes, but lends at least one."""
        for number in range(10):
            record(client, "set", b"crm:1:%d" % number, blob=b"x" * 1000)

        assert len(dirty.claim(3, 1 << 20, 30).entries) == 3
        assert len(dirty.claim(10, 2500, 30).entries) == 2
        assert len(dirty.claim(10, 10, 30).entries) == 1
        assert len(dirty.claim(10, 1 << 20, 30).entries) == 4

    def test_not_after(self, client, dirty):
        """Entries that fell due after a given time are left."""
        record(client, "set", blob=b"x")
        assert dirty.claim(10, 1000, 30, not_after_ms=server_us(client) // 1000 - 60_000).entries == ()
        assert len(dirty.claim(10, 1000, 30, not_after_ms=server_us(client) // 1000 + 60_000).entries) == 1

    def test_unknown_format(self, client, dirty):
        """An entry of another release is left as it is, counted, and does not come up again at once."""
        record(client, "set", b"crm:1:new", blob=b"x")
        client.hset(KEYS.outbox(KEY).payload, KEY, b"2|whatever|")
        client.zadd(KEYS.outbox(KEY).due, {KEY: 0})

        claim = dirty.claim(10, 1000, 30)

        assert [entry.redis_key for entry in claim.entries] == [b"crm:1:new"]
        assert claim.unknown == 1
        assert dirty.claim(10, 1000, 30).unknown == 0
        assert client.hget(KEYS.outbox(KEY).payload, KEY) == b"2|whatever|"

    def test_written_again__due_at_once(self, client, dirty):
        """A write of a key that was set aside for long makes it due."""
        record(client, "set", blob=b"bad")
        dirty.claim(10, 1000, 3600)
        record(client, "set", blob=b"good")
        assert claim_one(dirty).blob == b"good"

    def test_value_gone(self, client, dirty):
        """The payload is lent whatever became of the cached value."""
        record(client, "set", px=1, blob=BLOB)
        client.delete(KEY)
        assert claim_one(dirty).blob == BLOB

    def test_payload__parts(self, client, dirty):
        """A key with the separator in it, or with bytes beyond ASCII, comes back whole."""
        key = "crm:1:a|b|ñ☎".encode()
        record(client, "set", key, blob=b"|x|")
        entry = claim_one(dirty)
        assert entry.remote_key == "1:a|b|ñ☎"
        assert entry.blob == b"|x|"


class TestAcknowledge:
    def test_clears(self, client, dirty):
        """What was pushed leaves the outbox, and the side record has the remote version."""
        record(client, "set", px=HOUR, blob=b"x")
        entry = claim_one(dirty)

        assert dirty.acknowledge([(entry, 3)]) == 1

        assert dirty.depth() == 0
        assert dirty.payload_bytes() == 0
        assert not client.exists(*KEYS.outbox(KEY)[:2])
        assert client.hget(KEYS.side(KEY), "rv") == b"3"
        record(client, "set", blob=b"y")
        assert claim_one(dirty).remote_version == 3

    def test_written_again(self, client, dirty):
        """What was written after the claim stays, is due at once, and builds on the version just pushed."""
        record(client, "set", blob=b"x")
        entry = claim_one(dirty)
        record(client, "set", blob=b"y")

        assert dirty.acknowledge([(entry, 3)]) == 0

        later = claim_one(dirty)
        assert (later.blob, later.remote_version) == (b"y", 3)

    def test_twice(self, client, dirty):
        """Acknowledging again changes nothing."""
        record(client, "set", blob=b"x")
        entry = claim_one(dirty)
        assert dirty.acknowledge([(entry, 3)]) == 1
        assert dirty.acknowledge([(entry, 3)]) == 0
        assert dirty.payload_bytes() == 0

    def test_by_a_sleeper(self, client, dirty):
        """A worker that comes late with an older version does not take the newer one back."""
        record(client, "set", blob=b"x")
        entry = claim_one(dirty)
        dirty.acknowledge([(entry, 5)])
        dirty.acknowledge([(entry, 4)])
        assert client.hget(KEYS.side(KEY), "rv") == b"5"

    @pytest.mark.parametrize("op", ["set", "delete"])
    def test_side_record_gone(self, client, dirty, op):
        """A side record made anew lives as long as its value asks for, and a week where there is none."""
        record(client, op, px=HOUR if op == "set" else "", blob=b"x")
        client.delete(KEYS.side(KEY))

        dirty.acknowledge([(claim_one(dirty), 1)])

        longest = 2 * HOUR if op == "set" else TOMBSTONE_MS
        assert longest - 60_000 < client.pttl(KEYS.side(KEY)) <= longest

    def test_side_record__value_cleared(self, client, dirty):
        """The side record of a value that never expired and was then removed does not stay for ever."""
        record(client, "set", blob=b"x")
        client.delete(KEY)
        dirty.acknowledge([(claim_one(dirty), 1)])
        assert 0 < client.pttl(KEYS.side(KEY)) <= TOMBSTONE_MS

    def test_side_record__immortal_value(self, client, dirty):
        """The side record of a value that never expires stays."""
        record(client, "set", blob=b"x")
        dirty.acknowledge([(claim_one(dirty), 1)])
        assert client.pttl(KEYS.side(KEY)) == -1

    def test_nothing(self, dirty):
        """There may be nothing to acknowledge."""
        assert dirty.acknowledge([]) == 0

    @pytest.mark.needs_server("counts commands of one server")
    def test_one_call_a_batch(self, client, dirty):
        """A batch is one script call."""
        for number in range(50):
            record(client, "set", b"crm:1:%d" % number, blob=b"x")
        pushed = [(entry, 1) for entry in dirty.claim(50, 1 << 20, 30).entries]
        dirty.acknowledge(pushed[:1])
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        assert dirty.acknowledge(pushed[1:]) == 49
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1


class TestRelease:
    def test_due_at_once(self, client, dirty):
        """A released entry can be claimed again, and counts as old as its write."""
        record(client, "set", blob=b"x")
        entry = claim_one(dirty)
        dirty.release([entry])
        assert client.zscore(KEYS.outbox(KEY).due, KEY) == entry.version // 1000
        assert claim_one(dirty) == entry

    def test_delay(self, client, dirty):
        """An entry can be set aside; the outbox keeps it."""
        record(client, "set", blob=b"x")
        dirty.release([claim_one(dirty)], delay_seconds=600)
        assert dirty.claim(10, 1000, 30).entries == ()
        assert dirty.depth() == 1

    def test_delay__written_again(self, client, dirty):
        """A write that came after the claim is not set aside with it."""
        record(client, "set", blob=b"x")
        entry = claim_one(dirty)
        record(client, "set", blob=b"y")
        dirty.release([entry], delay_seconds=600)
        assert claim_one(dirty).blob == b"y"

    def test_cleared_meanwhile(self, client, dirty):
        """Releasing what another worker acknowledged brings nothing back."""
        record(client, "set", blob=b"x")
        entry = claim_one(dirty)
        dirty.acknowledge([(entry, 1)])
        dirty.release([entry])
        assert dirty.depth() == 0
        assert not client.exists(KEYS.outbox(KEY).due)


class TestRebase:
    def test_next_push_builds_on_it(self, client, dirty):
        """A claim after it has the remote version given, also a lower one."""
        record(client, "set", blob=b"x")
        entry = claim_one(dirty)
        dirty.rebase(entry, 9)
        dirty.rebase(entry, 0)
        dirty.release([entry])
        assert claim_one(dirty) == entry
        dirty.rebase(entry, 4)
        dirty.release([entry])
        assert claim_one(dirty) == dataclasses.replace(entry, remote_version=4)

    def test_written_meanwhile(self, client, dirty):
        """A later write of the key meets the remote row on its own account."""
        record(client, "set", blob=b"x")
        entry = claim_one(dirty)
        record(client, "set", blob=b"y")
        assert not dirty.rebase(entry, 4)
        assert claim_one(dirty).remote_version == 0


class TestWithdraw:
    def test_leaves(self, client, dirty):
        """An entry leaves the outbox, the cached value stays."""
        record(client, "set", blob=b"x")
        assert dirty.withdraw(claim_one(dirty))
        assert (dirty.depth(), dirty.payload_bytes()) == (0, 0)
        assert client.get(KEY) == b"x"

    def test_written_meanwhile(self, client, dirty):
        """One written again stays."""
        record(client, "set", blob=b"x")
        entry = claim_one(dirty)
        record(client, "set", blob=b"y")
        assert not dirty.withdraw(entry)
        assert dirty.depth() == 1


class TestChosenKeys:
    def test_claim__only_these(self, client, dirty):
        """Where only some keys are meant, the others stay due."""
        for name in (b"a", b"b", b"c"):
            record(client, "set", b"crm:1:" + name, blob=b"x")
        assert set(dirty.redis_keys()) == {b"crm:1:a", b"crm:1:b", b"crm:1:c"}
        claim = dirty.claim(10, 1000, 30, only=[b"crm:1:b", b"crm:1:unknown"])
        assert [entry.redis_key for entry in claim.entries] == [b"crm:1:b"]
        assert not dirty.claim(10, 1000, 30, only=[b"crm:1:b"]).entries
        assert len(dirty.claim(10, 1000, 30).entries) == 2


class TestFigures:
    def test_empty(self, dirty):
        """Nothing waits in an empty outbox."""
        assert (dirty.depth(), dirty.payload_bytes(), dirty.oldest_at()) == (0, 0, None)

    def test_oldest(self, client, dirty):
        """The age is that of the entry that waits longest, also while it is lent or after a failed pass."""
        record(client, "set", b"crm:1:{one}a", blob=b"x")
        record(client, "set", b"crm:1:{one}b", blob=b"x")
        first = dirty.claim(1, 1000, 30).entries[0]
        oldest = first.version / 1e6
        dirty.release([first])
        assert dirty.oldest_at() == pytest.approx(oldest, abs=0.001)
        dirty.claim(10, 1000, 30)
        assert dirty.oldest_at() == pytest.approx(oldest, abs=0.001)
        assert oldest <= time.time() + 60

    def test_origin(self, client, dirty):
        """One id per Redis, made once."""
        origin = dirty.origin()
        assert len(origin) == 32
        assert DirtyEntries(client, KEYS).origin() == origin
        assert DirtyEntries(client, RedisKeys("other")).origin() != origin


class TestClustered:
    def test_bucket_of_a_slot(self, client, monkeypatch):
        """Where the outbox has a bucket a slot, an entry goes through its own."""
        keys = RedisKeys("crm", clustered=True)
        monkeypatch.setattr(keys, "outboxes", lambda: (keys.outbox(KEY), keys.outbox(b"crm:1:other")))
        dirty = DirtyEntries(client, keys)
        record(client, "set", px=HOUR, blob=b"x", keys=keys)

        entry = claim_one(dirty)
        assert dirty.acknowledge([(entry, 2)]) == 1
        assert client.hget(keys.side(KEY), "rv") == b"2"
        assert dirty.depth() == 0


class TestDirtyEntry:
    def test_repr__no_value(self):
        """The cached value does not show where an entry is printed."""
        entry = DirtyEntry(
            redis_key=KEY, remote_key="1:call:7", version=1, deleted=False, expires_at_ms=None,
            blob=b"secret", remote_version=0,
        )  # fmt: skip
        assert "secret" not in repr(entry)
