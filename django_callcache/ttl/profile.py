"""Reads by hour, and the hours of the day that they belong to.

Hours are counted in UTC and turned into hours of the day only when read, so neither a change of
the clocks nor of the configured time zone spoils what was counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from functools import lru_cache

HOUR = 3600


@dataclass(frozen=True, slots=True)
class HourlyProfile:
    """Reads (hits and misses) of all processes, by hour since the epoch in UTC (unix seconds // 3600)."""

    counts: Mapping[int, int] = field(default_factory=dict)
    hours: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The hours that have a record, in order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", dict(self.counts))
        object.__setattr__(self, "hours", tuple(sorted(self.counts)))

    def first_hour(self, start: float, end: float) -> int | None:
        """The first recorded hour that begins in [start, end], in seconds since the epoch."""
        index = bisect_left(self.hours, start / HOUR)
        return self.hours[index] if index < len(self.hours) and self.hours[index] * HOUR <= end else None

    def samples(self, hour: int, days: Iterator[date], zone: tzinfo) -> list[int]:
        """The counts recorded for an hour of the day on some days."""
        found = (utc_hour for day in days for utc_hour in utc_hours(day, hour, zone))
        return [self.counts[utc_hour] for utc_hour in found if utc_hour in self.counts]


@lru_cache(maxsize=1024)
def utc_hours(day: date, hour: int, zone: tzinfo) -> tuple[int, ...]:
    """The UTC hours that begin within an hour of a day: one, as a rule.

    Two where clocks are set back, none where they are set forward. Where a zone is off by a part of an
    hour, a UTC hour belongs to the hour of the day in which it begins.
    """
    first = int(datetime.combine(day, time(hour), zone).timestamp() // HOUR)
    # An hour of the day lasts two hours at most; one that clocks skip comes back as another.
    found = ((number, datetime.fromtimestamp(number * HOUR, zone)) for number in range(first, first + 3))
    return tuple(number for number, begins in found if begins.hour == hour and begins.day == day.day)


def days_back(today: date, number: int) -> Iterator[date]:
    """The given number of days before a day, and the day itself, oldest first."""
    return (today - timedelta(days=back) for back in range(number, -1, -1))
