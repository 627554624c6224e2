"""Counts over time, ready to draw and to write: arithmetic only, no database and no clock."""

from __future__ import annotations

import datetime
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import add, attrgetter
from typing import Self

from django_callcache.outbox.stat_buckets import COUNTERS, LATENCY_SLOTS

FIRST_SLOT_NANOSECONDS = 1024
"""Upper bound of latency slot 0; each slot doubles it."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of some prefixes over some time."""

    hits: int = 0
    """Gets answered by Redis."""
    near_hits: int = 0
    """Gets answered by the process itself."""
    misses: int = 0
    sets: int = 0
    deletes: int = 0
    errors: int = 0
    undecodable: int = 0
    checked: int = 0
    """Hits that were compared with their origin."""
    stale: int = 0
    """Those of them that differed from it."""

    @classmethod
    def of(cls, counts: Mapping[str, object], prefix: str = "") -> Self:
        """Read counts by name, each name with a prefix before it; what is missing is none."""
        return cls(**{name: int(str(counts.get(prefix + name) or 0)) for name in COUNTERS})

    def __add__(self, other: Totals) -> Totals:
        return Totals(*map(add, _counts(self), _counts(other)))

    def __bool__(self) -> bool:
        return any(_counts(self))

    @property
    def gets(self) -> int:
        """Reads of any outcome."""
        return self.hits + self.near_hits + self.misses

    @property
    def found(self) -> int:
        """Hits of both tiers."""
        return self.hits + self.near_hits

    @property
    def hit_ratio(self) -> float | None:
        """Share of gets that found a value, in Redis or in the process; None where nothing was read."""
        return self.found / self.gets if self.gets else None

    @property
    def near_share(self) -> float | None:
        """Share of the hits that needed no round trip; None where nothing was hit."""
        return self.near_hits / self.found if self.found else None


_counts = attrgetter(*(item.name for item in fields(Totals)))


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a series."""

    start: datetime.datetime
    seconds: float
    """How much of the step has passed; less than its length only for the one in progress."""
    totals: Totals | None
    """None where nothing was reported, which is not the same as nothing read."""

    @property
    def gets_per_second(self) -> float | None:
        """Reads a second, over the part of the step that has passed."""
        return self.totals.gets / self.seconds if self.totals is not None and self.seconds else None


def series(
    counted: Iterable[tuple[datetime.datetime, Totals]],
    starts: Sequence[datetime.datetime],
    end: datetime.datetime,
) -> tuple[Point, ...]:
    """Lay counts into steps.

    Args:
        counted: Counts with the moment their hour or minute began; what lies outside is left out.
        starts: Beginnings of the steps, ascending; a step ends where the next begins.
        end: End of the last step, or the present moment within it.
    """
    by_step: dict[int, Totals] = {}
    for moment, totals in counted:
        step = bisect_right(starts, moment) - 1
        if step >= 0 and moment < end:
            by_step[step] = by_step.get(step, Totals()) + totals
    bounds = [*starts[1:], end]
    return tuple(
        Point(start, max((bound - start).total_seconds(), 0.0), by_step.get(index))
        for index, (start, bound) in enumerate(zip(starts, bounds, strict=True))
    )


def total(points: Iterable[Point]) -> Totals:
    """Return the sum of a series."""
    result = Totals()
    for point in points:
        if point.totals is not None:
            result += point.totals
    return result


def add_latencies(lists: Iterable[Sequence[int]]) -> list[int]:
    """Return the sums of some latency lists, slot by slot."""
    return add_lists(lists, LATENCY_SLOTS)


def add_lists(lists: Iterable[Sequence[int]], length: int) -> list[int]:
    """Return the sums of some lists, place by place; shorter ones end in zeros."""
    sums = [0] * length
    for slots in lists:
        for index, amount in enumerate(slots[:length]):
            sums[index] += amount
    return sums


def percentile(latencies: Sequence[int], fraction: float) -> float | None:
    """Estimate a percentile of call times, in seconds.

    Slots double, so the answer lies within a factor of two of the truth: within its slot it is
    interpolated geometrically, as if call times were spread evenly on a logarithmic scale. The last
    slot has no upper end; for calls in it the answer is its lower one, "at least".

    Args:
        latencies: Calls by slot; slot i ends at ``2**(10 + i)`` nanoseconds.
        fraction: Between 0 and 1, for example 0.95.

    Returns:
        None where no call was counted.
    """
    calls = sum(latencies)
    if not calls:
        return None
    rank = fraction * calls
    passed = 0
    for slot, amount in enumerate(latencies):
        if amount and passed + amount >= rank:
            lower, upper = _bounds(slot)
            within = max(rank - passed, 0.0) / amount
            return float(lower * (upper / lower) ** within)
        passed += amount
    return None


def daily_starts(first: datetime.date, days: int, zone: datetime.tzinfo) -> tuple[datetime.datetime, ...]:
    """Return the midnights of some days as people of a time zone see them, in UTC.

    A day may last 23 hours or 25; in UTC, and only there, differences of these moments say so.
    """
    dates = (first + datetime.timedelta(days=day) for day in range(days))
    return tuple(
        datetime.datetime.combine(date, datetime.time(), zone).astimezone(datetime.UTC) for date in dates
    )


def steps_between(
    start: datetime.datetime, end: datetime.datetime, step: datetime.timedelta
) -> Iterator[datetime.datetime]:
    """Yield the beginnings of equal steps from a start to before an end."""
    while start < end:
        yield start
        start += step


def _bounds(slot: int) -> tuple[float, float]:
    """Ends of a slot in seconds; slot 0 begins at half its end, since zero has no logarithm."""
    upper = FIRST_SLOT_NANOSECONDS * 2**slot / 1e9
    lower = upper / 2
    return (lower, lower) if slot == LATENCY_SLOTS - 1 else (lower, upper)
