"""A look at a cache: what the alert rules judge by, gathered from Redis and the database.

The loop looks every ``ALERTS["INTERVAL"]`` seconds, whoever holds its lease, and also while Redis is down.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Sequence

from django.db import DatabaseError, models

from django_callcache.alerts.ledger import deliver_late, judge
from django_callcache.cache import CallCache
from django_callcache.conf import Settings, get_settings
from django_callcache.live import FAULTS, LiveFacts, is_synced, look
from django_callcache.models import CacheHour, SyncRun
from django_callcache.outbox.processes import flat_pairs
from django_callcache.outbox.stat_buckets import LATENCY_SLOTS
from django_callcache.stats.hours import counted_hours
from django_callcache.stats.samples import note
from django_callcache.stats.series import Totals, percentile

logger = logging.getLogger(__name__)

HOUR_MINUTES = 60

Values = dict[str, float | None]


class Watch:
    """The looks at one cache.

    Args:
        cache: Returns the backend of the running thread.
        clock: Unix seconds.
    """

    def __init__(self, cache: Callable[[], CallCache], clock: Callable[[], float] = time.time) -> None:
        self._cache = cache
        self._clock = clock
        self._next_at = 0.0
        self._evicted: tuple[float, int] | None = None
        self._found: int | None = None

    def look_if_due(self) -> None:
        """Look, unless it was done a moment ago. No failure gets out: the loop goes on."""
        settings = get_settings().alerts
        now = self._clock()
        if not settings.enabled or now < self._next_at:
            return
        self._next_at = now + settings.interval
        try:
            self.look()
        except DatabaseError as error:
            logger.warning("alias=%s alerts=unknown error=%s", self._cache().alias, type(error).__name__)
        except Exception:
            logger.exception("alias=%s alerts=failed", self._cache().alias)

    def look_soon(self) -> None:
        """Look at the next opportunity: something has gone wrong of which somebody may want to hear."""
        self._next_at = 0.0

    def look(self) -> Values:
        """Gather the signals, judge them, tell what has changed; return the signals."""
        settings = get_settings()
        cache = self._cache()
        live = look(cache)
        values = self.signals(cache, live, settings)
        now = self._clock()
        judge(cache.alias, settings.alerts, values, now)
        sample(cache, live)
        deliver_late(settings.alerts, now)
        return values

    def signals(self, cache: CallCache, live: LiveFacts, settings: Settings) -> Values:
        """Return what the rules look at, by signal; one that is missing cannot be known now."""
        if not live.is_reachable:
            return {"redis_down": 1.0}
        values: Values = {
            "redis_down": 0.0,
            "degraded": float(any(each.is_degraded for each in live.processes)),
            "near_lag_seconds": max((each.lag_seconds or 0.0 for each in live.processes), default=None),
            "memory_share": (live.used_memory or 0) / live.max_memory if live.max_memory else None,
            "stats_age_seconds": late(live, live.totals.get("collected_at"), settings.sync.interval),
        }
        values["memory_unexpected"] = float(bool(live.surprises(cache.options)))
        values["inconsistent"] = self._inconsistent(live)
        values |= self._evictions(live)
        try:
            values |= traffic(cache, live, settings)
        except FAULTS as fault:
            logger.debug("alias=%s traffic=unknown error=%s", cache.alias, type(fault).__name__)
        return values | (sync_signals(cache, live, settings) if is_synced(cache) else {})

    def _inconsistent(self, live: LiveFacts) -> float:
        """Copies found inconsistent since the last look; totals begin anew where Redis has lost them."""
        before, self._found = self._found, live.totals.get("near_inconsistent", 0)
        return float(max(self._found - before, 0)) if before is not None else 0.0

    def _evictions(self, live: LiveFacts) -> Values:
        before, self._evicted = self._evicted, (live.now, live.evicted_keys)
        if before is None or live.now <= before[0] or live.evicted_keys < before[1]:
            return {}
        return {"evictions_per_second": (live.evicted_keys - before[1]) / (live.now - before[0])}


def sample(cache: CallCache, live: LiveFacts) -> None:
    """Keep what a look has seen, for the charts; where Redis did not answer there is nothing to keep."""
    if not live.is_reachable:
        return
    waited = None if live.backlog is None else max(live.now - (live.oldest_at or live.now), 0.0)
    note(
        cache.alias,
        live.now,
        backlog=live.backlog,
        oldest_seconds=waited,
        used_memory=live.used_memory,
        keys=live.keys,
    )


def late(live: LiveFacts, moment: float | None, interval: float) -> float | None:
    """Return how many seconds ago a moment was, beyond the loop's own pause; None where it never was."""
    return None if moment is None else max(live.now - moment - interval, 0.0)


def traffic(cache: CallCache, live: LiveFacts, settings: Settings) -> Values:
    """Return what the reads of the last minutes say, as far as there are enough of them."""
    alerts = settings.alerts
    minutes = whole_minutes(cache, live.now, max(alerts.window, HOUR_MINUTES))
    recent = added(minutes[-alerts.window :])
    totals = Totals.of(recent)
    calls = totals.gets + totals.errors
    is_busy = totals.gets >= alerts.min_reads and totals.gets > 0
    slots = [recent.get(f"r{slot}", 0) for slot in range(LATENCY_SLOTS)]
    return {
        "hit_ratio": totals.hit_ratio if is_busy else None,
        "read_p99_seconds": percentile(slots, 0.99) if is_busy else None,
        "error_ratio": totals.errors / calls if calls >= alerts.min_reads and calls else None,
        "hit_ratio_change": _change(cache, live, Totals.of(added(minutes)), alerts.min_reads),
    }


def whole_minutes(cache: CallCache, now: float, number: int) -> list[dict[str, int]]:
    """Return the counts of the last minutes that are over, all prefixes together, the oldest first."""
    last = int(now) // 60
    names = [cache.redis_keys.stat_whole(minute) for minute in range(last - number, last)]
    replies = cache.ask_redis(*(("HGETALL", name) for name in names))
    return [
        {name.decode(): int(amount) for name, amount in flat_pairs(reply).items()}
        for reply in replies
        if isinstance(reply, list)
    ]


def added(minutes: Sequence[dict[str, int]]) -> dict[str, int]:
    """Return the sums of some minutes."""
    sums: dict[str, int] = {}
    for counts in minutes:
        for name, amount in counts.items():
            sums[name] = sums.get(name, 0) + amount
    return sums


def sync_signals(cache: CallCache, live: LiveFacts, settings: Settings) -> Values:
    """Return what there is to know of the sync; of passes only where there is a remote store."""
    sync = settings.sync
    values: Values = {
        "outbox_age_seconds": None if not live.backlog else late(live, live.oldest_at, sync.interval),
        "outbox_share": live.backlog_share(sync),
        "durability_at_risk": float(live.may_lose_writes),
    }
    since = live.totals.get("synced_at") or live.oldest_at
    values["sync_age_seconds"] = late(live, since, sync.interval) if live.backlog and sync.remote else None
    values["redis_emptied"] = float(live.is_paused)
    values["sync_refused"] = float(live.totals.get("refused", 0))
    hour_ago = datetime.datetime.fromtimestamp(live.now, datetime.UTC) - datetime.timedelta(hours=1)
    runs = SyncRun.objects.for_alias(cache.alias).since(hour_ago)
    values["rejected"] = float(runs.aggregate(total=models.Sum("rejected"))["total"] or 0)
    return values


def _change(cache: CallCache, live: LiveFacts, present: Totals, min_reads: float) -> float | None:
    """The hit ratio of the last hour to that of the same hour of last week."""
    hour = datetime.datetime.fromtimestamp(live.now // 3600 * 3600, datetime.UTC)
    rows = CacheHour.objects.for_alias(cache.alias).filter(hour=hour - datetime.timedelta(weeks=1))
    then = sum((totals for _, totals in counted_hours(rows)), Totals())
    if min(present.gets, then.gets) < max(min_reads, 1) or not then.hit_ratio:
        return None
    return (present.hit_ratio or 0.0) / then.hit_ratio
