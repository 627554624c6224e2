"""The prefixes of a cache: what each is read, and the TTL that each gets."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from django_callcache.admin.aliases import Alias
from django_callcache.admin.chart import Chart, draw
from django_callcache.admin.heat import DAYS, Heat, heat_of
from django_callcache.admin.lines import Bar, bars_of
from django_callcache.admin.overview import PrefixLine
from django_callcache.admin.periods import Period, period_of
from django_callcache.admin.ttl_history import TtlHistory, ttl_history
from django_callcache.cache import CallCache
from django_callcache.conf import PrefixRule
from django_callcache.live import FAULTS
from django_callcache.models import CacheStat
from django_callcache.outbox.stat_buckets import OTHER, TTL_BANDS, TTL_BOUNDS
from django_callcache.stats.hours import counted_hours
from django_callcache.stats.series import Totals, add_latencies, add_lists, percentile, series, total
from django_callcache.ttl import Decision, Staleness
from django_callcache.ttl.profile import HOUR

PER_PAGE = 100

SORTS: Mapping[str, Callable[[PrefixLine], Any]] = {
    "reads": lambda line: (-line.totals.gets, line.prefix),
    "prefix": lambda line: line.prefix,
    "misses": lambda line: (-line.totals.misses, line.prefix),
    "ratio": lambda line: (line.totals.hit_ratio is None, line.totals.hit_ratio or 0, line.prefix),
    "sets": lambda line: (-line.totals.sets, line.prefix),
    "errors": lambda line: (-line.totals.errors, line.prefix),
}
"""Orders of the table, by name in the address."""


@dataclass(frozen=True, slots=True)
class Prefixes:
    """One page of the table, and the hours of the week."""

    period: Period
    lines: tuple[PrefixLine, ...]
    number: int
    """Prefixes that the filter leaves, on all pages."""
    sort: str
    heat: Heat


@dataclass(frozen=True, slots=True)
class PrefixFacts:
    """One prefix over one period."""

    prefix: str
    period: Period
    rule: PrefixRule | None
    """The rule its keys fall under, if there is one."""
    decision: Decision
    totals: Totals
    chart: Chart
    heat: Heat
    distinct_keys: int
    """Different keys read in the busiest hour of the period."""
    read_p95: float | None
    """Seconds."""
    staleness: Staleness | None
    """What comparisons of hits with their origin have found; None where there are none, or Redis failed."""
    lifetimes: tuple[Bar, ...]
    """Writes by the time that their entries live; the last is for ever."""
    ttl: TtlHistory


def prefixes_of(
    alias: Alias,
    period_name: str | None,
    sort: str,
    text: str,
    start: int,
    *,
    per_page: int | None = PER_PAGE,
) -> Prefixes:
    """Return the prefixes of a cache, of which the period knows.

    Args:
        alias: Of the cache.
        period_name: As in the address.
        sort: One of `SORTS`; another name is "reads".
        text: What a prefix has to contain.
        start: Prefixes of the pages before.
        per_page: How many to return at most; None for all.
    """
    cache = alias.cache
    now = timezone.now()
    period = period_of(period_name, now)
    sort = sort if sort in SORTS else "reads"
    rows = CacheStat.objects.for_alias(cache.alias).since(period.start)
    if text:
        rows = rows.filter(prefix__contains=text)
    totals = [(row["name"], Totals.of(row, "total_")) for row in rows.by_prefix()]
    lines = sorted((_line(cache, prefix, counts) for prefix, counts in totals), key=SORTS[sort])
    heat = heat_of(cache.profile.counts, now, shows_peaks=True)
    end = None if per_page is None else start + per_page
    return Prefixes(period, tuple(lines[start:end]), len(lines), sort, heat)


def prefix_facts(alias: Alias, prefix: str, period_name: str | None) -> PrefixFacts:
    """Return what the rows of one prefix say."""
    cache = alias.cache
    now = timezone.now()
    period = period_of(period_name, now)
    stats = CacheStat.objects.for_alias(cache.alias).filter(prefix=prefix)
    week = now - datetime.timedelta(days=DAYS + 1)
    by_hour = counted_hours(stats.since(min(period.start, week)))
    points = series(by_hour, period.starts, max(period.now, period.start))
    rows = list(
        stats.since(period.start)
        .order_by("hour")
        .values_list("read_latency", "distinct_keys", "ttl_bands", "hour")
    )
    recent = [(hour, counts) for hour, counts in by_hour if hour >= week]
    return PrefixFacts(
        prefix,
        period,
        cache.rule_for(prefix),
        cache.explain_ttl(prefix),
        total(points),
        draw(points, period.is_labelled),
        heat_of(
            {_utc_hour(hour): counts.gets for hour, counts in recent},
            now,
            ratios={_utc_hour(hour): counts.hit_ratio or 0.0 for hour, counts in recent},
        ),
        max((keys for _, keys, _, _ in rows), default=0),
        percentile(add_latencies(latency for latency, *_ in rows), 0.95),
        _staleness(cache, prefix),
        bars_of(add_lists((bands for _, _, bands, _ in rows), TTL_BANDS), TTL_BOUNDS),
        ttl_history(
            period,
            points,
            [(hour, bands) for _, _, bands, hour in rows],
            [point.totals.hit_ratio if point.totals else None for point in points],
        ),
    )


def _line(cache: CallCache, prefix: str, totals: Totals) -> PrefixLine:
    return PrefixLine(prefix, totals, prefix == OTHER, cache.explain_ttl(prefix))


def _staleness(cache: CallCache, prefix: str) -> Staleness | None:
    rule = cache.rule_for(prefix)
    try:
        return None if rule is None else cache.measured_staleness().get(rule.prefix)
    except FAULTS:
        return None


def _utc_hour(hour: datetime.datetime) -> int:
    return int(hour.timestamp() // HOUR)
