from __future__ import annotations

import time

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from django_callcache.conf import SyncSettings
from django_callcache.exceptions import RemoteUnavailable
from django_callcache.live import look
from django_callcache.maintenance import own_aliases, run_once
from django_callcache.models import CacheStat, SyncRun
from django_callcache.replication.remotes import namespace_of, open_remote
from django_callcache.signals import cache_synced
from django_callcache.sync.leader import LoopLease
from django_callcache.sync.memory import MemoryStore
from django_callcache.sync.postgres import PostgresStore
from django_callcache.sync.remote import RemoteRow
from django_callcache.sync.supabase import SupabaseStore
from tests.sync.test_remote import refetch

NAMESPACE = "tests"


@pytest.fixture
def cache(settings):
    settings.CALLCACHE = {"SYNC": {"NAMESPACE": NAMESPACE}}
    return caches["default"]


class Down(MemoryStore):
    def push(self, namespace, origin, rows):
        raise RemoteUnavailable("down")


@pytest.mark.django_db
class TestRunOnce:
    def test_sync(self, cache):
        """What was written on a synced prefix arrives as the value it is, and the run has its row."""
        remote = MemoryStore()
        cache.set("call:7", {"agent": "Ana", "seconds": 31})
        cache.set("call:8", (1, 2))
        cache.set("call:9", 5)
        cache.incr("call:9", 2)
        cache.delete("call:10")
        cache.set("other", 1)

        report = run_once("default", remote=remote)

        assert report.errors == []
        assert (report.outcome, report.sync.pushed, report.sync.deleted) == ("ok", 4, 1)
        assert refetch(remote, "1:call:7", NAMESPACE).value == {"agent": "Ana", "seconds": 31}
        assert refetch(remote, "1:call:8", NAMESPACE).codec == "callcache1"
        assert refetch(remote, "1:call:9", NAMESPACE).value == 7
        assert refetch(remote, "1:call:10", NAMESPACE).deleted
        assert remote.stored(NAMESPACE, "1:other") is None
        run = SyncRun.objects.get()
        assert (run.alias, run.outcome, run.pushed, run.deleted, run.backlog) == ("default", "ok", 4, 1, 0)

    def test_totals(self, cache):
        """What passes did is added up in Redis, with the moment of the last one that did not fail."""
        before = int(time.time())
        cache.set("call:7", 1)
        run_once("default", remote=Down())
        run_once("default", remote=MemoryStore())
        run_once("default")
        totals = look(cache).totals
        counts = {name: totals.get(name, 0) for name in ("passes_failed", "passes_ok", "pushed", "rejected")}
        assert counts == {"passes_failed": 1, "passes_ok": 1, "pushed": 1, "rejected": 0}
        assert totals["synced_at"] >= before
        assert totals["collected_at"] >= before

    def test_cleared(self, cache):
        """Clearing the cache takes nothing away from what is to be pushed."""
        remote = MemoryStore()
        for number in range(500):
            cache.set(f"call:{number}", number, timeout=1 if number % 2 else None)
        cache.clear()
        report = run_once("default", remote=remote)
        assert (report.sync.pushed, report.sync.backlog) == (500, 0)
        assert cache.get("call:7") is None

    def test_value_of_another_writer(self, cache):
        """A later value from elsewhere is one that the cache reads."""
        remote = MemoryStore()
        cache.set("call:7", "ours")
        other = refetch_row(remote, "1:call:7")
        remote.push(NAMESPACE, "elsewhere", [other])
        run_once("default", remote=remote)
        assert cache.get("call:7") == {"from": "elsewhere"}

    def test_remote_down(self, cache):
        """An outage is in the report and in the row, and everything waits."""
        cache.set("call:7", 1)
        report = run_once("default", remote=Down())
        assert [type(error) for error in report.errors] == [RemoteUnavailable]
        assert report.outcome == "failed"
        run = SyncRun.objects.get()
        assert (run.outcome, run.error_class, run.error) == ("failed", "RemoteUnavailable", "down")
        assert run.backlog == 1

    def test_without_remote(self, cache):
        """Without a remote store the rest is done."""
        report = run_once("default")
        assert (report.sync, report.outcome, report.errors) == (None, "none", [])
        assert not SyncRun.objects.exists()

    def test_collects(self, cache):
        """Counts of closed minutes become rows in the same run."""
        minute = int(time.time()) // 60 - 2
        cache.redis_client().hset(cache.redis_keys.stat_minute(minute), "hits|call:", 3)
        cache.redis_client().zadd(cache.redis_keys.stat_minutes(), {str(minute): minute})
        assert run_once("default").collected.rows == 1
        assert CacheStat.objects.get().hits == 3

    def test_outbox_broken(self, cache):
        """An outbox that cannot be read is a failed pass, with its row."""
        cache.redis_client().set(cache.redis_keys.outbox(b"").due, "no sorted set")
        report = run_once("default", remote=MemoryStore())
        assert report.outcome == "failed"
        assert SyncRun.objects.get().outcome == "failed"
        assert "ResponseError" in SyncRun.objects.get().error_class

    def test_busy(self, cache):
        """While somebody else is at work nothing is done, and the report says for how long."""
        lease = LoopLease(cache.redis_client(), cache.redis_keys, 30)
        lease.take()
        cache.set("call:7", 1)
        report = run_once("default", remote=MemoryStore())
        assert 0 < report.busy_for <= 30
        assert report.sync is None
        lease.give_back()
        assert run_once("default", remote=MemoryStore()).sync.pushed == 1

    def test_lease_lost(self, cache):
        """Who loses the lease in the middle stops after the batch."""
        remote = MemoryStore()
        for number in range(3):
            cache.set(f"call:{number}", number)
        report = run_once("default", remote=remote, may_go_on=lambda: False)
        assert report.sync.pushed == 0
        assert report.sync.backlog == 3

    def test_signal(self, cache, caplog):
        """The report is announced; a receiver that breaks is logged and harms nobody."""
        heard = []

        def listen(sender, report, **kwargs):
            heard.append((sender, report.pushed))
            raise ValueError("a receiver's own fault")

        cache_synced.connect(listen)
        try:
            cache.set("call:7", 1)
            report = run_once("default", remote=MemoryStore())
        finally:
            cache_synced.disconnect(listen)
        assert heard == [("default", 1)]
        assert report.errors == []
        assert "a receiver's own fault" in caplog.text

    def test_database_broken(self, cache, monkeypatch):
        """A step that fails keeps no other from its turn."""
        remote = MemoryStore()
        cache.set("call:7", 1)

        def broken(*args, **kwargs):
            raise OSError("no database")

        monkeypatch.setattr("django_callcache.maintenance.collect", broken)
        report = run_once("default", remote=remote)
        assert [str(error) for error in report.errors] == ["no database"]
        assert report.sync.pushed == 1


def refetch_row(remote, key):
    """A row from the near future, as another writer's."""
    return RemoteRow(key=key, version=int(time.time() * 1e6) + 10**7, value={"from": "elsewhere"})


class TestOpenRemote:
    def test_none(self):
        """Without a remote there is none."""
        assert open_remote(SyncSettings()) is None

    def test_by_name(self):
        """The two stores are found by their names, and any other by its path."""
        postgres = SyncSettings(remote="postgres", namespace="n")
        assert isinstance(open_remote(postgres), PostgresStore)
        key = {"supabase_url": "https://x.supabase.co", "supabase_key": "sb_secret_x"}
        supabase = SyncSettings(remote="supabase", namespace="n", **key)
        assert isinstance(open_remote(supabase), SupabaseStore)
        path = "django_callcache.sync.postgres.PostgresStore"
        assert isinstance(open_remote(SyncSettings(remote=path, namespace="n")), PostgresStore)

    @pytest.mark.parametrize(
        "settings", [{"remote": "postgres"}, {"remote": "no.such.Store", "namespace": "n"}]
    )
    def test_wrong(self, settings):
        """A missing namespace and a path that leads nowhere are refused."""
        with pytest.raises(ImproperlyConfigured, match="CALLCACHE"):
            open_remote(SyncSettings(**settings))


class TestAliases:
    def test_own(self):
        """The aliases of this backend are found."""
        assert "default" in own_aliases()

    def test_namespace(self, settings):
        """The default cache has the namespace itself, another its own below it."""
        settings.CALLCACHE = {"SYNC": {"NAMESPACE": NAMESPACE}}
        settings.CACHES = {
            **settings.CACHES,
            "other": {**settings.CACHES["default"], "KEY_PREFIX": "other"},
        }
        assert namespace_of(caches["default"]) == NAMESPACE
        assert namespace_of(caches["other"]) == f"{NAMESPACE}/other"
