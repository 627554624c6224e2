"""Closed minutes become hourly rows.

A row is the sum of its hour's minute buckets, written as an absolute value: collecting twice gives the
same rows, and a collector that dies anywhere is made good by the next one. Buckets leave Redis only when
their hour is long over and its rows are committed.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

from django.db import connections, router, transaction

from django_callcache.conf import get_settings
from django_callcache.models import PREFIX_LENGTH, CacheHour, CacheStat
from django_callcache.outbox.stat_buckets import COUNTERS, LATENCY_SLOTS, OTHER, TTL_BANDS, StatBuckets
from django_callcache.stats.series import add_lists

KEEP_MINUTES = 60
"""Minutes that an hour's buckets stay after its end: people look at the last hour minute by minute,
and a clock set back a little on the Redis server finds its buckets whole."""

UPDATED = (*COUNTERS, "distinct_keys", "read_latency", "write_latency", "ttl_bands", "hot_keys")
LISTS = {
    "read_latency": ("r", LATENCY_SLOTS),
    "write_latency": ("w", LATENCY_SLOTS),
    "ttl_bands": ("t", TTL_BANDS),
}
"""Lists of a row, and the counts that they are made of."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What one collection did."""

    minutes: int = 0
    """Closed minutes read."""
    rows: int = 0
    """Rows written, whether or not they changed."""
    hours: tuple[int, ...] = ()
    """Hours since the epoch whose rows were written."""
    dropped: tuple[int, ...] = ()
    """Those of them whose buckets leave Redis, once the rows are committed."""


@dataclass(slots=True)
class Sums:
    """What is known of one row: sums of buckets, and of prefixes where several share a row."""

    counts: dict[str, int] = field(default_factory=dict)
    distinct_keys: int = 0
    hot_keys: dict[str, int] = field(default_factory=dict)

    def add(self, counts: Mapping[str, int], distinct_keys: int, ranking: Iterable[tuple[str, int]]) -> None:
        """Add one prefix; prefixes share no key, so their distinct keys add up."""
        for name, amount in counts.items():
            self.counts[name] = self.counts.get(name, 0) + amount
        self.distinct_keys += distinct_keys
        for key, reads in ranking:
            clean = storable(key)
            self.hot_keys[clean] = self.hot_keys.get(clean, 0) + reads


def collect(buckets: StatBuckets, alias: str) -> Collected:
    """Write the rows of every hour that has closed minutes in Redis.

    One transaction an hour, and a number of queries that does not grow with the prefixes.
    """
    current = buckets.current_minute()
    closed = [minute for minute in buckets.minutes() if minute < current]
    hours: list[int] = []
    dropped: list[int] = []
    rows = 0
    for hour, minutes in groupby(closed, key=lambda minute: minute // 60):
        is_over = current >= (hour + 1) * 60 + KEEP_MINUTES
        rows += collect_hour(buckets, alias, hour, list(minutes), drop=is_over)
        hours.append(hour)
        if is_over:
            dropped.append(hour)
    return Collected(len(closed), rows, tuple(hours), tuple(dropped))


def collect_hour(buckets: StatBuckets, alias: str, hour: int, minutes: Sequence[int], *, drop: bool) -> int:
    """Write the rows of one hour; drop its buckets when they are committed, if told so."""
    limits = get_settings().stats
    using = router.db_for_write(CacheStat)
    moment = datetime.datetime.fromtimestamp(hour * 3600, datetime.UTC)
    counts = buckets.read(minutes)
    with transaction.atomic(using=using):
        stored = CacheStat.objects.using(using).for_alias(alias).filter(hour=moment).order_by("prefix")
        known = {row.prefix: row for row in stored.select_for_update()}
        groups = group_prefixes(counts, known, limits.max_prefixes)
        sums = sum_groups(buckets, hour, groups, counts, limits.hot_keys)
        rows = [
            _row(
                CacheStat(alias=alias, prefix=prefix, hour=moment), total, known.get(prefix), limits.hot_keys
            )
            for prefix, total in sums.items()
        ]
        _upsert(rows, using)
        _collect_whole(alias, moment, (known | {row.prefix: row for row in rows}).values(), using)
        if drop:
            transaction.on_commit(partial(buckets.drop, hour), using=using)
    return len(rows)


def group_prefixes(
    counts: Mapping[str, Mapping[str, int]], known: Iterable[str], max_prefixes: int
) -> dict[str, list[str]]:
    """Return which prefixes share a row, by the row's prefix.

    Prefixes that have a row keep it, then the most read ones get one; the rest shares ``OTHER``. A prefix
    never leaves ``OTHER`` within its hour, since rows are not given back: so nothing is counted twice.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for prefix in counts:
        groups[storable(prefix)[:PREFIX_LENGTH]].append(prefix)
    if len(groups.keys() | set(known)) <= max_prefixes:
        return groups
    kept = set(known) | {OTHER}
    newcomers = sorted(groups.keys() - kept, key=lambda name: (-_gets(groups[name], counts), name))
    kept.update(newcomers[: max(max_prefixes - len(kept), 0)])
    bounded: dict[str, list[str]] = defaultdict(list)
    for name, prefixes in groups.items():
        bounded[name if name in kept else OTHER] += prefixes
    return bounded


def sum_groups(
    buckets: StatBuckets,
    hour: int,
    groups: Mapping[str, Sequence[str]],
    counts: Mapping[str, Mapping[str, int]],
    hot_keys: int,
) -> dict[str, Sums]:
    """Return the sums of every row, its keys included."""
    distinct = buckets.distinct_keys(hour, list(counts))
    rankings = buckets.hot_keys(hour, list(counts), hot_keys)
    sums: dict[str, Sums] = {}
    for name, prefixes in groups.items():
        sums[name] = Sums()
        for prefix in prefixes:
            sums[name].add(counts[prefix], distinct[prefix], rankings[prefix])
    return sums


def storable(text: str) -> str:
    """Return a text that every database takes: PostgreSQL refuses NUL in texts and in JSON."""
    return text.replace("\0", "\ufffd")


def _gets(prefixes: Iterable[str], counts: Mapping[str, Mapping[str, int]]) -> int:
    return sum(counts[prefix].get(name, 0) for prefix in prefixes for name in ("hits", "near_hits", "misses"))


def _row(row: CacheStat, sums: Sums, known: CacheStat | None, hot_keys: int) -> CacheStat:
    """Fill a row. Counts of an hour only grow: where more is stored, Redis has lost some since."""
    for name in COUNTERS:
        setattr(row, name, max(sums.counts.get(name, 0), getattr(known, name, 0)))
    row.distinct_keys = max(sums.distinct_keys, known.distinct_keys if known else 0)
    _fill_lists(row, sums, known)
    ranking = dict(known.hot_keys) if known else {}
    for key, reads in sums.hot_keys.items():
        ranking[key] = max(reads, ranking.get(key, 0))
    hottest = sorted(ranking.items(), key=lambda item: (-item[1], item[0]))
    row.hot_keys = [list(item) for item in hottest[:hot_keys]]
    return row


def _collect_whole(alias: str, hour: datetime.datetime, rows: Collection[CacheStat], using: str) -> None:
    """Write the sums of an hour's rows; what samples have put beside them stays."""
    whole = CacheHour(alias=alias, hour=hour)
    for name in COUNTERS:
        setattr(whole, name, sum(getattr(row, name) for row in rows))
    for name, (_, length) in LISTS.items():
        setattr(whole, name, add_lists((getattr(row, name) for row in rows), length))
    CacheHour.objects.using(using).bulk_create(
        [whole],
        update_conflicts=True,
        unique_fields=("alias", "hour") if _names_target(using) else None,
        update_fields=(*COUNTERS, *LISTS),
    )


def _fill_lists(row: CacheStat, sums: Sums, known: CacheStat | None) -> None:
    for name, (letter, length) in LISTS.items():
        present = [sums.counts.get(f"{letter}{slot}", 0) for slot in range(length)]
        setattr(row, name, _greatest(present, getattr(known, name, [])))


def _greatest(present: list[int], stored: Sequence[int]) -> list[int]:
    padded = [*stored, *[0] * (len(present) - len(stored))]
    return [max(pair) for pair in zip(present, padded, strict=False)]


def _upsert(rows: list[CacheStat], using: str) -> None:
    CacheStat.objects.using(using).bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=("alias", "prefix", "hour") if _names_target(using) else None,
        update_fields=UPDATED,
    )


def _names_target(using: str) -> bool:
    """Whether an upsert names its constraint; MySQL's does not, and means the table's only one."""
    return bool(connections[using].features.supports_update_conflicts_with_target)
