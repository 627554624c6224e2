"""What the list of findings says of which facts."""

from __future__ import annotations

import datetime

import pytest

from django_callcache.admin.figures import Figures
from django_callcache.admin.health import findings
from django_callcache.conf import SyncSettings
from django_callcache.live import LiveFacts, masked
from django_callcache.models import SyncRun
from django_callcache.stats.series import Totals

NOW = datetime.datetime(2026, 3, 4, 12, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
UP = {"version": "7.2.0", "is_append_only": True, "backlog": 0}


def levels(live=None, totals=None, run=None, waiting=None, synced=False, remote="supabase", **stated):
    figures = Figures((), totals or Totals(), Totals(), (), [], None)
    sync = SyncSettings(remote=remote, interval=300, **stated)
    live = LiveFacts(**(UP | (live or {})))
    found = findings(live, figures, run, waiting, now=NOW, synced=synced, sync=sync)
    return {finding.topic: finding.level for finding in found}


def run(minutes_ago=1, **fields):
    return SyncRun(alias="default", started_at=NOW - minutes_ago * MINUTE, **fields)


class TestFindings:
    def test_findings__all_well(self):
        """A healthy cache has good findings only."""
        assert levels(run=run(), synced=True) == {
            "redis_up": "ok",
            "stats_collected": "ok",
            "synced": "ok",
            "drained": "ok",
        }

    def test_findings__not_synced(self):
        """Nothing is said of sync and durability where nothing is synced."""
        assert levels({"is_append_only": False}) == {"redis_up": "ok", "stats_collected": "ok"}

    @pytest.mark.parametrize(
        ("facts", "topic", "level"),
        [
            ({"live": {"fault": "ConnectionError"}}, "redis_down", "error"),
            ({"live": {"used_memory": 95, "max_memory": 100}}, "memory_full", "warning"),
            ({"waiting": NOW - 30 * MINUTE}, "stats_late", "warning"),
            ({"totals": Totals(errors=2)}, "errors", "warning"),
            ({"totals": Totals(undecodable=2)}, "undecodable", "warning"),
        ],
    )
    def test_findings__of_the_cache(self, facts, topic, level):
        """What is wrong with a cache is named."""
        assert levels(**facts)[topic] == level

    @pytest.mark.parametrize(
        ("facts", "topic", "level"),
        [
            (
                {"live": {"eviction_policy": "allkeys-lru", "max_memory": 100}},
                "eviction_loses_writes",
                "error",
            ),
            ({"live": {"is_append_only": False}}, "not_durable", "warning"),
            ({"live": {"backlog": 5, "oldest_at": NOW.timestamp() - 60}}, "backlog", "ok"),
            ({"live": {"backlog": 5, "oldest_at": NOW.timestamp() - 3600}}, "backlog", "warning"),
            ({"remote": None}, "no_remote", "warning"),
            ({}, "never_synced", "warning"),
            ({"run": run(outcome="failed")}, "sync_failed", "error"),
            ({"run": run(minutes_ago=11)}, "sync_late", "warning"),
            ({"run": run(minutes_ago=11, duration_seconds=120.0)}, "synced", "ok"),
        ],
    )
    def test_findings__of_sync(self, facts, topic, level):
        """What is wrong with sync is named."""
        assert levels(**facts, synced=True)[topic] == level

    @pytest.mark.parametrize(
        "risk", [{"is_append_only": False}, {"eviction_policy": "allkeys-lru", "max_memory": 100}]
    )
    def test_findings__writes_refused(self, risk):
        """Where no write is taken that Redis might lose, the risk means that none is."""
        assert levels(risk, synced=True, require_durable=True)["writes_refused"] == "error"
        assert "writes_refused" not in levels(risk, synced=True)
        assert "writes_refused" not in levels(risk, require_durable=True)
        assert "writes_refused" not in levels(synced=True, require_durable=True)

    def test_findings__counts_wait_shortly(self):
        """Counts of the last minutes wait for their collector and are no news."""
        assert levels(waiting=NOW - 10 * MINUTE)["stats_collected"] == "ok"


class TestMasked:
    def test_masked__address_with_password(self):
        """An error that quotes an address is shown without its credentials."""
        text = masked(ConnectionError("cannot reach rediss://user:sekret@redis.example:6379/0 " + "x" * 999))
        assert text.startswith("ConnectionError: cannot reach rediss://***@redis.example:6379/0")
        assert len(text) <= 300
