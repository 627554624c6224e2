"""Prometheus: the figures of all processes as metric families, read when they are asked for.

Nothing here is called by a cache call. Counters are the totals that processes take to Redis every few
seconds, so each worker answers a scrape with the same series, and a worker that ends takes none along.
What one process has of its own, it reports to Redis too: sizes are summed over the processes that live.

The only module that imports prometheus_client and django_prometheus.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import accumulate, pairwise
from math import sqrt

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from django_callcache import __version__
from django_callcache.cache import CallCache
from django_callcache.cache.flusher import counted_for
from django_callcache.cache.runtime import Runtime
from django_callcache.conf import get_settings
from django_callcache.live import FAULTS, LiveFacts, is_synced, look
from django_callcache.maintenance import cache_of, own_aliases
from django_callcache.outbox.stat_buckets import LATENCY_SLOTS, TTL_BANDS, TTL_BOUNDS

OPERATIONS = {
    "hits": ("get", "hit"),
    "near_hits": ("get", "near_hit"),
    "misses": ("get", "miss"),
    "sets": ("set", "ok"),
    "deletes": ("delete", "ok"),
}
"""Counts by operation and result."""

COUNTERS = (
    ("errors", "callcache_errors", "Calls that Redis did not answer in time or refused."),
    ("undecodable", "callcache_undecodable", "Values that could not be verified or decoded: misses."),
    ("near_evictions", "callcache_near_evictions", "Near copies dropped for want of room."),
    ("near_invalidations", "callcache_near_invalidations", "Changes that processes heard of."),
    ("near_checked", "callcache_near_checked", "Copies that were compared with Redis."),
    ("near_inconsistent", "callcache_inconsistent", "Copies served longer than they may be."),
)
SYNC_COUNTERS = (
    ("pushed", "callcache_sync_pushed", "Entries pushed to the remote store."),
    ("conflicts", "callcache_sync_conflicts", "Entries that the remote store had changed too."),
    ("rejected", "callcache_sync_rejected", "Entries that the remote store refused for their data."),
)
OUTCOMES = ("ok", "partial", "failed")

FIRST_BUCKET, LAST_BUCKET = 15, 32
"""Powers of two, in nanoseconds: from 33 microseconds to 4.3 seconds."""

FIRST_SLOT_POWER = 10
"""The first latency slot ends at this power of two, in nanoseconds."""

Gauge = tuple[str, str, Callable[[LiveFacts], float | None]]

GAUGES: tuple[Gauge, ...] = (
    ("callcache_processes", "Processes that use the cache.", lambda live: len(live.processes)),
    (
        "callcache_near_entries",
        "Copies that processes keep.",
        lambda live: sum(each.near_entries for each in live.processes),
    ),
    (
        "callcache_near_bytes",
        "Bytes of the copies that processes keep.",
        lambda live: sum(each.near_bytes for each in live.processes),
    ),
    (
        "callcache_invalidation_lag_seconds",
        "Seconds since Redis last confirmed to the slowest process that no copy is out of date.",
        lambda live: max((each.lag_seconds or 0.0 for each in live.processes), default=0.0),
    ),
    (
        "callcache_ttl_paused",
        "Whether people have paused the policies that adapt TTLs (1) or not (0).",
        lambda live: float(live.overrides.pause is not None),
    ),
    ("callcache_redis_memory_used_bytes", "Memory that Redis uses.", lambda live: live.used_memory),
    ("callcache_redis_memory_max_bytes", "Redis's memory limit; 0: none.", lambda live: live.max_memory),
    ("callcache_redis_keys", "Keys in the cache's Redis database.", lambda live: live.keys),
    (
        "callcache_stats_last_bucket_timestamp_seconds",
        "Beginning of the last minute that has counts.",
        lambda live: None if live.last_minute is None else live.last_minute * 60,
    ),
    (
        "callcache_stats_collected_timestamp_seconds",
        "When the loop last turned counts into rows.",
        lambda live: live.totals.get("collected_at"),
    ),
    (
        "callcache_loop_alive_timestamp_seconds",
        "Last sign of life of the loop.",
        lambda live: None if live.heartbeat is None else live.heartbeat.alive_at,
    ),
)
SYNC_GAUGES: tuple[Gauge, ...] = (
    ("callcache_outbox_entries", "Entries that wait for the remote store.", lambda live: live.backlog),
    ("callcache_outbox_bytes", "Bytes that wait for the remote store.", lambda live: live.backlog_bytes),
    (
        "callcache_outbox_share",
        "Part of the outbox's bounds that is taken; at 1 new keys are refused.",
        lambda live: live.backlog_share(get_settings().sync),
    ),
    (
        "callcache_outbox_oldest_age_seconds",
        "How long the entry has waited that waits longest.",
        lambda live: 0.0 if live.oldest_at is None else max(live.now - live.oldest_at, 0.0),
    ),
    (
        "callcache_sync_last_success_timestamp_seconds",
        "End of the last sync pass that did not fail.",
        lambda live: live.totals.get("synced_at"),
    ),
    (
        "callcache_sync_paused",
        "Whether nothing is pushed since Redis has lost what it held (1) or not (0).",
        lambda live: float(live.is_paused),
    ),
    (
        "callcache_sync_refused",
        "Whether the remote store refused us in the last pass (1) or not (0).",
        lambda live: live.totals.get("refused", 0),
    ),
    (
        "callcache_durability_at_risk",
        "Whether Redis would lose entries that wait, with memory or power (1) or not (0).",
        lambda live: float(live.may_lose_writes),
    ),
)


class CallCacheCollector(Collector):
    """The families of every cache of ours, in ``CACHES``."""

    def collect(self) -> Iterator[Metric]:
        """Yield the families, one round trip a cache."""
        yield _info()
        caches = [cache_of(alias) for alias in own_aliases()]
        looks = [(cache, _fresh_look(cache)) for cache in caches]
        yield from _reachability(looks)
        answered = [(cache.alias, live) for cache, live in looks if live.is_reachable]
        synced = [(cache.alias, live) for cache, live in looks if live.is_reachable and is_synced(cache)]
        yield _surprises((cache, live) for cache, live in looks if live.is_reachable)
        yield from _operations(answered)
        yield _lifetimes(answered)
        yield from _counters(COUNTERS, answered)
        yield from _gauges(GAUGES, answered)
        evicted = CounterMetricFamily(
            "callcache_redis_evicted_keys", "Keys that Redis has evicted.", labels=["alias"]
        )
        for alias, live in answered:
            evicted.add_metric([alias], live.evicted_keys)
        yield evicted
        yield from _staleness(answered)
        yield _pins(answered)
        yield from _counters(SYNC_COUNTERS, synced)
        yield from _passes(synced)
        yield from _gauges(SYNC_GAUGES, synced)
        yield _ttls(caches)

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry would ask Redis for it when the collector is registered."""
        return ()


def exposition(accept: str) -> tuple[bytes, str]:
    """Return the page that Prometheus scrapes, and its content type.

    Where prometheus_client works in its multi-process mode, what the site's other metrics wrote is
    joined, dead workers' included.

    Args:
        accept: The request's header of that name.
    """
    registry = CollectorRegistry()
    registry.register(CallCacheCollector())
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class DjangoPrometheusFeed:
    """Adds what this process counts to the counters of django-prometheus, as if it had wrapped the cache."""

    BACKEND = "callcache"

    def __init__(self) -> None:
        from django_prometheus.cache import metrics  # optional, and only where it is installed

        self._counters = (
            (metrics.django_cache_get_total, ("hits", "near_hits", "misses")),
            (metrics.django_cache_hits_total, ("hits", "near_hits")),
            (metrics.django_cache_misses_total, ("misses",)),
            (metrics.django_cache_get_fail_total, ("errors",)),
        )
        self.forget()

    def forget(self) -> None:
        """Start anew in a forked child: what its parent counted, its parent tells."""
        self._lock = threading.Lock()
        self._told: weakref.WeakKeyDictionary[Runtime, dict[str, int]] = weakref.WeakKeyDictionary()

    def tell(self, runtime: Runtime) -> None:
        """Add what a cache of this process has counted since the last time."""
        with self._lock:
            counted: dict[str, int] = {}
            for counts in runtime.counted().values():
                for name, amount in counts.items():
                    counted[name] = counted.get(name, 0) + amount
            told = self._told.get(runtime, {})
            self._told[runtime] = counted
        for counter, names in self._counters:
            grown = sum(counted.get(name, 0) - told.get(name, 0) for name in names)
            if grown > 0:
                counter.labels(backend=self.BACKEND).inc(grown)


def join_django_prometheus() -> None:
    """Put our families on django-prometheus's page, and feed the cache counters that it has.

    In prometheus_client's multi-process mode its page shows no collector but that mode's own: the
    counters are on it, our families are on our own page alone.
    """
    feed = DjangoPrometheusFeed()
    counted_for.append(feed.tell)
    os.register_at_fork(after_in_child=feed.forget)
    prometheus_client.REGISTRY.register(CallCacheCollector())


def _fresh_look(cache: CallCache) -> LiveFacts:
    """A look after this process's own counts have arrived."""
    with suppress(*FAULTS):  # the look will tell
        cache.flush_stats()
    return look(cache)


def _info() -> Metric:
    family = GaugeMetricFamily("callcache_info", "Where these figures come from.", labels=["version"])
    family.add_metric([__version__], 1)
    return family


def _reachability(looks: Iterable[tuple[CallCache, LiveFacts]]) -> Iterator[Metric]:
    up = GaugeMetricFamily("callcache_redis_up", "Whether Redis answers (1) or not (0).", labels=["alias"])
    degraded = GaugeMetricFamily(
        "callcache_degraded", "Whether a process has given Redis up for now (1) or not (0).", labels=["alias"]
    )
    for cache, live in looks:
        up.add_metric([cache.alias], float(live.is_reachable))
        given_up = cache.condition.is_degraded or any(each.is_degraded for each in live.processes)
        degraded.add_metric([cache.alias], float(given_up or not live.is_reachable))
    yield from (up, degraded)


def _surprises(answered: Iterable[tuple[CallCache, LiveFacts]]) -> Metric:
    family = GaugeMetricFamily(
        "callcache_redis_memory_unexpected",
        "Whether Redis's memory limit or eviction policy is not as expected (1) or is (0).",
        labels=["alias"],
    )
    for cache, live in answered:
        family.add_metric([cache.alias], float(bool(live.surprises(cache.options))))
    return family


def _operations(answered: Iterable[tuple[str, LiveFacts]]) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        "callcache_operations", "Cache calls, a key each.", labels=["alias", "operation", "result"]
    )
    durations = HistogramMetricFamily(
        "callcache_operation_duration_seconds",
        "Time of calls that reached Redis; the sum is estimated from the buckets.",
        labels=["alias", "operation"],
    )
    for alias, live in answered:
        for name, (operation, result) in OPERATIONS.items():
            calls.add_metric([alias, operation, result], live.totals.get(name, 0))
        for operation, letter in (("read", "r"), ("write", "w")):
            slots = [live.totals.get(f"{letter}{slot}", 0) for slot in range(LATENCY_SLOTS)]
            durations.add_metric([alias, operation], buckets_of(slots), estimated_sum(slots))
    yield from (calls, durations)


def _lifetimes(answered: Iterable[tuple[str, LiveFacts]]) -> Metric:
    """What entries were given to live when they were written; those for ever are in the last bucket alone."""
    family = HistogramMetricFamily(
        "callcache_ttl_seconds",
        "Time that written entries were given to live; the sum is estimated, without those for ever.",
        labels=["alias"],
    )
    for alias, live in answered:
        bands = [live.totals.get(f"t{band}", 0) for band in range(TTL_BANDS)]
        bounds = [*(repr(float(bound)) for bound in TTL_BOUNDS), "+Inf", "+Inf"]
        passed = dict(zip(bounds, accumulate(bands), strict=True))
        middles = [0.5, *(sqrt(low * high) for low, high in pairwise(TTL_BOUNDS)), TTL_BOUNDS[-1]]
        total = sum(entries * middle for entries, middle in zip(bands, middles, strict=False))
        family.add_metric([alias], [(bound, float(entries)) for bound, entries in passed.items()], total)
    return family


def buckets_of(slots: list[int]) -> list[tuple[str, float]]:
    """Return cumulative buckets as Prometheus has them, of calls by latency slot."""
    passed = 0.0
    buckets = []
    for slot, calls in enumerate(slots):
        passed += calls
        power = FIRST_SLOT_POWER + slot
        if FIRST_BUCKET <= power <= LAST_BUCKET:
            buckets.append((repr(2**power / 1e9), passed))
    return [*buckets, ("+Inf", passed)]


def estimated_sum(slots: list[int]) -> float:
    """Return about how many seconds the calls took: each counts as its slot's geometric middle.

    Slots double, so the estimate is within a factor of 1.42 of the truth.
    """
    return sum(calls * 2 ** (FIRST_SLOT_POWER + slot - 0.5) / 1e9 for slot, calls in enumerate(slots))


def _counters(
    counters: Iterable[tuple[str, str, str]], answered: Iterable[tuple[str, LiveFacts]]
) -> Iterator[Metric]:
    for total, name, text in counters:
        family = CounterMetricFamily(name, text, labels=["alias"])
        for alias, live in answered:
            family.add_metric([alias], live.totals.get(total, 0))
        yield family


def _passes(synced: Iterable[tuple[str, LiveFacts]]) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "callcache_sync_passes", "Sync passes by how they ended.", labels=["alias", "outcome"]
    )
    for alias, live in synced:
        for outcome in OUTCOMES:
            family.add_metric([alias, outcome], live.totals.get(f"passes_{outcome}", 0))
    yield family


def _staleness(answered: Iterable[tuple[str, LiveFacts]]) -> Iterator[Metric]:
    ratio = GaugeMetricFamily(
        "callcache_stale_hit_ratio",
        "Measured: the share of stale hits among about the last 500 that were compared with their origin.",
        labels=["alias", "prefix"],
    )
    checked = CounterMetricFamily(
        "callcache_checked_hits",
        "Hits that were compared with their origin, by what was found.",
        labels=["alias", "prefix", "result"],
    )
    for alias, live in answered:
        for prefix, known in live.staleness.items():
            if known.ratio is not None:
                ratio.add_metric([alias, prefix], known.ratio)
            checked.add_metric([alias, prefix, "fresh"], known.fresh_count)
            checked.add_metric([alias, prefix, "stale"], known.stale_count)
            checked.add_metric([alias, prefix, "unclear"], known.unclear_count)
    yield from (ratio, checked)


def _pins(answered: Iterable[tuple[str, LiveFacts]]) -> Metric:
    family = GaugeMetricFamily(
        "callcache_pinned_ttl_seconds",
        "What people have pinned the entries of a prefix to; none where it is not pinned.",
        labels=["alias", "prefix"],
    )
    for alias, live in answered:
        for prefix, pin in live.overrides.pins.items():
            family.add_metric([alias, prefix], pin.ttl_seconds)
    return family


def _gauges(gauges: Iterable[Gauge], answered: Iterable[tuple[str, LiveFacts]]) -> Iterator[Metric]:
    for name, text, read in gauges:
        family = GaugeMetricFamily(name, text, labels=["alias"])
        for alias, live in answered:
            value = read(live)
            if value is not None:
                family.add_metric([alias], value)
        yield family


def _ttls(caches: Iterable[CallCache]) -> Metric:
    family = GaugeMetricFamily(
        "callcache_policy_ttl_seconds",
        "What an entry written now without a timeout would live, for prefixes with a rule.",
        labels=["alias", "prefix"],
    )
    for cache in caches:
        for rule in cache.options.rules:
            ttl = cache.explain_ttl(rule.prefix).ttl_seconds
            family.add_metric([cache.alias, rule.prefix], float("inf") if ttl is None else ttl)
    return family
