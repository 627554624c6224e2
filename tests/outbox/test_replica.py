from __future__ import annotations

import pytest
import redis

from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.outbox.dirty_scripts import TOMBSTONE_MS
from django_callcache.outbox.replica import Cursor, RemoteWrite, Replica
from tests.outbox.recording import KEY, KEYS, record

HOUR = 3_600_000
BLOB = b"theirs"


@pytest.fixture
def client(redis_client):
    return redis_client


@pytest.fixture
def dirty(client):
    return DirtyEntries(client, KEYS)


@pytest.fixture
def replica(client):
    return Replica(client, KEYS)


@pytest.fixture
def now_us(client):
    seconds, microseconds = client.time()
    return seconds * 10**6 + microseconds


def claim_one(dirty):
    (entry,) = dirty.claim(10, 1 << 20, 30).entries
    return entry


def apply(replica, **fields):
    """Apply one row; return what became of it."""
    defaults = {"redis_key": KEY, "version": 1, "remote_version": 7, "blob": BLOB}
    (applied,) = replica.apply([RemoteWrite(**(defaults | fields))])
    return applied


def pushed(client, dirty, remote_version=7, **options):
    """Write and acknowledge a key; return its entry."""
    record(client, options.pop("op", "set"), blob=options.pop("blob", b"ours"), **options)
    entry = claim_one(dirty)
    dirty.acknowledge([(entry, remote_version)])
    return entry


class TestApply:
    def test_unknown_key(self, client, dirty, replica, now_us):
        """A row is taken, with its expiry, and is not dirty."""
        client.set(KEYS.lease(KEY), "token")
        assert apply(replica, version=now_us, ttl_ms=HOUR).outcome == "taken"
        assert client.get(KEY) == BLOB
        assert 0 < client.pttl(KEY) <= HOUR
        assert dirty.depth() == 0
        side = client.hgetall(KEYS.side(KEY))
        assert (side[b"v"], side[b"rv"]) == (b"%d" % now_us, b"7")
        assert HOUR < client.pttl(KEYS.side(KEY)) <= 2 * HOUR
        assert client.get(KEYS.lease(KEY)) is None

    def test_without_expiry(self, client, replica):
        """A value that never expires does not expire here."""
        apply(replica)
        assert client.pttl(KEY) == client.pttl(KEYS.side(KEY)) == -1

    def test_own_echo(self, client, dirty, replica):
        """What this Redis pushed comes back and changes nothing."""
        entry = pushed(client, dirty)
        assert apply(replica, version=entry.version, blob=b"ours").outcome == "known"
        assert dirty.depth() == 0

    def test_older_than_known(self, client, dirty, replica, now_us):
        """A page that a sleeping pass applies late undoes nothing."""
        pushed(client, dirty, 9)
        assert apply(replica, version=now_us + 10**6, remote_version=8).outcome == "known"
        assert client.get(KEY) == b"ours"

    def test_later_row__of_an_earlier_write(self, client, dirty, replica):
        """A clean key follows the remote store also where the clock of its last writer is behind."""
        entry = pushed(client, dirty)
        assert apply(replica, version=entry.version - 10**6, remote_version=8).outcome == "taken"
        assert client.get(KEY) == BLOB

    def test_dirty(self, client, dirty, replica, now_us):
        """A dirty key is left alone, and its entry handed out for a decision."""
        record(client, "set", blob=b"ours")
        applied = apply(replica, version=now_us + 10**7)
        assert applied.outcome == "dirty"
        assert (applied.entry.blob, applied.entry.remote_version) == (b"ours", 0)
        assert client.get(KEY) == b"ours"

    def test_dirty__builds_on_it(self, client, dirty, replica):
        """A local write that builds on the row already is no conflict."""
        pushed(client, dirty)
        record(client, "set", blob=b"later")
        assert apply(replica).outcome == "known"

    def test_decided(self, client, dirty, replica, now_us):
        """An entry that was decided to lose is replaced and leaves the outbox."""
        record(client, "set", blob=b"ours")
        assert apply(replica, decided=claim_one(dirty).version).outcome == "taken"
        assert client.get(KEY) == BLOB
        assert (dirty.depth(), dirty.payload_bytes()) == (0, 0)

    def test_decided__written_meanwhile(self, client, dirty, replica):
        """A write after the decision stays."""
        record(client, "set", blob=b"ours")
        version = claim_one(dirty).version
        record(client, "set", blob=b"ours again")
        assert apply(replica, decided=version).outcome == "dirty"
        assert client.get(KEY) == b"ours again"

    def test_raises_the_mark(self, client, dirty, replica, now_us):
        """The next local write is later than any remote one seen."""
        apply(replica, version=now_us + 10**8)
        record(client, "set", blob=b"y")
        assert claim_one(dirty).version == now_us + 10**8 + 1

    def test_raises_the_mark__not_far(self, client, dirty, replica, now_us):
        """A version from the far future does not lift those to come beyond what stores accept."""
        apply(replica, version=2**53)
        record(client, "set", b"crm:1:other", blob=b"y")
        assert claim_one(dirty).version < now_us + 300_000_000

    def test_deleted(self, client, dirty, replica):
        """A deletion removes the value and leaves a tombstone for a week."""
        pushed(client, dirty)
        assert apply(replica, remote_version=8, blob=None, deleted=True).outcome == "taken"
        assert client.get(KEY) is None
        assert client.hget(KEYS.side(KEY), "d") == b"1"
        assert 0 < client.pttl(KEYS.side(KEY)) <= TOMBSTONE_MS

    @pytest.mark.parametrize("fields", [{"blob": None}, {"ttl_ms": 0}, {"ttl_ms": -5}])
    def test_nothing_to_store(self, client, dirty, replica, fields):
        """A value that has expired or cannot be read here removes the local copy, which is a miss."""
        pushed(client, dirty)
        assert apply(replica, remote_version=8, **fields).outcome == "taken"
        assert client.get(KEY) is None
        assert client.hget(KEYS.side(KEY), "d") is None
        assert 0 < client.pttl(KEYS.side(KEY)) <= TOMBSTONE_MS

    def test_entry_of_unknown_format(self, client, replica):
        """What another release recorded is never overwritten."""
        record(client, "set", blob=b"ours")
        client.hset(KEYS.outbox(KEY).payload, KEY, b"2|whatever|")
        assert apply(replica, version=2**53 - 1).outcome == "unknown"
        assert client.hget(KEYS.outbox(KEY).payload, KEY) == b"2|whatever|"

    def test_compare(self, client, dirty, replica):
        """Where everything is compared, an earlier row than the known one is a loss of the remote store."""
        pushed(client, dirty)
        assert apply(replica, trust="compare").outcome == "known"
        assert apply(replica, remote_version=6, trust="compare").outcome == "lost"
        assert client.get(KEY) == b"ours"
        assert apply(replica, remote_version=8, trust="compare").outcome == "taken"

    def test_anew(self, client, dirty, replica):
        """Where the remote store was made anew, its row is taken whatever is known here."""
        pushed(client, dirty)
        assert apply(replica, remote_version=1, trust="anew").outcome == "taken"
        assert client.get(KEY) == BLOB

    def test_parked(self, client, dirty, replica):
        """Until a person has decided, no row replaces the local side; then the one chosen does."""
        record(client, "set", px=HOUR, blob=b"ours")
        assert dirty.withdraw(claim_one(dirty), is_parked=True)
        assert apply(replica).outcome == "parked"
        assert client.get(KEY) == b"ours"
        assert apply(replica, trust="decided").outcome == "taken"
        assert apply(replica, remote_version=8).outcome == "taken"

    def test_many(self, client, replica):
        """Many rows take one round trip, and a server that forgot the script learns it again."""
        client.script_flush()
        writes = [
            RemoteWrite(redis_key=b"crm:1:%d" % number, version=1, remote_version=1, blob=b"x")
            for number in range(100)
        ]
        assert {applied.outcome for applied in replica.apply(writes)} == {"taken"}
        assert replica.known([write.redis_key for write in writes]) == [1] * 100
        assert replica.apply([]) == []

    def test_wrong_type(self, client, replica):
        """A fault of one row is an error, not a silence."""
        client.sadd(KEYS.side(KEY), "x")
        with pytest.raises(redis.ResponseError):
            apply(replica)


class TestWriteBack:
    def test_new_write(self, client, dirty, replica, now_us):
        """The result of a decision is a new write over the remote version, cached and dirty."""
        record(client, "set", blob=b"ours")
        decided = claim_one(dirty).version

        version = replica.write_back(
            KEY, "1:call:7", blob=b"both", ttl_ms=HOUR, remote_version=7, decided=decided
        )

        assert version > decided
        assert client.get(KEY) == b"both"
        entry = claim_one(dirty)
        assert (entry.version, entry.blob, entry.remote_version) == (version, b"both", 7)
        assert entry.expires_at_ms > now_us / 1000
        assert dirty.payload_bytes() == client.hstrlen(KEYS.outbox(KEY).payload, KEY)

    def test_deletion(self, client, dirty, replica):
        """A decision for no value deletes the key."""
        pushed(client, dirty)
        assert replica.write_back(KEY, "1:call:7", blob=None, remote_version=9)
        assert client.get(KEY) is None
        assert claim_one(dirty).deleted

    def test_written_meanwhile(self, client, dirty, replica):
        """A key written since the decision keeps that write."""
        record(client, "set", blob=b"ours")
        assert not replica.write_back(KEY, "1:call:7", blob=b"x")
        assert not replica.write_back(KEY, "1:call:7", blob=b"x", decided=1)
        entry = claim_one(dirty)
        dirty.acknowledge([(entry, 1)])
        assert not replica.write_back(KEY, "1:call:7", blob=b"x", version=5, last=5)
        assert client.get(KEY) == b"ours"
        assert dirty.depth() == 0

    def test_old_write(self, client, dirty, replica):
        """A write that is repeated keeps its order, and what is cached stays as it is."""
        entry = pushed(client, dirty)
        client.delete(KEY)
        again = replica.write_back(
            KEY, "1:call:7", blob=b"ours", version=entry.version, last=entry.version, remote_version=0
        )
        assert again == entry.version
        assert client.get(KEY) is None
        assert claim_one(dirty).blob == b"ours"


class TestUnseen:
    def test_pushed_before(self, client, dirty, replica):
        """Keys that were not seen since a moment are told with what is known of them."""
        entry = pushed(client, dirty, px=HOUR)
        (key,) = replica.unseen(replica.now() + 10**8)
        assert (key.redis_key, key.version, key.blob, key.deleted) == (KEY, entry.version, b"ours", False)
        assert 0 < key.ttl_ms <= HOUR
        assert list(replica.unseen(replica.now() - 10**8)) == []

    def test_others(self, client, dirty, replica):
        """Dirty keys, keys never synced, and those that wait for a person, are none of them."""
        record(client, "set", b"crm:1:dirty", blob=b"x")
        record(client, "set", blob=b"x")
        (entry,) = dirty.claim(10, 1 << 20, 30, only=[KEY]).entries
        dirty.withdraw(entry, is_parked=True)
        client.hset(KEYS.side(KEY), "rv", 1)
        assert list(replica.unseen(replica.now() + 10**8)) == []

    def test_forget(self, client, dirty, replica):
        """A key is dropped, unless it was written or seen since."""
        pushed(client, dirty)
        since = replica.now() + 10**8
        (key,) = replica.unseen(since)
        assert not replica.forget(key, 0)
        record(client, "set", blob=b"new")
        assert not replica.forget(key, since)
        dirty.acknowledge([(claim_one(dirty), 8)])
        assert not replica.forget(key, since)
        (key,) = replica.unseen(since)
        assert replica.forget(key, since)
        assert client.exists(KEY, KEYS.side(KEY)) == 0


class TestCursor:
    def test_saved(self, replica):
        """A cursor is kept by namespace."""
        assert replica.cursor("crm") is None
        cursor = Cursor(epoch="e", seq=7, reset_at=9, cause="late")
        replica.save("crm", cursor)
        assert replica.cursor("crm") == cursor
        assert replica.cursor("other") is None
