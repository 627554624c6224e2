from __future__ import annotations

import time

import pytest

from django_callcache.exceptions import RemoteUnavailable
from django_callcache.sync.conflicts import DELETED
from django_callcache.sync.memory import MemoryStore
from django_callcache.sync.remote import RemoteRow
from tests.sync import merging
from tests.sync.conftest import NAMESPACE
from tests.sync.test_remote import refetch

HOUR = 3_600_000
KEY = "call:7"


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture(params=["push", "pull"])
def meet(request, site, other_site, store):
    """Lets the first site meet the other's row, in the way up or down; returns its report."""

    def meet(rule, *, theirs_later):
        site.rule = rule
        other_site.rule = "force"
        ours, theirs = (
            (lambda: site.set(KEY, {"ours": 1}, px=HOUR)),
            (lambda: other_site.set(KEY, {"theirs": 2}, px=2 * HOUR)),
        )
        for write in (ours, theirs) if theirs_later else (theirs, ours):
            write()
            time.sleep(0.002)
        other_site.sync(store)
        if request.param == "push":
            return site.sync(store)
        # Another way to the same place: the row comes down while the entry is set aside.
        (entry,) = site.outbox.claim(10, 1 << 20, 30).entries
        site.outbox.release([entry], delay_seconds=60)
        report = site.sync(store)
        site.outbox.release([entry])
        site.sync(store)
        return report

    return meet


def both(site, other_site, store):
    """Sync until all has travelled; return what each site has."""
    for each in (site, other_site, site):
        each.sync(store)
    return site.get(KEY), other_site.get(KEY)


OURS, THEIRS = {"ours": 1}, {"theirs": 2}


class TestStrategies:
    @pytest.mark.parametrize(
        ("rule", "theirs_later", "stays"),
        [
            ("lww", True, THEIRS), ("lww", False, OURS),
            ("local", True, OURS), ("local", False, OURS),
            ("remote", True, THEIRS), ("remote", False, THEIRS),
            ("newest-version", True, THEIRS), ("newest-version", False, OURS),
        ],
    )  # fmt: skip
    def test_one_side_stays(self, meet, site, other_site, store, rule, theirs_later, stays):
        """The strategy's side stays, in the way up as in the way down, and both sites have it."""
        report = meet(rule, theirs_later=theirs_later)
        wins = (report.kept_local, report.took_remote)
        assert (report.conflicts, wins) == (1, (1, 0) if stays == OURS else (0, 1))
        assert both(site, other_site, store) == (stays, stays)
        assert refetch(store, f"1:{KEY}").value == stays
        assert site.outbox.depth() == 0

    def test_newest_version__more_writes(self, site, other_site, store):
        """The side with more accepted writes stays, however late the other one's last write is."""
        site.set(KEY, "first")
        site.sync(store)
        other_site.sync(store)
        for number in range(3):
            other_site.set(KEY, f"edit {number}")
            other_site.sync(store)
        site.rule = "newest-version"
        site.set(KEY, "one late edit")
        assert site.sync(store).took_remote == 1
        assert site.get(KEY) == "edit 2"

    def test_merge(self, meet, site, other_site, store):
        """What the function returns is cached and pushed, and lives as long as the side that lives longer."""
        report = meet(merging.union, theirs_later=True)
        assert (report.conflicts, report.merged) == (1, 1)
        merged = {**OURS, **THEIRS}
        assert both(site, other_site, store) == (merged, merged)
        assert refetch(store, f"1:{KEY}").value == merged
        assert HOUR < site.client.pttl(site.redis_key(KEY)) <= 2 * HOUR

    def test_merge__deletes(self, meet, site, other_site, store):
        """A function may decide for no value."""
        meet(merging.nothing, theirs_later=True)
        assert both(site, other_site, store) == (None, None)
        assert refetch(store, f"1:{KEY}").deleted

    def test_merge__of_a_deletion(self, site, other_site, store):
        """A side without a value is the sentinel, not None."""
        site.rule = merging.union
        site.set(KEY, None)
        other_site.delete(KEY)
        other_site.sync(store)
        assert site.sync(store).merged == 1
        assert site.client.exists(site.redis_key(KEY))
        assert refetch(store, f"1:{KEY}").value is None
        assert repr(DELETED) == "DELETED"

    def test_merge__raises(self, site, other_site, store):
        """Where the function fails both sides are kept for a person, with its error's class."""
        site.rule = merging.broken
        site.set(KEY, 1)
        site.set("call:8", 1)
        other_site.set(KEY, 2)
        other_site.sync(store)
        report = site.sync(store)
        assert (report.pushed, report.parked, report.backlog) == (1, 1, 0)
        assert site.get(KEY) == 1
        reason = site.reasons[f"1:{KEY}"]
        assert "ArithmeticError" in reason
        assert "secret" not in reason

    def test_merge__unreadable(self, site, other_site, store):
        """Nothing is merged with bytes that cannot be read."""
        site.rule = merging.union
        site.set(KEY, {"a": 1})
        other_site.set(KEY, b"sealed under another key")
        other_site.sync(store)
        assert site.sync(store).parked == 1

    def test_manual(self, meet, site, other_site, store):
        """Both sides are kept, the local one is served, and nothing waits in the outbox."""
        report = meet("manual", theirs_later=True)
        assert (report.conflicts, report.parked) == (1, 1)
        entry, row = site.parked[f"1:{KEY}"]
        assert site.decode(entry, entry.blob) == OURS
        assert row.value == THEIRS
        assert site.get(KEY) == OURS
        assert site.outbox.depth() == 0

    def test_manual__either_side_goes_on(self, site, other_site, store):
        """What either side writes before the decision is kept as well, and replaces nothing."""
        site.rule = "manual"
        site.set(KEY, "ours")
        other_site.set(KEY, "theirs")
        other_site.sync(store)
        site.sync(store)
        other_site.set(KEY, "theirs again")
        other_site.sync(store)
        site.sync(store)
        assert site.parked[f"1:{KEY}"][1].value == "theirs again"
        assert site.get(KEY) == "ours"
        site.set(KEY, "ours again")
        assert site.sync(store).parked == 1
        entry, row = site.parked[f"1:{KEY}"]
        assert (site.decode(entry, entry.blob), row.value) == ("ours again", "theirs again")
        assert refetch(store, f"1:{KEY}").value == "theirs again"

    def test_written_during_the_decision(self, site, other_site, store):
        """A write that comes while it is decided meets the row on its own account."""
        site.set(KEY, "ours")
        other_site.set(KEY, "theirs")
        other_site.sync(store)

        def strategy(place):
            site.strategy = original
            site.set(KEY, "ours again")
            return "remote"

        original, site.strategy = site.strategy, strategy
        site.sync(store)
        assert site.get(KEY) == "ours again"
        site.sync(store)
        assert refetch(store, f"1:{KEY}").value == "ours again"


class TestOwnRows:
    """A row that this Redis wrote itself is no conflict, whatever the strategy."""

    @pytest.mark.parametrize("rule", ["lww", "local", "remote", "newest-version", "manual", merging.broken])
    def test_reply_lost__then_written(self, site, store, rule):
        """After a lost reply the newer write goes up, silently."""
        site.rule = rule
        site.set(KEY, 1)
        push = store.push

        def lose(*arguments):
            push(*arguments)
            raise RemoteUnavailable("lost")

        store.push = lose
        assert site.sync(store).error
        store.push = push
        site.set(KEY, 2)
        report = site.sync(store)
        assert (report.pushed, report.conflicts, report.parked) == (1, 0, 0)
        assert refetch(store, f"1:{KEY}").value == 2

    def test_redis_rolled_back(self, site, store):
        """A Redis that comes back with older data takes its own later row, and its versions still ascend."""
        site.outbox.origin()
        site.set(KEY, "old")
        dumped = [(key, site.client.dump(key)) for key in site.client.keys("*")]
        site.set(KEY, "new")
        site.sync(store)
        site.client.flushall()
        for key, data in dumped:
            site.client.restore(key, 0, data)
        report = site.sync(store)
        assert (report.conflicts, report.backlog) == (0, 0)
        assert site.get(KEY) == "new"
        site.set(KEY, "newer")
        site.sync(store)
        assert refetch(store, f"1:{KEY}").value == "newer"


class TestNobodyIsLost:
    def test_edits_by_hand(self, site, remote_sql, postgres_store):
        """An edit with SQL is another writer's: it comes down, and meets local writes as such."""
        site.set(KEY, 1)
        site.sync(postgres_store)
        remote_sql.execute("update public.callcache_entries set value = '2'")
        assert site.sync(postgres_store).pulled == 1
        assert site.get(KEY) == 2
        site.set(KEY, 3)
        remote_sql.execute("update public.callcache_entries set value = '4'")
        report = site.sync(postgres_store)
        assert (report.conflicts, report.took_remote) == (1, 1)
        assert site.get(KEY) == 4

    def test_tie(self, site, other_site, store):
        """Between equal times the name of the Redis decides, the same on both sides."""
        now = int(time.time() * 1e6)
        site.client.set(site.keys.outbox(b"").mark, now + 10**6)
        other_site.client.set(other_site.keys.outbox(b"").mark, now + 10**6)
        site.set(KEY, "a")
        other_site.set(KEY, "b")
        found = both(site, other_site, store)
        assert found[0] == found[1] == refetch(store, f"1:{KEY}").value
        winner = max((site.outbox.origin(), "a"), (other_site.outbox.origin(), "b"))
        assert found[0] == winner[1]

    def test_row_removed(self, site, store):
        """A row that is gone is made anew by the next write."""
        store.push(NAMESPACE, "x", [RemoteRow(key=f"1:{KEY}", version=1, value=1)])
        site.sync(store)
        store.remove(NAMESPACE, f"1:{KEY}")
        site.set(KEY, 2)
        report = site.sync(store)
        assert (report.pushed, report.conflicts) == (1, 0)
