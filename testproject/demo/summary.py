"""What a run of the demo came to: figures for people, and the promises it must have kept."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from statistics import quantiles
from typing import cast

from django.conf import settings
from django.core.cache import caches
from django.db import connections

from django_callcache.cache import CallCache
from django_callcache.doctor import diagnose, examine
from django_callcache.models import CacheHour
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.outbox.stat_buckets import StatBuckets
from django_callcache.stats.collect import collect_hour
from django_callcache.stats.hours import counted_hours
from django_callcache.stats.series import Totals
from testproject.demo.player import Record, Tally
from testproject.demo.ttls import ttl_figures

ALIAS = "default"
REMOTE = "supabase"
HIT_RATIO = 0.8
"""Share of gets that must be hits."""
DIFFERENCES_SHOWN = 5
WELL = "nothing is wrong"


@dataclass(frozen=True, slots=True)
class Promise:
    """Something that must hold at the end."""

    text: str
    kept: bool
    finding: str
    """What was found instead, for the case that it does not hold."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of the story."""

    figures: Mapping[str, str]
    promises: tuple[Promise, ...]

    @property
    def all_kept(self) -> bool:
        """Whether every promise holds."""
        return all(promise.kept for promise in self.promises)

    def lines(self) -> Iterable[str]:
        """Yield the summary as a table."""
        width = max(map(len, self.figures))
        for name, value in self.figures.items():
            yield f"  {name:<{width}}  {value}"
        yield ""
        for promise in self.promises:
            yield f"  {'kept  ' if promise.kept else 'BROKEN'}  {promise.text}"
            if not promise.kept:
                yield f"          {promise.finding}"


def wait_until_outbox_is_empty(seconds: float) -> int:
    """Wait for the sync loop to push what is left; return how many keys still wait."""
    outbox = _outbox()
    deadline = time.monotonic() + seconds
    while (depth := outbox.depth()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return depth


def summarise(tally: Tally) -> Summary:
    """Count, compare and judge, when the site has handed its counts over and the outbox had time to drain."""
    totals = _totals()
    waiting = _outbox().depth()
    remote = _remote_records()
    differences = compare(tally.written, remote)
    ratio = totals.hit_ratio
    return Summary(
        figures=_figures(tally, totals, rows=len(remote), waiting=waiting),
        promises=(
            Promise("no request failed", tally.errors == 0, "; ".join(tally.problems)),
            Promise(
                f"the hit ratio is above {HIT_RATIO}",
                ratio is not None and ratio > HIT_RATIO,
                f"it is {_share(ratio)}",
            ),
            Promise("the outbox is empty", waiting == 0, f"{waiting:,} keys wait"),
            Promise(
                f"all {len(tally.written):,} records that the site wrote are in the remote store, equal",
                bool(tally.written) and not differences,
                f"{len(differences):,} are not: " + "; ".join(differences[:DIFFERENCES_SHOWN]),
            ),
        ),
    )


def compare(written: Mapping[str, Record], remote: Mapping[str, Record]) -> list[str]:
    """Say of each record that the remote store does not have as it was written."""
    found = []
    for key, record in written.items():
        if key not in remote:
            found.append(f"{key} is missing")
        elif remote[key] != record:
            found.append(f"{key} is {remote[key]}, written was {record}")
    return found


def _figures(tally: Tally, totals: Totals, *, rows: int, waiting: int) -> dict[str, str]:
    kinds = _count_kinds(tally.written)
    return {
        "calls played": f"{tally.calls:,} in {tally.seconds:.1f} s",
        "requests": f"{tally.requests:,}, {tally.requests / max(tally.seconds, 0.001):,.0f} a second",
        "errors": f"{tally.errors:,}",
        "time of a request": _times(tally.latencies),
        "gets": (
            f"{totals.gets:,}: {totals.hits:,} hits in Redis, {totals.near_hits:,} near, "
            f"{totals.misses:,} misses"
        ),
        "hit ratio": _share(totals.hit_ratio),
        **ttl_figures(_cache(), tally.written),
        "records written": ", ".join(f"{kind}: {count:,}" for kind, count in kinds.items()) or "none",
        "rows in the remote store": f"{rows:,}",
        "keys in the outbox": f"{waiting:,}",
        "the doctor says": _doctor(),
    }


def _doctor() -> str:
    findings = diagnose(examine(_cache()))
    return "; ".join(f"{each.name}: {each.cause}" for each in findings) or WELL


def _totals() -> Totals:
    """Bring the statistics of every minute into their rows, the current one's too, and add the rows up."""
    cache = _cache()
    buckets = StatBuckets(cache.redis_client(), cache.redis_keys)
    for hour, minutes in groupby(buckets.minutes(), key=lambda minute: minute // 60):
        collect_hour(buckets, ALIAS, hour, list(minutes), drop=False)
    hours = counted_hours(CacheHour.objects.for_alias(ALIAS))
    return sum((totals for _, totals in hours), Totals())


def _cache() -> CallCache:
    return cast("CallCache", caches[ALIAS])


def _outbox() -> DirtyEntries:
    cache = _cache()
    return DirtyEntries(cache.redis_client(), cache.redis_keys)


def _remote_records() -> dict[str, Record]:
    """Return what the remote store holds for this site, by the caller's key.

    The records hold nothing that JSON cannot, so all of them travel as JSON, for SQL to read.
    """
    with connections[REMOTE].cursor() as cursor:
        cursor.execute(
            "SELECT key, value::text FROM callcache_entries"
            " WHERE namespace = %s AND codec = 'json' AND deleted_at IS NULL",
            [settings.CALLCACHE["SYNC"]["NAMESPACE"]],
        )
        # The remote key is Django's key version, a colon and the caller's key.
        return {key.partition(":")[2]: json.loads(value) for key, value in cursor.fetchall()}


def _count_kinds(keys: Iterable[str]) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for key in keys:
        kind = key.partition(":")[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def _times(latencies: list[float]) -> str:
    if len(latencies) < 2:
        return "-"
    percentiles = quantiles(latencies, n=100)
    return f"median {percentiles[49] * 1000:.1f} ms, 99 % within {percentiles[98] * 1000:.0f} ms"


def _share(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3f}"
