"""Records of access by hour, as `CacheService.hourly_access_stats` lists them.

A record counts the reads, hits and misses, of one hour of one day in the business's time zone. Nothing
here reads a clock, Redis or the database.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from heapq import nlargest
from operator import itemgetter
from statistics import fmean
from typing import TypedDict

from django_callcache.ttl import HourlyProfile
from django_callcache.ttl.profile import HOUR, utc_hours

HOTTEST = 100
"""Keys that a record names."""

DAYS_BACK = 7
"""Days before today whose records count."""


class HotKeys(set[str]):
    """The most read keys of an hour: a set of bounded size that knows how often each was read.

    A newcomer takes the place of the least read key and inherits its count, so that a key with more
    than one read in ``HOTTEST`` is always among them (Metwally, Agrawal, El Abbadi: Efficient
    computation of frequent and top-k elements in data streams, 2005, "Space-Saving").
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._reads: dict[str, int] = {}
        self.learn((key, 1) for key in keys)

    def read(self, key: str) -> None:
        """Count one read."""
        reads = self._reads
        if key in reads:
            reads[key] += 1
            return
        inherited = 0
        if len(reads) >= HOTTEST:
            coldest = min(reads, key=reads.__getitem__)
            inherited = reads.pop(coldest)
            self.discard(coldest)
        reads[key] = inherited + 1
        self.add(key)

    def learn(self, ranking: Iterable[tuple[str, int]]) -> None:
        """Take in what others have counted, the same reads possibly among it."""
        for key, reads in ranking:
            self._reads[key] = max(reads, self._reads.get(key, 0))
        self._reads = dict(nlargest(HOTTEST, self._reads.items(), key=itemgetter(1)))
        self.clear()
        self.update(self._reads)


class HourlyAccess(TypedDict):
    """One hour of one day."""

    hour: int
    """Hour of the day, 0 to 23, in the business's time zone."""
    count: int
    """Reads, hits and misses."""
    keys: set[str]
    """The most read keys."""
    date: date


def record_of(stats: list[HourlyAccess], moment: datetime) -> HourlyAccess:
    """Find the record of a local moment; where there is none, add it and drop those that are too old."""
    day, hour = moment.date(), moment.hour
    for record in reversed(stats):  # the present hour is the last one, as a rule
        if record["hour"] == hour and record["date"] == day:
            return record
    forget_old(stats, day)
    stats.append(HourlyAccess(hour=hour, count=0, keys=HotKeys(), date=day))
    return stats[-1]


def hot_keys_of(record: HourlyAccess) -> HotKeys:
    """The keys of a record as this module counts them; somebody may have put a plain set there."""
    keys = record["keys"]
    if not isinstance(keys, HotKeys):
        record["keys"] = keys = HotKeys(keys)
    return keys


def merge(
    stats: list[HourlyAccess],
    counts: Mapping[int, int],
    rankings: Mapping[int, Iterable[tuple[str, int]]],
    zone: tzinfo,
) -> None:
    """Bring what all processes have counted into the records.

    An hour's count only grows, so of two counts of it the larger one knows more.

    Args:
        stats: The records; put in order of time.
        counts: Reads by UTC hour since the epoch.
        rankings: The most read keys with their reads, by such hours.
        zone: Of the business.
    """
    known = {(record["date"], record["hour"]): record for record in stats}

    def record_at(at: tuple[date, int]) -> HourlyAccess:
        if at not in known:
            known[at] = HourlyAccess(hour=at[1], count=0, keys=HotKeys(), date=at[0])
            stats.append(known[at])
        return known[at]

    sums: dict[tuple[date, int], int] = defaultdict(int)
    for utc_hour, reads in counts.items():
        sums[_day_and_hour(utc_hour, zone)] += reads
    for at, reads in sums.items():
        record = record_at(at)
        record["count"] = max(record["count"], reads)
    for utc_hour, ranking in rankings.items():
        hot_keys_of(record_at(_day_and_hour(utc_hour, zone))).learn(ranking)
    stats.sort(key=itemgetter("date", "hour"))


def forget_old(stats: list[HourlyAccess], today: date) -> None:
    """Drop the records from before the last seven days."""
    first = today - timedelta(days=DAYS_BACK)
    if any(record["date"] < first for record in stats):
        stats[:] = [record for record in stats if record["date"] >= first]


def profile_of(stats: list[HourlyAccess], hour: int, today: date, zone: tzinfo) -> HourlyProfile:
    """What the records say about one hour of the day, as a TTL policy observes it.

    The first record is in it too, whatever its hour: since then has been counted. Where several
    records stand for one hour of one day, it is their mean.
    """
    first_day = today - timedelta(days=DAYS_BACK)
    if any(not first_day <= record["date"] <= today for record in stats):
        stats = [record for record in stats if first_day <= record["date"] <= today]
    if not stats:
        return HourlyProfile()
    counts: dict[tuple[date, int], list[int]] = {min(map(itemgetter("date", "hour"), stats)): []}
    for record in stats:
        if record["hour"] == hour:
            counts.setdefault((record["date"], hour), []).append(record["count"])
    return HourlyProfile(
        {
            # Where clocks are set back two hours share the count. Rounded up, a mean just above a
            # threshold stays above it.
            utc_hour: math.ceil(fmean(reads or (0,)) / len(hours))
            for (day, hour_of_day), reads in counts.items()
            for hours in (utc_hours(day, hour_of_day, zone),)
            for utc_hour in hours
        }
    )


def _day_and_hour(utc_hour: int, zone: tzinfo) -> tuple[date, int]:
    local = datetime.fromtimestamp(utc_hour * HOUR, zone)
    return local.date(), local.hour
