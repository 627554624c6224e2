"""Reads by hour of the week: seven rows of twenty-four cells, and which hours of the day are peak hours."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from django_callcache.conf import get_settings
from django_callcache.ttl import HourlyProfile, Observation, PeakHour
from django_callcache.ttl.profile import HOUR, days_back, utc_hours

DAYS = 7
CELL_WIDTH, CELL_HEIGHT = 36, 22
LEFT, TOP = 92, 22
STRENGTHS = 5
"""Shades of a cell, beside the one for none."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One hour of one day."""

    hour: int
    reads: int | None
    """None where nothing was reported."""
    ratio: float | None
    """Share of the reads that were hits, where it is known."""
    strength: int
    """0 for no read, up to `STRENGTHS` for the busiest hour."""
    x: int


@dataclass(frozen=True, slots=True)
class Row:
    """One day."""

    date: datetime.date
    cells: tuple[Cell, ...]
    y: int


@dataclass(frozen=True, slots=True)
class HourOfDay:
    """An hour of the day, over all days."""

    hour: int
    x: int
    is_peak: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Heat:
    """Everything the template needs."""

    rows: tuple[Row, ...]
    hours: tuple[HourOfDay, ...]
    """Empty where the peak rule is not asked."""
    time_zone: str
    busiest: int
    cell_width: int = CELL_WIDTH
    cell_height: int = CELL_HEIGHT
    left: int = LEFT
    width: int = LEFT + 24 * CELL_WIDTH
    height: int = TOP + DAYS * CELL_HEIGHT + 24
    labels_y: int = TOP - 8
    peaks_y: int = TOP + DAYS * CELL_HEIGHT + 6


def heat_of(
    reads: Mapping[int, int],
    now: datetime.datetime,
    *,
    ratios: Mapping[int, float] | None = None,
    shows_peaks: bool = False,
) -> Heat:
    """Lay out the last seven days, today last.

    Args:
        reads: By hour since the epoch in UTC.
        now: The present.
        ratios: Hit ratios by the same hours, where they are known.
        shows_peaks: Whether the hours are judged by the peak rule, with ``reads`` as its profile.
    """
    policy = PeakHour(get_settings().ttl.parameters)
    zone = policy.zone
    today = now.astimezone(zone).date()
    busiest = max(
        (count for hour, count in reads.items() if hour > now.timestamp() / HOUR - 24 * DAYS), default=0
    )
    rows = tuple(
        Row(
            day,
            tuple(_cell(day, hour, zone, reads, ratios or {}, busiest) for hour in range(24)),
            TOP + index * CELL_HEIGHT,
        )
        for index, day in enumerate(days_back(today, DAYS - 1))
    )
    hours: tuple[HourOfDay, ...] = ()
    if shows_peaks:
        observation = Observation(now=now.timestamp(), profile=HourlyProfile(reads))
        assessed = [(hour, policy.assess(hour, observation)) for hour in range(24)]
        hours = tuple(
            HourOfDay(hour, LEFT + hour * CELL_WIDTH, found.is_peak, found.reason) for hour, found in assessed
        )
    return Heat(rows, hours, policy.parameters.time_zone, busiest)


def _cell(
    day: datetime.date,
    hour: int,
    zone: datetime.tzinfo,
    reads: Mapping[int, int],
    ratios: Mapping[int, float],
    busiest: int,
) -> Cell:
    known = [utc_hour for utc_hour in utc_hours(day, hour, zone) if utc_hour in reads]
    x = LEFT + hour * CELL_WIDTH
    if not known:
        return Cell(hour, None, None, 0, x)
    count = sum(reads[utc_hour] for utc_hour in known)
    strength = 0 if not count else min(1 + count * STRENGTHS // (busiest + 1), STRENGTHS)
    return Cell(hour, count, ratios.get(known[0]), strength, x)
