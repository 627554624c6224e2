from __future__ import annotations

import datetime
import logging
import time

import pytest
import redis

from django_callcache.exceptions import RemoteRefused, RemoteRejected, RemoteUnavailable
from django_callcache.sync import push as pushing
from django_callcache.sync.memory import MemoryStore
from django_callcache.sync.remote import PushReply
from django_callcache.sync.rows import SEALED
from testproject.parts.redis_server import RedisServer
from tests.outbox.recording import record
from tests.sync.conftest import Site
from tests.sync.test_remote import NAMESPACE, refetch

HOUR = 3_600_000


def push(site, remote, **options):
    """Run one pass."""
    return site.sync(remote, **options)


class Spy:
    """A remote store that tells what passes through it."""

    def __init__(self, remote):
        self.remote = remote
        self.batches = []
        self.before = lambda rows: None
        self.after = lambda reply: reply

    def push(self, namespace, origin, rows):
        self.batches.append([row.key for row in rows])
        self.before(rows)
        return self.after(self.remote.push(namespace, origin, rows))

    def pull(self, namespace, after, limit, epoch):
        return self.remote.pull(namespace, after, limit, epoch)

    def check_schema(self):
        self.remote.check_schema()

    def close(self):
        self.remote.close()


@pytest.fixture
def spy():
    return Spy(MemoryStore())


class TestEveryStore:
    def test_writes_arrive(self, site, remote):
        """Values of every kind and deletions arrive, and the outbox is empty."""
        values = {
            "json": {"name": "Ana", "calls": [1, 2.5, None, True]},
            "pickle": datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
            "large": "x" * 100_000,
            "number": 7,
            "beyond": 2**60,
            "nul": "a\0b",
        }
        for key, value in values.items():
            site.set(key, value, px=HOUR)
        site.delete("gone")

        report = push(site, remote)

        assert (report.outcome, report.pushed, report.deleted, report.backlog) == ("ok", 7, 1, 0)
        for key in ("json", "large", "number"):
            found = refetch(remote, f"1:{key}")
            assert (found.codec, found.value) == ("json", values[key])
            assert 0 < found.ttl_ms <= HOUR
        for key in ("pickle", "beyond", "nul"):
            assert refetch(remote, f"1:{key}").codec == SEALED
        assert refetch(remote, "1:gone").deleted

    def test_changes_arrive(self, site, remote):
        """Later writes of the same keys go over the versions pushed before, without a conflict."""
        for number in range(3):
            site.set("call:7", {"number": number})
            report = push(site, remote)
            assert (report.pushed, report.conflicts) == (1, 0)
        site.delete("call:7")
        push(site, remote)
        assert refetch(remote, "1:call:7").deleted
        assert refetch(remote, "1:call:7").remote_version == 4

    def test_nothing_to_do(self, site, remote):
        """A pass over an empty outbox is a good one."""
        report = push(site, remote)
        assert (report.outcome, report.pushed, report.backlog) == ("ok", 0, 0)

    def test_value_gone(self, site, redis_client, remote):
        """What was written is pushed though the cached value expired, was evicted or cleared."""
        for number in range(500):
            site.set(f"call:{number}", number, px=1 if number % 2 else HOUR)
        for number in range(500):
            redis_client.delete(site.redis_key(f"call:{number}"))

        report = push(site, remote)

        assert (report.pushed, report.backlog) == (500, 0)
        assert refetch(remote, "1:call:499").value == 499
        assert refetch(remote, "1:call:499").ttl_ms <= 1

    def test_conflict__later_local_write(self, site, other_site, remote):
        """Of two writers' values the later stays: here the local one, pushed again over the other's."""
        other_site.set("call:7", "theirs")
        push(other_site, remote)
        site.set("call:7", "ours")

        report = push(site, remote)

        assert (report.pushed, report.conflicts, report.backlog) == (1, 1, 0)
        assert refetch(remote, "1:call:7").value == "ours"
        assert refetch(remote, "1:call:7").remote_version == 2

    def test_conflict__later_remote_write(self, site, other_site, remote):
        """Of two writers' values the later stays: here the remote one, which replaces the local."""
        site.set("call:7", "ours")
        other_site.set("call:7", {"theirs": 1}, px=HOUR)
        push(other_site, remote)

        report = push(site, remote)

        assert (report.outcome, report.pushed, report.conflicts, report.backlog) == ("ok", 0, 1, 0)
        assert refetch(remote, "1:call:7").value == {"theirs": 1}
        assert site.get("call:7") == {"theirs": 1}
        assert 0 < site.client.pttl(site.redis_key("call:7")) <= HOUR
        site.set("call:7", "ours again")
        assert push(site, remote).conflicts == 0

    def test_conflict__later_remote_deletion(self, site, other_site, remote):
        """A later deletion elsewhere removes the local value."""
        site.set("call:7", "ours")
        other_site.delete("call:7")
        push(other_site, remote)
        assert push(site, remote).backlog == 0
        assert site.get("call:7") is None

    def test_conflict__sealed_elsewhere(self, site, other_site, remote):
        """A later value that this cache cannot open becomes a miss here, and stays there."""
        site.set("call:7", "ours")
        other_site.set("call:7", b"theirs")
        push(other_site, remote)
        push(site, remote)
        assert site.get("call:7") is None
        assert refetch(remote, "1:call:7").codec == SEALED

    def test_side_record_lost(self, site, redis_client, remote):
        """Who forgot which version a write builds on learns it from the conflict; it counts as none."""
        site.set("call:7", 1)
        push(site, remote)
        redis_client.delete(site.keys.side(site.redis_key("call:7")))
        site.set("call:7", 2)

        report = push(site, remote)

        assert (report.pushed, report.conflicts) == (1, 0)
        assert refetch(remote, "1:call:7").value == 2

    def test_keys_no_store_can_hold(self, site, redis_client, remote, caplog):
        """Keys with a NUL or beyond 512 bytes are kept with a reason; the others arrive."""
        long = "x" * 600
        for key in ("a\0b", long, "good"):
            site.set(key, 1)
        with caplog.at_level(logging.ERROR):
            report = push(site, remote)
        assert (report.outcome, report.pushed, report.rejected, report.backlog) == ("partial", 1, 2, 0)
        assert caplog.text.count("reason=the key") == 2
        assert site.rejections.keys() == {"1:a\0b", f"1:{long}"}


class TestRejections:
    """Rows that the database refuses, by a constraint that somebody put on the table."""

    @pytest.fixture
    def picky_sql(self, remote_sql):
        """A remote table that takes no value "poison"."""
        constraint = "constraint picky check (value is distinct from '\"poison\"')"
        remote_sql.execute(f"alter table public.callcache_entries add {constraint}")
        yield remote_sql
        remote_sql.execute("alter table public.callcache_entries drop constraint picky")

    @pytest.mark.parametrize("name", ["postgres_store", "supabase_store"])
    def test_poison(self, site, picky_sql, request, name):
        """A refused row leaves the outbox and is kept with its reason, and all others arrive."""
        remote = request.getfixturevalue(name)
        for number in range(100):
            site.set(f"call:{number}", "poison" if number in (0, 41, 99) else number)

        report = push(site, remote)

        assert (report.outcome, report.pushed, report.rejected, report.backlog) == ("partial", 97, 3, 0)
        assert site.rejections.keys() == {"1:call:0", "1:call:41", "1:call:99"}
        assert push(site, remote).rejected == 0
        site.set("call:41", "cured")
        assert push(site, remote).pushed == 1

    def test_all_refused(self, site, spy):
        """A store that refuses row after row ends the pass: rows are not what is wrong."""
        spy.before = reject
        for number in range(1000):
            site.set(f"call:{number}", number)
        report = push(site, spy)
        assert report.outcome == "failed"
        assert report.rejected == pushing.MAX_REFUSED
        assert report.backlog == 1000
        assert len(spy.batches) < 2000

    def test_named_in_the_reply(self, site, spy):
        """A row that the reply names as rejected is set aside like one that fails alone."""
        site.client.set(site.keys.outbox(b"").mark, 2**52)
        site.set("call:7", 1)
        report = push(site, spy)
        assert (report.rejected, report.backlog) == (1, 0)
        assert "clock" in site.rejections["1:call:7"][1]
        assert len(spy.batches) == 1


class TestEviction:
    @pytest.mark.parametrize(
        ("megabytes", "others"), [(8, 20_000), pytest.param(20, 60_000, marks=pytest.mark.long)]
    )
    @pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl"])
    def test_under_pressure(self, spy, policy, megabytes, others):
        """Synced writes arrive though Redis evicted every one of their values to make room for others."""
        config = {"maxmemory": f"{megabytes}mb", "maxmemory-policy": policy}
        with RedisServer(config=config) as server, redis.Redis.from_url(server.url) as client:
            site = Site(client)
            for number in range(500):
                site.set(f"call:{number}", {"number": number}, px=HOUR)
            with client.pipeline(transaction=False) as pipeline:
                for number in range(others):
                    pipeline.set(f"cached:{number}", "x" * 1000, px=2 * HOUR)
                pipeline.execute()
            evicted = sum(site.get(f"call:{number}") is None for number in range(500))

            report = push(site, spy)

        assert evicted > 0
        assert (report.pushed, report.backlog) == (500, 0)


def reject(rows):
    raise RemoteRejected("no")


def fail(rows):
    raise RemoteUnavailable("down", retry_after=2)


class TestPass:
    def test_batches(self, site, spy):
        """A backlog goes in batches of at most the size given, oldest first."""
        for number in range(25):
            site.set(f"call:{number}", number)
        report = push(site, spy, batch=10)
        assert [len(batch) for batch in spy.batches] == [10, 10, 5]
        assert report.pushed == 25

    def test_batches__bytes(self, site, spy):
        """A batch ends at its bound in bytes; a larger entry travels alone."""
        for number in range(4):
            site.set(f"call:{number}", bytes(range(256)) * 8)
        push(site, spy, batch_bytes=100)
        assert [len(batch) for batch in spy.batches] == [1, 1, 1, 1]

    def test_batches__json_larger_than_sealed(self, site, spy):
        """Values that compress well are not put into one huge request."""
        for number in range(10):
            site.set(f"call:{number}", "x" * 100_000)
        push(site, spy, batch_bytes=100_000)
        assert max(len(batch) for batch in spy.batches) <= 2
        assert sum(len(batch) for batch in spy.batches) == 10

    def test_remote_down(self, site, spy):
        """An error is reported, everything stays, due at once, as old as it is."""
        site.set("call:7", 1)
        oldest = site.outbox.oldest_at()
        spy.before = fail

        report = push(site, spy)

        assert (report.outcome, report.pushed, report.backlog) == ("failed", 0, 1)
        assert report.error.retry_after == 2
        assert site.outbox.oldest_at() == pytest.approx(oldest, abs=0.01)
        spy.before = lambda rows: None
        assert push(site, spy).pushed == 1

    def test_remote_down__in_the_middle(self, site, spy):
        """What was pushed before an error stays pushed, and the report says so."""
        for number in range(20):
            site.set(f"call:{number}", number)
        spy.before = lambda rows: fail(rows) if len(spy.batches) > 1 else None
        report = push(site, spy, batch=10)
        assert (report.outcome, report.pushed, report.backlog) == ("partial", 10, 10)

    def test_remote_refuses(self, site, spy):
        """Wrong credentials set no row aside."""

        def refuse(rows):
            raise RemoteRefused("401")

        spy.before = refuse
        site.set("call:7", 1)
        report = push(site, spy)
        assert (report.rejected, report.backlog) == (0, 1)
        assert isinstance(report.error, RemoteRefused)

    def test_stopped(self, site, spy):
        """Told to stop, a pass finishes its batch, gives the rest back and reports."""
        for number in range(30):
            site.set(f"call:{number}", number)
        report = push(site, spy, batch=10, may_go_on=lambda: not spy.batches)
        assert (report.pushed, report.backlog) == (10, 20)
        assert len(site.outbox.claim(100, 1 << 20, 30).entries) == 20

    def test_interrupted(self, site, spy):
        """An interruption in the middle gives the claim back."""

        def interrupt(rows):
            raise KeyboardInterrupt

        spy.before = interrupt
        site.set("call:7", 1)
        with pytest.raises(KeyboardInterrupt):
            push(site, spy)
        assert len(site.outbox.claim(100, 1 << 20, 30).entries) == 1

    def test_written_during_the_push(self, site, spy):
        """A write between push and acknowledgement stays dirty, and waits for the next pass."""
        site.set("call:7", "first")

        def write(rows):
            time.sleep(0.005)
            site.set("call:7", "second")

        spy.before = write
        report = push(site, spy)
        assert (report.pushed, report.backlog) == (1, 1)
        assert len(spy.batches) == 1
        spy.before = lambda rows: None
        assert push(site, spy).backlog == 0
        assert refetch(spy.remote, "1:call:7").value == "second"

    def test_reply_lost(self, site, spy):
        """A push whose reply was lost is pushed again; nothing changes, and it is no conflict."""
        site.set("call:7", 1)

        def lose(reply):
            raise RemoteUnavailable("reply lost")

        spy.after = lose
        push(site, spy)
        spy.after = lambda reply: reply
        report = push(site, spy)
        assert (report.pushed, report.conflicts) == (1, 0)
        assert refetch(spy.remote, "1:call:7").remote_version == 1

    def test_reply_lost__then_written(self, site, spy):
        """After a lost reply a newer local write goes over our own row, silently."""
        site.set("call:7", 1)

        def lose(reply):
            raise RemoteUnavailable("reply lost")

        spy.after = lose
        push(site, spy)
        spy.after = lambda reply: reply
        site.set("call:7", 2)
        report = push(site, spy)
        assert (report.pushed, report.conflicts) == (1, 0)
        assert refetch(spy.remote, "1:call:7").value == 2

    def test_row_gone(self, site, spy):
        """Where the remote row was removed meanwhile, the write makes it anew."""
        site.set("call:7", 1)
        push(site, spy)
        spy.remote.remove(NAMESPACE, "1:call:7")
        site.set("call:7", 2)
        report = push(site, spy)
        assert (report.pushed, report.conflicts) == (1, 0)
        assert refetch(spy.remote, "1:call:7").value == 2

    def test_sleeper(self, site, spy):
        """A worker that slept beyond its lease with an older write does not undo the newer one."""
        site.set("call:7", "old")

        def overtake(rows):
            spy.before = lambda rows: None
            site.set("call:7", "new")
            assert push(site, Spy(spy.remote)).pushed == 1

        spy.before = overtake
        report = push(site, spy)

        assert report.backlog == 0
        assert refetch(spy.remote, "1:call:7").value == "new"
        assert site.get("call:7") == "new"

    def test_endless_conflict(self, site, other_site, spy):
        """Who loses against another writer again and again leaves the entry to the next pass."""
        site.set("call:7", "ours")

        def overwrite(rows):
            spy.remote.push(NAMESPACE, "b", [])
            stored = spy.remote.stored(NAMESPACE, "1:call:7")
            theirs = type(rows[0])(key="1:call:7", version=1 + len(spy.batches), value="theirs",
                                   base=stored.remote_version if stored else 0)  # fmt: skip
            assert spy.remote.push(NAMESPACE, "b", [theirs]).applied

        spy.before = overwrite
        report = push(site, spy)
        assert (report.pushed, report.backlog) == (0, 1)
        assert len(spy.batches) == pushing.MAX_ROUNDS
        spy.before = lambda rows: None
        assert push(site, spy).pushed == 1

    def test_reply_says_nothing(self, site, spy):
        """A reply that passes a row over acknowledges it not, and ends the pass."""
        site.set("call:7", 1)
        site.set("call:8", 1)

        def forget_one(reply):
            return PushReply({"1:call:7": reply.applied["1:call:7"]}, (), {}, reply.now_ms)

        spy.after = forget_one
        report = push(site, spy)
        assert (report.outcome, report.pushed, report.backlog) == ("partial", 1, 1)

    def test_unknown_format(self, site, spy):
        """An entry of another release is left alone and counted."""
        site.set("call:7", 1)
        names = site.keys.outbox(b"")
        site.client.hset(names.payload, site.redis_key("call:7"), b"2|new|")
        report = push(site, spy)
        assert (report.unknown, report.pushed, report.backlog) == (1, 0, 1)

    def test_undecodable(self, site, spy):
        """Bytes that this process cannot open are pushed as they are."""
        record(site.client, "set", site.redis_key("call:7"), blob=b"\x01broken")
        assert push(site, spy).pushed == 1
        assert refetch(spy.remote, "1:call:7").codec == SEALED

    def test_two_at_once(self, site, spy):
        """Two passes at once on one outbox do not push the same entry."""
        site.set("call:7", 1)
        reports = []
        spy.before = lambda rows: reports.append(push(site, spy.remote))
        assert push(site, spy).pushed == 1
        assert [report.pushed for report in reports] == [0]
