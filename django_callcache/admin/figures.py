"""The numbers of one cache over one period: from rows, or for the last hour from the minutes in Redis."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django_callcache.admin.periods import HOUR, Period
from django_callcache.models import CacheHour, CacheStat
from django_callcache.outbox.stat_buckets import LATENCY_SLOTS, StatBuckets
from django_callcache.stats.hours import counted_hours
from django_callcache.stats.series import Point, Totals, add_latencies, percentile, series, total

LATENCY_HOURS = 24
"""Hours that call times are taken from at most: lists of slots cannot be added up by the database."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is shown of one cache over one period."""

    points: tuple[Point, ...]
    totals: Totals
    before: Totals
    """The totals of the period it is compared with."""
    prefixes: tuple[tuple[str, Totals], ...]
    """The totals by prefix, most read first."""
    read_latency: Sequence[int]
    """Reads by latency slot, of the last 24 hours at most."""
    newest: datetime.datetime | None
    """Beginning of the newest hour or minute with counts."""

    @property
    def gets_per_second(self) -> float | None:
        """Reads a second over the steps that were reported on."""
        seconds = sum(point.seconds for point in self.points if point.totals is not None)
        return self.totals.gets / seconds if seconds else None

    @property
    def ratio_change(self) -> float | None:
        """How the hit ratio differs from the period before, in points of one hundred."""
        now, before = self.totals.hit_ratio, self.before.hit_ratio
        return None if now is None or before is None else (now - before) * 100

    @property
    def p95_seconds(self) -> float | None:
        """Time within which 95 of 100 reads were answered (an estimate, see `percentile`)."""
        return percentile(self.read_latency, 0.95)


def figures_from_rows(alias: str, period: Period) -> Figures:
    """Read the figures of a period from the hourly rows, in three queries."""
    rows = CacheHour.objects.for_alias(alias)
    hours = counted_hours(rows.since(period.earlier))
    prefixes = CacheStat.objects.for_alias(alias).since(period.start).by_prefix()
    end = max(period.now, period.start)
    points = series(hours, period.starts, end)
    recent = max(period.start, end - LATENCY_HOURS * HOUR)
    return Figures(
        points,
        total(points),
        _sum(totals for hour, totals in hours if hour < period.start),
        most_read((row["name"], Totals.of(row, "total_")) for row in prefixes),
        add_latencies(rows.since(recent).order_by().values_list("read_latency", flat=True)),
        hours[-1][0] if hours else None,
    )


def figures_from_minutes(buckets: StatBuckets, alias: str, period: Period) -> Figures:
    """Read the figures of the last hour minute by minute from Redis; what came before is of the rows.

    Raises:
        redis.exceptions.RedisError: Redis does not answer; then the rows have the hour in one piece.
    """
    first, last = (round(moment.timestamp()) // 60 for moment in (period.start, period.now))
    counted: list[tuple[datetime.datetime, Totals]] = []
    prefixes: dict[str, Totals] = {}
    latencies = [0] * LATENCY_SLOTS
    for minute, bucket in buckets.read_each(range(first, last)):
        for prefix, counts in bucket.items():
            totals = Totals.of(counts)
            counted.append((datetime.datetime.fromtimestamp(minute * 60, datetime.UTC), totals))
            prefixes[prefix] = prefixes.get(prefix, Totals()) + totals
            latencies = add_latencies((latencies, _reads(counts)))
    points = series(counted, period.starts, period.now)
    before = CacheHour.objects.for_alias(alias).since(period.earlier).until(period.earlier + HOUR)
    return Figures(
        points,
        total(points),
        _sum(totals for _, totals in counted_hours(before)),
        most_read(prefixes.items()),
        latencies,
        counted[-1][0] if counted else None,
    )


def most_read(prefixes: Iterable[tuple[str, Totals]]) -> tuple[tuple[str, Totals], ...]:
    """Return prefixes in the order of their reads."""
    return tuple(sorted(prefixes, key=lambda item: (-item[1].gets, item[0])))


def _reads(counts: Mapping[str, int]) -> list[int]:
    return [counts.get(f"r{slot}", 0) for slot in range(LATENCY_SLOTS)]


def _sum(totals: Iterable[Totals]) -> Totals:
    return sum(totals, Totals())
