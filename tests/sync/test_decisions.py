from __future__ import annotations

import datetime

import pytest
from django.core.cache import caches
from django.utils import timezone

from django_callcache.exceptions import ValueTooLarge
from django_callcache.maintenance import run_once
from django_callcache.models import SyncConflict, SyncRejection
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.replication.decisions import discard, keep_local, keep_remote, keep_value, requeue
from django_callcache.sync.memory import MemoryStore
from django_callcache.sync.remote import RemoteRow
from tests.sync.test_maintenance import refetch_row
from tests.sync.test_remote import refetch

NAMESPACE = "tests"
KEY = "call:7"
BAD = "call:8"

pytestmark = pytest.mark.django_db


@pytest.fixture
def cache(settings):
    default = settings.CACHES["default"]
    options = {**default["OPTIONS"], "CALLCACHE": {**default["OPTIONS"]["CALLCACHE"], "RULES": {
        "call:": {"sync": "manual"}, "merged:": {"sync": "tests.sync.merging.union"},
    }}}  # fmt: skip
    settings.CACHES = {"default": {**default, "OPTIONS": options}}
    settings.CALLCACHE = {"SYNC": {"NAMESPACE": NAMESPACE}}
    return caches["default"]


@pytest.fixture
def store():
    return MemoryStore()


def sync(store):
    report = run_once("default", remote=store)
    assert report.errors == []
    return report.sync


@pytest.fixture
def conflict(cache, store):
    """A key that was written on both sides."""
    cache.set(KEY, "ours", timeout=3600)
    store.push(NAMESPACE, "elsewhere", [refetch_row(store, f"1:{KEY}")])
    assert sync(store).parked == 1
    return SyncConflict.objects.get()


class TestConflicts:
    def test_both_sides_kept(self, cache, conflict):
        """Each side is kept as the cache holds values, and the local one is served."""
        codec, name = cache.codec_for(KEY), bytes(conflict.redis_key)
        assert codec.decode(bytes(conflict.local_payload), name) == "ours"
        assert codec.decode(bytes(conflict.remote_payload), name) == {"from": "elsewhere"}
        assert (conflict.key, conflict.decision, conflict.remote_origin) == (f"1:{KEY}", "", "elsewhere")
        assert conflict.local_expires_at > timezone.now()
        assert cache.get(KEY) == "ours"
        assert str(conflict) == f"default 1:{KEY}"

    def test_keep_local(self, cache, store, conflict):
        """The local side goes over the remote one by the next pass, once."""
        assert keep_local(cache, conflict, by="ana")
        assert not keep_local(cache, conflict)
        report = sync(store)
        assert (report.pushed, report.conflicts) == (1, 0)
        assert refetch(store, f"1:{KEY}", NAMESPACE).value == "ours"
        decided = SyncConflict.objects.get()
        assert (decided.decision, decided.decided_by) == ("local", "ana")
        assert not SyncConflict.objects.open().exists()
        assert 3500 < cache.ttl(KEY) <= 3600

    def test_keep_remote(self, cache, store, conflict):
        """The remote side replaces the local one, and nothing is pushed."""
        assert keep_remote(cache, conflict)
        assert cache.get(KEY) == {"from": "elsewhere"}
        assert sync(store).pushed == 0
        cache.set(KEY, "later")
        assert sync(store).conflicts == 0

    def test_keep_value(self, cache, store, conflict):
        """A third value goes to both sides."""
        assert keep_value(cache, conflict, "both", timeout=60)
        sync(store)
        assert cache.get(KEY) == refetch(store, f"1:{KEY}", NAMESPACE).value == "both"
        assert 0 < refetch(store, f"1:{KEY}", NAMESPACE).ttl_ms <= 60_000

    def test_keep_value__too_large(self, cache, conflict):
        """A value that the cache does not take decides nothing."""
        with pytest.raises(ValueTooLarge):
            keep_value(cache, conflict, bytes(40_000_000))
        assert SyncConflict.objects.open().exists()

    @pytest.mark.parametrize("decide", [keep_local, keep_remote])
    def test_written_meanwhile(self, cache, store, conflict, decide):
        """A write that nobody has seen yet is not decided upon; it joins the conflict with the next pass."""
        cache.set(KEY, "ours again")
        assert not decide(cache, conflict)
        assert SyncConflict.objects.open().exists()
        assert cache.get(KEY) == "ours again"
        assert sync(store).parked == 1
        conflict.refresh_from_db()
        assert keep_local(cache, conflict)
        sync(store)
        assert refetch(store, f"1:{KEY}", NAMESPACE).value == "ours again"

    def test_remote_goes_on(self, cache, store, conflict):
        """What the other side writes meanwhile is in the conflict, and that is what is decided."""
        row = RemoteRow(key=f"1:{KEY}", version=conflict.remote_order + 1, base=1, value="theirs again")
        assert store.push(NAMESPACE, "elsewhere", [row]).applied
        sync(store)
        conflict.refresh_from_db()
        assert keep_remote(cache, conflict)
        assert cache.get(KEY) == "theirs again"

    def test_deleted_there(self, cache, store):
        """A deletion on the other side is one to decide about too."""
        cache.set(KEY, "ours")
        gone = refetch_row(store, f"1:{KEY}")
        store.push(NAMESPACE, "elsewhere", [RemoteRow(key=gone.key, version=gone.version, deleted=True)])
        sync(store)
        assert keep_remote(cache, SyncConflict.objects.get())
        assert cache.get(KEY) is None

    def test_prune(self, conflict):
        """Open conflicts do not grow old; decided ones leave."""
        SyncConflict.objects.update(found_at=timezone.now() - datetime.timedelta(days=400))
        assert SyncConflict.objects.prune(365) == 0
        SyncConflict.objects.update(decision="local")
        assert SyncConflict.objects.prune(365) == 1


class TestMergeByPath:
    def test_rule(self, cache, store):
        """A rule names its function by the path."""
        cache.set("merged:1", {"a": 1})
        sync(store)
        row = refetch_row(store, "1:merged:1")
        store.push(NAMESPACE, "x", [RemoteRow(key=row.key, version=row.version, base=1, value={"b": 2})])
        cache.set("merged:1", {"a": 3})
        assert sync(store).merged == 1
        assert cache.get("merged:1") == {"a": 3, "b": 2}


@pytest.fixture
def rejection(cache, store):
    """A key that the store refuses for its data."""
    cache.set(KEY, "good")
    cache.redis_client().set(cache.redis_keys.outbox(b"").mark, 2**52)
    cache.set(BAD, "ours", timeout=3600)
    report = sync(store)
    assert (report.outcome, report.pushed, report.rejected, report.backlog) == ("partial", 1, 1, 0)
    return SyncRejection.objects.get()


class TestRejections:
    def test_kept(self, cache, rejection):
        """What was refused is kept as the cache holds it, with the reason; the value stays cached."""
        assert (rejection.key, rejection.deleted) == (f"1:{BAD}", False)
        assert "clock" in rejection.reason
        sealed = bytes(rejection.payload)
        assert cache.codec_for(BAD).decode(sealed, bytes(rejection.redis_key)) == "ours"
        assert cache.get(BAD) == "ours"
        assert str(rejection) == f"default 1:{BAD}"

    def test_requeue(self, cache, rejection):
        """A requeued entry is the write that it was."""
        assert requeue(cache, rejection)
        assert not SyncRejection.objects.exists()
        outbox = DirtyEntries(cache.redis_client(), cache.redis_keys)
        (entry,) = outbox.claim(10, 1 << 20, 30).entries
        assert (entry.version, entry.remote_key, entry.deleted) == (rejection.version, rejection.key, False)
        assert cache.codec_for(BAD).decode(entry.blob, entry.redis_key) == "ours"

    def test_requeue__written_since(self, cache, rejection):
        """A newer write is the one to push."""
        cache.set(BAD, "newer")
        assert not requeue(cache, rejection)
        assert not SyncRejection.objects.exists()
        assert DirtyEntries(cache.redis_client(), cache.redis_keys).depth() == 1

    def test_discard(self, cache, store, rejection):
        """A discarded entry is given up; the cached value stays."""
        discard(rejection)
        assert sync(store).pushed == 0
        assert not SyncRejection.objects.exists()
        assert cache.get(BAD) == "ours"

    def test_again(self, cache, store, rejection):
        """Of a key that is refused again only the latest is kept."""
        cache.set(BAD, "again")
        sync(store)
        assert SyncRejection.objects.get().version > rejection.version

    def test_not_merged(self, cache, store):
        """Two sides that the function cannot merge are kept with the reason."""
        cache.set("merged:1", "no dict")
        store.push(NAMESPACE, "elsewhere", [refetch_row(store, "1:merged:1")])
        assert sync(store).parked == 1
        assert SyncConflict.objects.get().reason == "the merge raised TypeError"


class TestForeignRows:
    def test_outside_the_rules(self, cache, store):
        """Rows of keys without a synced prefix are not taken, whatever they claim to be."""
        version = refetch_row(store, "x").version
        keys = ["1:session:stolen", "1:django.contrib.sessions.cache", "call:7", ":call:7", "x:call:7", "1:"]
        rows = [RemoteRow(key=key, version=version, value={"admin": True}) for key in keys]
        rows.append(RemoteRow(key="2:call:8", version=version, value="x" * 40_000_000))
        rows.append(RemoteRow(key="3:call:9", version=version, value="fine"))
        store.push(NAMESPACE, "elsewhere", rows)
        report = sync(store)
        assert (report.refused, report.pulled) == (len(keys), 2)
        assert cache.get("call:9", version=3) == "fine"
        assert cache.keys("*") == []
        assert cache.redis_client().keys("crm:*") == [b"crm:3:call:9"]
