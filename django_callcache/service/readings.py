"""What `CacheService` reads from Redis and the database: figures, records, what waits for sync.

Everything here blocks, so it runs in a thread. Figures never fail for want of a server.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

from django.db import DatabaseError
from redis.exceptions import RedisError

from django_callcache.cache import CallCache
from django_callcache.exceptions import CallCacheError
from django_callcache.models import CacheHour, CacheStat, SyncRun
from django_callcache.outbox.stat_buckets import StatBuckets
from django_callcache.service.access import HOTTEST
from django_callcache.stats.hours import counted_hours
from django_callcache.stats.series import Totals
from django_callcache.sync.leader import Heartbeat
from django_callcache.ttl.profile import HOUR

logger = logging.getLogger(__name__)

REDIS_FAULTS = (RedisError, CallCacheError, OSError)
"""What a Redis that is down, refuses or was stopped in the middle raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMetrics:
    """How a cache does, over all its processes."""

    hit_count: int
    """Reads that found a value, as far back as hourly statistics are kept."""
    miss_count: int
    """Reads that found none."""
    hit_rate: float
    """Share of reads that found a value, 0 to 1; 0 where nothing was read."""
    memory_usage_bytes: int | None
    """Memory that the Redis server uses, other databases and applications included; None while it does
    not answer."""
    keys_count: int | None
    """Keys of this cache; None while Redis does not answer."""
    last_sync: datetime | None
    """End of the last sync pass that was not a failure; None where there was none."""


def read_totals(cache: CallCache) -> Totals:
    """Add up everything that was counted: hourly rows, and what Redis holds of the hours since.

    An hour may be in both; the larger one knows more, since rows only hold minutes that are over.
    """
    by_hour: dict[int, Totals] = defaultdict(Totals)
    try:
        cache.flush_stats()
        buckets = StatBuckets(cache.redis_client(), cache.redis_keys)
        for minute, prefixes in buckets.read_each(buckets.minutes()):
            for counts in prefixes.values():
                by_hour[minute * 60 // HOUR] += Totals.of(counts)
    except REDIS_FAULTS as fault:
        logger.warning("alias=%s counts=incomplete error=%s", cache.alias, type(fault).__name__)
    try:
        for moment, totals in counted_hours(CacheHour.objects.for_alias(cache.alias)):
            hour = round(moment.timestamp()) // HOUR
            by_hour[hour] = max(by_hour[hour], totals, key=lambda known: known.gets)
    except DatabaseError as error:
        logger.warning("alias=%s counts=incomplete error=%s", cache.alias, type(error).__name__)
    return sum(by_hour.values(), Totals())


def read_memory(cache: CallCache) -> int | None:
    """The bytes that the Redis server uses."""
    try:
        return int(cache.redis_client().info("memory")["used_memory"])
    except REDIS_FAULTS as fault:
        logger.warning("alias=%s memory=unknown error=%s", cache.alias, type(fault).__name__)
        return None


def read_last_sync(cache: CallCache) -> datetime | None:
    """When the last pass ended that got something done; without its row, by the loop's last sign of life."""
    runs = SyncRun.objects.for_alias(cache.alias).exclude(outcome=SyncRun.Outcome.FAILED)
    try:
        last: SyncRun | None = runs.order_by("-started_at", "-pk").first()
        if last is not None:
            return last.started_at + timedelta(seconds=last.duration_seconds)
    except DatabaseError as error:
        logger.warning("alias=%s sync_runs=unknown error=%s", cache.alias, type(error).__name__)
    try:
        heartbeat = Heartbeat.read(cache.redis_client(), cache.redis_keys)
    except REDIS_FAULTS:
        return None
    if heartbeat is None or heartbeat.outcome not in (SyncRun.Outcome.OK, SyncRun.Outcome.PARTIAL):
        return None
    return datetime.fromtimestamp(heartbeat.passed_at, UTC)


def read_profile(cache: CallCache) -> dict[int, int]:
    """Reads of all processes by UTC hour since the epoch."""
    return StatBuckets(cache.redis_client(), cache.redis_keys).profile()


def read_rankings(cache: CallCache, since: datetime) -> dict[int, list[tuple[str, int]]]:
    """The most read keys of all processes with their reads, by UTC hour since the epoch, from a moment on."""
    rankings: dict[int, list[tuple[str, int]]] = defaultdict(list)
    try:
        rows = CacheStat.objects.for_alias(cache.alias).since(since).values_list("hour", "hot_keys")
        for moment, ranking in rows.iterator():
            rankings[round(moment.timestamp()) // HOUR] += [(key, reads) for key, reads in ranking]
    except DatabaseError as error:
        logger.warning("alias=%s hot_keys=incomplete error=%s", cache.alias, type(error).__name__)
    buckets = StatBuckets(cache.redis_client(), cache.redis_keys)
    prefixes_by_hour: dict[int, set[str]] = defaultdict(set)
    for minute, counts in buckets.read_each(buckets.minutes()):
        prefixes_by_hour[minute * 60 // HOUR].update(counts)
    for hour, prefixes in prefixes_by_hour.items():
        for ranking in buckets.hot_keys(hour, sorted(prefixes), HOTTEST).values():
            rankings[hour] += ranking
    return rankings


def read_waiting_keys(cache: CallCache, limit: int) -> list[str]:
    """The keys in the outbox, as their writers spelt them, the one due first first."""
    client: Any = cache.redis_client()
    waiting: list[tuple[bytes, float]] = []
    for bucket in cache.redis_keys.outboxes():
        waiting += client.zrange(bucket.due, 0, limit - 1, withscores=True)
    waiting.sort(key=itemgetter(1))
    return [cache.caller_key(redis_key) for redis_key, _ in waiting[:limit]]
