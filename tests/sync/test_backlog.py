"""What waits for the remote store arrives there, whatever becomes of it here meanwhile."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import caches
from prometheus_client.parser import text_string_to_metric_families

from django_callcache import metrics
from django_callcache.exceptions import BacklogFull
from django_callcache.maintenance import run_once
from django_callcache.outbox.dirty import DirtyEntries
from tests.sync.test_maintenance import Down
from tests.sync.test_sync_pass import Spy

NAMESPACE = "backlog"
HOW = {
    "clear": lambda cache: cache.clear(),
    "delete_prefix": lambda cache: cache.delete_prefix("call:"),
    "delete_pattern": lambda cache: cache.delete_pattern("call:*"),
    "delete_tags": lambda cache: cache.delete_tags("calls", "call:"),
}


@pytest.fixture
def use(settings):
    """Make the cache, with more settings of the sync."""

    def make(**sync):
        settings.CALLCACHE = {"SYNC": {"NAMESPACE": NAMESPACE, **sync}}
        return caches["default"]

    return make


def rows_of(remote_sql):
    """The remote values, by key."""
    query = (
        "select key, value from public.callcache_entries "
        "where namespace in ('crm', %s) and deleted_at is null"
    )
    return {key.removeprefix("1:"): value for key, value in remote_sql.execute(query, (NAMESPACE,))}


@pytest.mark.django_db
class TestGoneHere:
    @pytest.mark.parametrize("how", HOW)
    def test_cleared(self, use, postgres_store, remote_sql, how):
        """Of 500 entries that wait all arrive, though the cache has been cleared of them."""
        cache = use()
        values = {f"call:{number}": {"number": number} for number in range(500)}
        cache.set_many(values)
        cache.set_many({"page:1": "of calls"}, tags=["calls"])
        HOW[how](cache)
        # Synced entries take no tags.
        assert cache.get_many(values) == (values if how == "delete_tags" else {})

        report = run_once("default", remote=postgres_store)

        assert (report.sync.pushed, report.sync.deleted, report.sync.backlog) == (500, 0, 0)
        assert rows_of(remote_sql) == values

    def test_expired(self, use, postgres_store, remote_sql):
        """What has expired while the remote store was down arrives with the moment at which it did."""
        cache = use()
        written_at = time.time()
        cache.set("call:7", {"number": 7}, timeout=0.05)
        cache.set("call:8", {"number": 8}, timeout=3600)
        assert run_once("default", remote=Down()).sync.backlog == 2
        while cache.get("call:7") is not None:
            time.sleep(0.01)

        assert run_once("default", remote=postgres_store).sync.pushed == 2

        assert rows_of(remote_sql) == {"call:7": {"number": 7}, "call:8": {"number": 8}}
        query = "select extract(epoch from expires_at), expires_at < now() from public.callcache_entries"
        (short, is_over), (long, _) = remote_sql.execute(query + " order by key").fetchall()
        assert is_over
        assert written_at < float(short)
        assert 3590 < float(long) - float(short) < 3610


class TestWrittenMeanwhile:
    @pytest.mark.parametrize("moment", ["before the push", "after the push"])
    def test_a_thousand(self, site, postgres_store, remote_sql, moment):
        """Each of 1,000 keys written between claim and acknowledgement ends as it was last written."""
        spy = Spy(postgres_store)
        for number in range(1000):
            site.set(f"call:{number}", "first")

        def write_again(found):
            for key in spy.batches[-1]:
                site.set(key.removeprefix("1:"), f"second of {key}")
            return found

        if moment == "before the push":
            spy.before = write_again
        else:
            spy.after = write_again
        report = site.sync(spy)
        assert (report.pushed, report.conflicts, report.backlog) == (1000, 0, 1000)
        spy.before, spy.after = (lambda rows: None), (lambda reply: reply)
        report = site.sync(spy)
        assert (report.pushed, report.conflicts, report.backlog) == (1000, 0, 0)
        expected = {f"call:{number}": f"second of 1:call:{number}" for number in range(1000)}
        assert rows_of(remote_sql) == expected
        assert site.everything() == expected


@pytest.mark.django_db
class TestBound:
    def test_full(self, use, postgres_store, remote_sql):
        """At 1,000 keys a new one is refused, the others are overwritten, and all 1,000 arrive."""
        cache = use(MAX_KEYS=1000)
        cache.set_many({f"call:{number}": "first" for number in range(1000)})
        with pytest.raises(BacklogFull):
            cache.set("call:new", 1)
        assert cache.get("call:new") is None
        last = {f"call:{number}": number for number in range(1000)}
        assert cache.set_many(last) == []
        with pytest.raises(BacklogFull):
            cache.set("call:new", 1)

        assert run_once("default", remote=postgres_store).sync.pushed == 1000

        assert rows_of(remote_sql) == last
        assert cache.set("call:new", 1)

    def test_told(self, use):
        """What the metrics say waits is what waits, while many write and the remote store is down."""
        cache = use()
        outbox = DirtyEntries(cache.redis_client(), cache.redis_keys)

        def write(part):
            mine = caches["default"]
            for number in range(150):
                mine.set(f"call:{number * 4 + part}", number)

        with ThreadPoolExecutor(4) as pool:
            written = [pool.submit(write, part) for part in range(4)]
            while not all(each.done() for each in written):
                before, said, after = outbox.depth(), waiting(), outbox.depth()
                assert before - 1 <= said <= after + 1
            for each in written:
                each.result()
        assert run_once("default", remote=Down()).sync.pushed == 0
        assert waiting() == outbox.depth() == 600


def waiting():
    """The entries that wait, as the metrics tell it."""
    body, _ = metrics.exposition("")
    (found,) = (
        sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name == "callcache_outbox_entries" and sample.labels["alias"] == "default"
    )
    return found
