"""Facts of the overview: one cache, one period."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db.models import Q, Subquery
from django.utils import timezone

from django_callcache.admin.aliases import Alias
from django_callcache.admin.chart import Chart, Event, draw
from django_callcache.admin.figures import Figures, figures_from_minutes, figures_from_rows
from django_callcache.admin.health import Finding, findings
from django_callcache.admin.periods import Period, period_of
from django_callcache.cache import CallCache
from django_callcache.conf import get_settings
from django_callcache.live import FAULTS, LiveFacts, is_synced, look
from django_callcache.models import CacheOperation, CacheStat, SyncRun
from django_callcache.outbox.stat_buckets import OTHER, StatBuckets
from django_callcache.stats.series import Totals
from django_callcache.ttl import Decision

PREFIXES_SHOWN = 100
EVENTS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class PrefixLine:
    """A line of the table of prefixes."""

    prefix: str
    totals: Totals
    is_rest: bool
    """Whether it stands for all keys that have no line of their own."""
    ttl: Decision
    """What a write without a timeout would get now, and why."""


@dataclass(frozen=True, slots=True)
class FirstStep:
    """A step towards the first number, and whether it seems to be taken (None: not known)."""

    topic: str
    is_done: bool | None


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything the page shows."""

    alias: Alias
    now: datetime.datetime
    period: Period
    figures: Figures
    live: LiveFacts
    health: tuple[Finding, ...]
    chart: Chart
    prefixes: tuple[PrefixLine, ...]
    prefixes_left_out: int
    last_run: SyncRun | None
    is_synced: bool
    from_minutes: bool
    """Whether the numbers come from the minutes in Redis rather than from hourly rows."""
    first_steps: tuple[FirstStep, ...]
    """Not empty where nothing was ever counted."""

    @property
    def worst(self) -> str:
        """The worst level among the findings."""
        levels = {finding.level for finding in self.health}
        return next((level for level in ("error", "warning", "unknown") if level in levels), "ok")


def overview_of(alias: Alias, period_name: str | None) -> Overview:
    """Gather the facts; with Redis down those that the database has."""
    now = timezone.now()
    period = period_of(period_name, now)
    cache = alias.cache
    synced = is_synced(cache)
    live = look(cache, synced=synced)
    buckets = StatBuckets(cache.redis_client(), cache.redis_keys)
    minutes = _minutes(buckets) if live.is_reachable else []
    figures = None
    if period.step == "minute" and live.is_reachable:
        figures = _from_minutes(buckets, cache.alias, period)
    from_minutes = figures is not None
    figures = figures or figures_from_rows(cache.alias, period)
    newest = figures.newest if not from_minutes and figures.newest else _newest_row(cache.alias)
    runs, last_run = runs_since(cache.alias, period.start)
    health = findings(
        live,
        figures,
        last_run,
        _waiting_since(minutes, newest),
        now=now,
        synced=synced,
        sync=get_settings().sync,
    )
    lines = tuple(_lines(cache, figures))
    return Overview(
        alias,
        now,
        period,
        figures,
        live,
        health,
        draw(figures.points, period.is_labelled, [*clears_since(alias.name, period.start), *runs]),
        lines[:PREFIXES_SHOWN],
        max(len(figures.prefixes) - PREFIXES_SHOWN, 0),
        last_run,
        synced,
        from_minutes,
        _first_steps(live, minutes, last_run) if newest is None and not figures.totals else (),
    )


def _from_minutes(buckets: StatBuckets, alias: str, period: Period) -> Figures | None:
    try:
        return figures_from_minutes(buckets, alias, period)
    except FAULTS:
        return None


def _minutes(buckets: StatBuckets) -> Sequence[int]:
    try:
        return buckets.minutes()
    except FAULTS:
        return []


def _newest_row(alias: str) -> datetime.datetime | None:
    return CacheStat.objects.for_alias(alias).order_by("-hour").values_list("hour", flat=True).first()


def _waiting_since(minutes: Sequence[int], newest: datetime.datetime | None) -> datetime.datetime | None:
    """First minute in Redis that belongs to an hour without rows."""
    collected = newest.timestamp() // 3600 if newest is not None else -1
    first = next((minute for minute in minutes if minute // 60 > collected), None)
    return None if first is None else datetime.datetime.fromtimestamp(first * 60, datetime.UTC)


def runs_since(alias: str, start: datetime.datetime) -> tuple[list[Event], SyncRun | None]:
    """Failed passes since a moment as events, and the last pass of all."""
    runs = SyncRun.objects.for_alias(alias)
    last = Subquery(runs.order_by("-started_at", "-pk").values("pk")[:1])
    failed = Q(started_at__gte=start, outcome__in=(SyncRun.Outcome.FAILED, SyncRun.Outcome.PARTIAL))
    found = list(runs.filter(failed | Q(pk=last)).order_by("-started_at", "-pk")[:EVENTS_SHOWN])
    events = [
        Event(run.started_at, "sync", run.error_class) for run in found if run.outcome != SyncRun.Outcome.OK
    ]
    return events, found[0] if found else None


def clears_since(alias: str, start: datetime.datetime) -> list[Event]:
    """Deletions since a moment."""
    operations = CacheOperation.objects.for_alias(alias).since(start).filter(deleted__gt=0)
    return [
        Event(started_at, "clear", pattern)
        for started_at, pattern in operations.values_list("started_at", "pattern")[:EVENTS_SHOWN]
    ]


def _lines(cache: CallCache, figures: Figures) -> Iterator[PrefixLine]:
    for prefix, totals in figures.prefixes[:PREFIXES_SHOWN]:
        yield PrefixLine(prefix, totals, prefix == OTHER, cache.explain_ttl(prefix))


def _first_steps(live: LiveFacts, minutes: Sequence[int], last_run: SyncRun | None) -> tuple[FirstStep, ...]:
    return (
        FirstStep("backend", True),
        FirstStep("traffic", bool(minutes) if live.is_reachable else None),
        FirstStep("loop", True if last_run is not None else None),
    )
