"""Facts of the page of one cache: what it does, how fast, for how long it keeps, and how it is set up."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from django.core.cache import caches
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_callcache.admin.aliases import Alias
from django_callcache.admin.chart import Event
from django_callcache.admin.lines import Bar, LineChart, bars_of, draw_lines
from django_callcache.admin.overview import clears_since, runs_since
from django_callcache.admin.periods import Period, period_of
from django_callcache.admin.ttl_history import TtlHistory, ttl_history
from django_callcache.live import LiveFacts, is_synced, look, without_credentials
from django_callcache.models import COUNTERS, CacheHour
from django_callcache.outbox.processes import ProcessReport
from django_callcache.outbox.stat_buckets import LATENCY_SLOTS, TTL_BANDS, TTL_BOUNDS
from django_callcache.stats.series import FIRST_SLOT_NANOSECONDS, Point, Totals, add_lists, percentile, series

LATENCY_BOUNDS = tuple(FIRST_SLOT_NANOSECONDS * 2**slot / 1e9 for slot in range(LATENCY_SLOTS - 1))
"""Where the latency slots end, in seconds; the last one does not."""

counts_of = attrgetter(*COUNTERS)


@dataclass(frozen=True, slots=True)
class Option:
    """One option as it holds."""

    name: str
    value: str
    is_stated: bool
    """Whether it stands in ``CACHES``; else it is the default."""


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """Everything the page shows."""

    alias: Alias
    period: Period
    live: LiveFacts
    here: ProcessReport
    """How the process does that answers the request."""
    totals: Totals
    latency: LineChart
    reads: tuple[Bar, ...]
    """Reads by call time."""
    lifetimes: tuple[Bar, ...]
    """Writes by the time that their entries live; the last is for ever."""
    ttl: TtlHistory
    memory: LineChart
    location: str
    options: tuple[Option, ...]

    @property
    def degraded(self) -> int:
        """Processes that have given Redis up for now."""
        return sum(each.is_degraded for each in self.live.processes) or int(self.here.is_degraded)


def cache_facts(alias: Alias, period_name: str | None) -> CacheFacts:
    """Gather the facts; with Redis down those that the database has."""
    cache, now = alias.cache, timezone.now()
    period = period_of(period_name, now)
    hours = list(CacheHour.objects.for_alias(cache.alias).since(period.start).order_by("hour"))
    events = [*clears_since(alias.name, period.start), *runs_since(cache.alias, period.start)[0]]
    points = series([], period.starts, max(period.now, period.start))
    by_step = steps_of(hours, points)
    return CacheFacts(
        alias,
        period,
        look(cache, synced=is_synced(cache)),
        cache.condition,
        _totals(hours),
        _latency(period, points, by_step, events),
        _trimmed(bars_of(_added(hours, "read_latency", LATENCY_SLOTS), LATENCY_BOUNDS)),
        bars_of(_added(hours, "ttl_bands", TTL_BANDS), TTL_BOUNDS),
        ttl_history(
            period,
            points,
            [(hour.hour, hour.ttl_bands) for hour in hours],
            [_totals(step).hit_ratio for step in by_step],
        ),
        draw_lines(
            "memory",
            _("Memory of Redis"),
            "bytes",
            points,
            [(_("highest seen"), highest(by_step, "used_memory"))],
            period.is_labelled,
            events,
        ),
        without_credentials(str(caches.settings[alias.name].get("LOCATION", ""))),
        tuple(_options(alias)),
    )


def steps_of(hours: Iterable[CacheHour], points: Sequence[Point]) -> list[list[CacheHour]]:
    """Return the hours of each step."""
    found: list[list[CacheHour]] = [[] for _ in points]
    step = 0
    for hour in hours:
        while step + 1 < len(points) and points[step + 1].start <= hour.hour:
            step += 1
        found[step].append(hour)
    return found


def highest(by_step: Iterable[Sequence[CacheHour]], name: str) -> list[float | None]:
    """Return the highest sample of each step; None where there is none."""
    samples = ([getattr(hour, name) for hour in hours] for hours in by_step)
    return [max((value for value in step if value is not None), default=None) for step in samples]


def _latency(
    period: Period, points: Sequence[Point], by_step: Sequence[Sequence[CacheHour]], events: Sequence[Event]
) -> LineChart:
    reads = [_added(hours, "read_latency", LATENCY_SLOTS) for hours in by_step]
    writes = [_added(hours, "write_latency", LATENCY_SLOTS) for hours in by_step]
    lines = (
        (_("reads, p50"), [percentile(slots, 0.5) for slots in reads]),
        (_("reads, p95"), [percentile(slots, 0.95) for slots in reads]),
        (_("reads, p99"), [percentile(slots, 0.99) for slots in reads]),
        (_("writes, p95"), [percentile(slots, 0.95) for slots in writes]),
    )
    title = _("Call times")
    return draw_lines(
        "latency", title, "seconds", points, lines, period.is_labelled, events, is_logarithmic=True
    )


def _totals(hours: Iterable[CacheHour]) -> Totals:
    return sum((Totals(*counts_of(hour)) for hour in hours), Totals())


def _added(hours: Iterable[CacheHour], name: str, length: int) -> list[int]:
    return add_lists((getattr(hour, name) for hour in hours), length)


def _trimmed(bars: Sequence[Bar]) -> tuple[Bar, ...]:
    """The bands from the first to the last that has anything."""
    filled = [at for at, bar in enumerate(bars) if bar.amount]
    return tuple(bars[filled[0] : filled[-1] + 1]) if filled else ()


def _options(alias: Alias) -> Iterator[Option]:
    """The options of a cache as they hold; those that lead to code are shown by its name."""
    given = caches.settings[alias.name].get("OPTIONS") or {}
    stated: Mapping[str, Any] = given.get("CALLCACHE") or {}
    for field in dataclasses.fields(alias.cache.options):
        if field.name in {"alias", "rules", "stated_timeout"}:
            continue
        value = getattr(alias.cache.options, field.name)
        text = str(value) if field.repr else "***"
        yield Option(field.name.upper(), text, field.name.upper() in stated)
