"""What an operator should know first: one finding a topic, each good, to be looked at, or unknown.

Findings are facts; the template has the words.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django_callcache.admin.figures import Figures
from django_callcache.conf import SyncSettings
from django_callcache.live import LiveFacts
from django_callcache.models import SyncRun

STATS_LATE = datetime.timedelta(minutes=20)
"""Counts that wait longer than this for a collector are late; the loop comes round every five minutes."""

BACKLOG_LATE_SECONDS = 900.0
"""Seconds after which an entry that waits for the remote store is worth a warning."""

MEMORY_FULL = 0.9
"""Share of Redis's memory limit from which on it is worth a warning."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the list."""

    level: str
    """"ok", "warning", "error" or "unknown"."""
    topic: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def findings(
    live: LiveFacts,
    figures: Figures,
    last_run: SyncRun | None,
    waiting_since: datetime.datetime | None,
    *,
    now: datetime.datetime,
    synced: bool,
    sync: SyncSettings,
) -> tuple[Finding, ...]:
    """Return what is to be said about a cache.

    Args:
        live: The present look at Redis.
        figures: The numbers of the period.
        last_run: The last sync pass.
        waiting_since: First minute of counts that no row holds yet.
        now: The present.
        synced: Whether entries of this cache are meant for a remote store.
        sync: The settings of sync.
    """
    return (
        *_redis(live, sync, synced=synced),
        _statistics(live, waiting_since, now),
        *_calls(figures),
        *(_sync(live, last_run, now, sync) if synced else ()),
    )


def _redis(live: LiveFacts, sync: SyncSettings, *, synced: bool) -> Iterator[Finding]:
    if not live.is_reachable:
        yield Finding("error", "redis_down", {"reason": live.fault})
        return
    facts = {"product": live.product, "version": live.version, "uptime_seconds": live.uptime_seconds}
    yield Finding("ok", "redis_up", facts)
    if live.max_memory and live.used_memory and live.used_memory >= MEMORY_FULL * live.max_memory:
        yield Finding("warning", "memory_full", {"share": live.used_memory / live.max_memory})
    if synced and live.max_memory and live.eviction_policy.startswith("allkeys"):
        # The outbox has no expiry, hence only policies over all keys can reach it.
        yield Finding("error", "eviction_loses_writes", {"policy": live.eviction_policy})
    if synced and not live.is_append_only:
        yield Finding("warning", "not_durable")
    if synced and sync.require_durable and live.may_lose_writes:
        yield Finding("error", "writes_refused")


def _statistics(live: LiveFacts, waiting_since: datetime.datetime | None, now: datetime.datetime) -> Finding:
    if waiting_since is not None and now - waiting_since > STATS_LATE:
        return Finding("warning", "stats_late", {"since": waiting_since})
    return Finding("ok" if live.is_reachable else "unknown", "stats_collected")


def _calls(figures: Figures) -> Iterator[Finding]:
    if figures.totals.errors:
        yield Finding("warning", "errors", {"count": figures.totals.errors})
    if figures.totals.undecodable:
        yield Finding("warning", "undecodable", {"count": figures.totals.undecodable})


def _sync(
    live: LiveFacts, last_run: SyncRun | None, now: datetime.datetime, sync: SyncSettings
) -> Iterator[Finding]:
    if live.held is not None:
        yield Finding("warning", "paused", {"pause": live.held})
    if sync.remote is None:
        yield Finding("warning", "no_remote")
    elif last_run is None:
        yield Finding("warning", "never_synced")
    elif last_run.outcome != SyncRun.Outcome.OK:
        yield Finding("error", "sync_failed", {"run": last_run})
    else:
        ended = last_run.started_at + datetime.timedelta(seconds=last_run.duration_seconds)
        late = now - ended > 2 * datetime.timedelta(seconds=sync.interval)
        yield Finding("warning" if late else "ok", "sync_late" if late else "synced", {"run": last_run})
    if live.backlog is not None:
        age = now.timestamp() - live.oldest_at if live.oldest_at is not None else 0.0
        level = "warning" if age > BACKLOG_LATE_SECONDS else "ok"
        yield Finding(
            level, "backlog" if live.backlog else "drained", {"count": live.backlog, "age_seconds": age}
        )
