"""The replication loop and what people look at, with the cache on three real nodes."""

from __future__ import annotations

import time

import pytest
from django.core.management import call_command

from django_callcache.admin.scan import Scan
from django_callcache.admin.server import server_of
from django_callcache.live import look
from django_callcache.maintenance import run_once
from django_callcache.models import CacheStat
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.outbox.stat_buckets import StatBuckets
from django_callcache.stats.collect import collect
from django_callcache.sync.leader import Heartbeat
from django_callcache.sync.memory import MemoryStore

NAMESPACE = "tests"
CALLS = {f"call:{number}": number for number in range(12)}


@pytest.fixture
def cache(make_cache):
    return make_cache(RULES={"call:": {"sync": "lww", "ttl": 600}}, STATS=True)


@pytest.mark.django_db
class TestRunOnce:
    def test_sync__both_ways(self, cache):
        """What was written in any slot arrives, what changed there comes back, and nothing goes twice."""
        remote = MemoryStore()
        cache.set_many(CALLS)
        cache.delete("call:3")
        report = run_once("default", remote=remote)
        assert report.errors == []
        assert (report.sync.pushed, report.sync.deleted) == (12, 1)
        assert DirtyEntries(cache.redis_client(), cache.redis_keys).depth() == 0
        cache.redis_client().delete("t:1:call:5")
        assert run_once("default", remote=remote).sync.pushed == 0
        cache.clear()
        report = run_once("default", remote=remote, verify=True)
        assert report.errors == []
        assert report.sync.pushed == 0

    def test_collect(self, cache, monkeypatch):
        """Counts of closed minutes reach the rows of their hour."""
        cache.set("other:1", 1)
        cache.get("other:1")
        cache.flush_stats()
        buckets = StatBuckets(cache.redis_client(), cache.redis_keys)
        monkeypatch.setattr(buckets, "current_minute", lambda: int(time.time() // 60) + 2)
        assert collect(buckets, cache.alias).minutes >= 1
        assert sum(CacheStat.objects.values_list("hits", flat=True)) == 1

    def test_heartbeat(self, cache):
        """The loop's sign of life is found again."""
        beat = Heartbeat.of_this_process()
        beat.write(cache.redis_client(), cache.redis_keys)
        assert Heartbeat.read(cache.redis_client(), cache.redis_keys) == beat


class TestLookedAt:
    @pytest.mark.django_db
    def test_live(self, cache):
        """Figures of the server are those of all nodes together."""
        cache.set_many(CALLS)
        before = cache.redis_client().dbsize()
        facts = look(cache)
        assert facts.fault == ""
        assert (facts.backlog, facts.backlog_bytes > 0) == (12, True)
        # The process notes its counts meanwhile, so there may be more keys from one look to the next.
        assert before <= facts.keys <= server_of(cache, synced=True).keys <= cache.redis_client().dbsize()

    def test_scan__pages(self, cache):
        """The keys page walks over all nodes."""
        cache.set_many(CALLS)
        scan = Scan(cache.redis_client(), cache.glob)
        found = {key for page in scan.pages() for key in page if not key.startswith(b"callcache@")}
        assert found == {f"t:1:{key}".encode() for key in CALLS}
        assert scan.cursor == 0

    @pytest.mark.django_db
    def test_commands(self, cache, capsys):
        """The commands of operators work."""
        cache.set_many(CALLS)
        call_command("callcache_keys", "call:*")
        assert "call:7" in capsys.readouterr().out
        call_command("callcache_info")
        assert "default" in capsys.readouterr().out
        call_command("callcache_clear", prefix="call:", yes=True)
        assert cache.keys() == []
