"""`CacheService`: what the rest of an asynchronous application talks to."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from django_callcache.cache import CallCache
from django_callcache.conf import get_settings
from django_callcache.exceptions import SyncError
from django_callcache.maintenance import Report, cache_of, run_once
from django_callcache.replication import requests
from django_callcache.service.access import (
    DAYS_BACK,
    HourlyAccess,
    forget_old,
    hot_keys_of,
    merge,
    profile_of,
    record_of,
)
from django_callcache.service.readings import (
    REDIS_FAULTS,
    CacheMetrics,
    read_last_sync,
    read_memory,
    read_profile,
    read_rankings,
    read_totals,
    read_waiting_keys,
)
from django_callcache.service.threads import in_thread
from django_callcache.sync.leader import Heartbeat
from django_callcache.ttl import HourlyProfile, Observation, PeakHour
from django_callcache.watch import Watch

logger = logging.getLogger(__name__)


class _LeftOut(int):
    """An argument that the caller left out; it shows as the number it usually stands for."""


FIRST_RETRY_SECONDS = 10.0
"""Pause after a pass that failed; it doubles with each failure in a row."""

LONGEST_RETRY_SECONDS = 300.0

BUSY_SECONDS = 0.5
"""Longest time between two tries to begin a pass while somebody else is at one."""

BEAT_SECONDS = 10.0
"""Longest time between two signs of life."""

FINAL_AFTER = timedelta(hours=3)
"""How long after its beginning an hour's row no longer changes, its hottest keys included."""


class CacheService:
    """A cache, its sync with the remote store and its figures, for asynchronous code.

        service = CacheService()
        await service.start_sync()
        await service.set("campaign:7", {"name": "May"})
        await service.get("campaign:7")
        await service.stop_sync()

    Or ``async with CacheService() as service``, or `django_callcache.asgi.lifespan` around an ASGI
    application. Any number of objects may run in any number of processes: a lease in Redis lets one
    sync loop work at a time. Reads and writes go through the backend's own asynchronous methods; what
    blocks, a sync pass above all, runs in a thread.

    Args:
        sync_interval: Seconds between two sync passes. Left out, ``CALLCACHE["SYNC"]["INTERVAL"]`` holds.
        alias: Key in ``CACHES``.
        clock: Unix seconds.
    """

    def __init__(
        self,
        sync_interval: int = _LeftOut(300),
        *,
        alias: str = "default",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not sync_interval > 0:
            raise ValueError(f"sync_interval is {sync_interval!r}: give seconds above 0.")
        configured = get_settings()
        ttl = configured.ttl
        self.alias = alias
        is_left_out = isinstance(sync_interval, _LeftOut)
        self.sync_interval: float = _plain(configured.sync.interval) if is_left_out else sync_interval
        """Seconds between two sync passes; a change holds from the next pause on."""
        self.sync_task: asyncio.Task[None] | None = None
        """The sync loop, once it has been started."""
        self._running = False
        self.settings: dict[str, float] = {
            "USAGE_THRESHOLD": _plain(ttl.usage_threshold),
            "DEFAULT_TTL": _plain(ttl.default_ttl),
            "PEAK_TTL": _plain(ttl.peak_ttl),
            "DEFAULT_CACHE_SIZE": ttl.default_cache_size,
            "PEAK_CACHE_SIZE": ttl.peak_cache_size,
        }
        """What this object decides by: at first ``CALLCACHE["TTL"]``; an entry changed here holds for
        this object from then on."""
        self.hourly_access_stats: list[HourlyAccess] = []
        """Reads by hour of the last seven days and today: a dict an hour, with ``hour`` (0 to 23, in
        ``CALLCACHE["TTL"]["TIME_ZONE"]``), ``count``, ``keys`` (the hottest ones) and ``date``. It holds
        what this object has read itself, and what all processes have, as heard once a minute."""
        self._policy = PeakHour(ttl.parameters)
        self._zone = self._policy.zone
        self._clock = clock
        self._heard = HourlyProfile()
        self._heartbeat = Heartbeat.of_this_process()
        self._watch = Watch(lambda: cache_of(alias))
        self._rankings_since = self._local_time() - timedelta(days=DAYS_BACK + 1)

    async def __aenter__(self) -> Self:
        await self.start_sync()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop_sync()

    async def get(self, key: str) -> Any:
        """Return the value at a key, None where there is none."""
        value = await self._cache.aget(key)
        self._record_access(key)
        return value

    async def set(self, key: str, value: Any, ttl: float | None = None) -> bool:
        """Store a value.

        Args:
            key: Where.
            value: Whatever the serializer of the key's prefix takes; None cannot be told from no value.
            ttl: Seconds; 0 deletes the key. Left out, this object's `settings` and statistics decide,
                unless the prefix has a rule of its own or is pinned, what adapts is paused, or the alias
                states ``TIMEOUT``.

        Returns:
            Whether it was stored. False where Redis did not take it and ``ON_ERROR`` is "degrade".

        Raises:
            SyncError: The prefix is synced and the write was not recorded for the remote store
                (`SyncNotRecorded`, `BacklogFull`), or may not have been (`SyncUncertain`), whatever
                ``ON_ERROR`` says: nothing meant for the remote store is lost silently.
            RedisFault: Redis did not take it and ``ON_ERROR`` is "raise".
        """
        cache = self._cache
        if ttl is None:
            if cache.policy_for(key).name != PeakHour.name or cache.is_ttl_overridden(key):
                return await cache.aset(key, value)
            ttl = self._get_adaptive_ttl()
        return await cache.aset(key, value, ttl)

    async def delete(self, key: str) -> bool:
        """Delete a key; tell whether it existed.

        Raises:
            SyncError: As for `set`.
        """
        return await self._cache.adelete(key)

    async def clear(self, pattern: str = "*") -> int:
        """Delete the cached copies of all keys that match a glob; return how many there were.

        Nothing is deleted in the remote store, and what waits to be pushed is pushed.
        """
        return await self._cache.adelete_pattern(pattern)

    async def get_metrics(self) -> CacheMetrics:
        """Return figures over all processes. The keys are counted one by one, in small steps."""
        cache = self._cache
        totals = await in_thread(read_totals, cache)
        memory = await in_thread(read_memory, cache)
        return CacheMetrics(
            hit_count=totals.hits + totals.near_hits,
            miss_count=totals.misses,
            hit_rate=totals.hit_ratio or 0.0,
            memory_usage_bytes=memory,
            keys_count=None if memory is None else await cache.acount(),
            last_sync=await in_thread(read_last_sync, cache),
        )

    async def start_sync(self) -> None:
        """Start the sync loop in a task of the running event loop; one that runs already stays."""
        if self._running and self.sync_task is not None and not self.sync_task.done():
            return
        self._running = True
        self.sync_task = asyncio.create_task(self._sync_loop(), name=f"callcache-sync-{self.alias}")
        logger.info("alias=%s sync=started interval_seconds=%s", self.alias, self.sync_interval)

    async def stop_sync(self) -> None:
        """Stop the sync loop; a pass under way ends after the remote call that it is in."""
        if not self._running:
            return
        self._running = False
        task = self.sync_task
        if task is not None and not task.get_loop().is_closed():
            task.cancel()
            await asyncio.wait({task})
        await self._leave(replace(self._heartbeat, is_ended=True))
        logger.info("alias=%s sync=stopped", self.alias)

    async def sync_now(self) -> Report:
        """Sync now; return the report of the pass, which began after this call.

        While somebody else is at a pass, this waits for its end; of all who wait, whatever their process,
        one runs the next pass for all.

        Raises:
            SyncError: The remote store could not be reached, or refuses us.
            Exception: Whatever else was the first to go wrong.
        """
        number = await in_thread(requests.request, self._cache)
        while True:
            answered = await in_thread(requests.answered, self._cache, number)
            if answered is not None:
                if answered.error is not None:
                    raise answered.error
                return Report(self.alias, sync=answered)
            report = await self._run_pass()
            if report.busy_for is None:
                return report
            await asyncio.sleep(min(report.busy_for, BUSY_SECONDS))

    async def _sync_loop(self) -> None:
        """Sync again and again. No failure ends it; failures lengthen the pause."""
        failures = 0
        while self._running:
            try:
                await self._sync_to_supabase()
                failures, pause = 0, self.sync_interval
            except Exception as error:
                failures += 1
                pause = _retry_pause(failures, error)
                logger.error(
                    "alias=%s sync=failed retry_seconds=%.1f error=%s message=%s",
                    self.alias,
                    pause,
                    type(error).__name__,
                    error,
                    # What is expected of a remote store is told by its words alone.
                    exc_info=not isinstance(error, SyncError),
                )
            await self._wait(pause)

    async def _sync_to_supabase(self) -> None:
        """Run a pass: push what waits to the remote store, collect statistics, prune old rows."""
        await self._read_shared_access()
        keys = await self._get_keys_to_sync()
        logger.debug("alias=%s sync=begins waiting=%d", self.alias, len(keys))
        report = await self._run_pass()
        if report.busy_for is not None:
            logger.debug("alias=%s sync=elsewhere seconds=%.1f", self.alias, report.busy_for)
            return
        pushed, seconds = (report.sync.pushed, report.sync.duration_seconds) if report.sync else (0, 0.0)
        logger.info("alias=%s sync=%s pushed=%d seconds=%.3f", self.alias, report.outcome, pushed, seconds)

    async def _get_keys_to_sync(self) -> list[str]:
        """Return the keys that wait for the remote store, oldest first, as many as one batch takes."""
        return await in_thread(read_waiting_keys, self._cache, get_settings().sync.batch)

    def _get_adaptive_ttl(self) -> int:
        """Return the seconds that an entry written now lives: fewer in a peak hour."""
        name = "PEAK_TTL" if self._is_peak_hour(self._local_time().hour) else "DEFAULT_TTL"
        return math.ceil(self.settings[name])

    def _is_peak_hour(self, hour: int) -> bool:
        """Tell whether an hour of the day, 0 to 23, is a peak hour, by the records as they stand.

        As `PeakHour` decides: its reads on average over the days that have a record of it are above
        ``USAGE_THRESHOLD``; without any record, and while collection has just begun, office hours are
        peak hours.
        """
        self._hear_of_other_processes()
        threshold = self.settings["USAGE_THRESHOLD"]
        if self._policy.parameters.usage_threshold != threshold:
            self._policy = PeakHour(replace(self._policy.parameters, usage_threshold=threshold))
        profile = profile_of(self.hourly_access_stats, hour, self._local_time().date(), self._zone)
        return self._policy.assess(hour, Observation(now=self._clock(), profile=profile)).is_peak

    def _record_access(self, key: str) -> None:
        """Count a read, hit or miss, in the record of the present hour."""
        self._hear_of_other_processes()
        record = record_of(self.hourly_access_stats, self._local_time())
        record["count"] += 1
        hot_keys_of(record).read(key)

    def _hear_of_other_processes(self) -> None:
        """Take in the profile of all processes, where the backend has read it anew."""
        profile = self._cache.profile
        if profile is not self._heard:
            self._heard = profile
            merge(self.hourly_access_stats, profile.counts, {}, self._zone)
            forget_old(self.hourly_access_stats, self._local_time().date())

    async def _read_shared_access(self) -> None:
        """Read what all processes have counted, the hottest keys included."""
        try:
            counts = await in_thread(read_profile, self._cache)
            rankings = await in_thread(read_rankings, self._cache, self._rankings_since)
        except REDIS_FAULTS as fault:
            logger.warning("alias=%s access=unknown error=%s", self.alias, type(fault).__name__)
            return
        self._rankings_since = self._local_time() - FINAL_AFTER
        merge(self.hourly_access_stats, counts, rankings, self._zone)
        forget_old(self.hourly_access_stats, self._local_time().date())

    async def _run_pass(self) -> Report:
        """Run a pass. Who cancels it waits until the pass has ended after the batch at hand."""
        task = asyncio.current_task()
        cancellations = task.cancelling() if task is not None else 0
        report = await in_thread(
            run_once, self.alias, may_go_on=lambda: task is None or task.cancelling() == cancellations
        )
        for error in report.errors[1:]:
            logger.error("alias=%s failed too error=%s", self.alias, type(error).__name__, exc_info=error)
        if report.busy_for is None:
            self._heartbeat = replace(self._heartbeat, passed_at=time.time(), outcome=report.outcome)
        if report.errors:
            self._watch.look_soon()
            raise report.errors[0]
        return report

    async def _wait(self, seconds: float) -> None:
        """Wait, with a sign of life now and then."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            self._heartbeat = replace(self._heartbeat, alive_at=time.time())
            await in_thread(self._watch.look_if_due)
            await self._leave(self._heartbeat)
            await asyncio.sleep(min(left, BEAT_SECONDS))

    async def _leave(self, sign: Heartbeat) -> None:
        """Leave a sign of life in Redis, if it answers."""
        cache = self._cache
        try:
            await in_thread(sign.write, cache.redis_client(), cache.redis_keys)
        except REDIS_FAULTS as fault:
            logger.debug("alias=%s heartbeat=late error=%s", self.alias, type(fault).__name__)

    def _local_time(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), self._zone)

    @property
    def _cache(self) -> CallCache:
        """The backend of the running task or thread: Django makes one for each."""
        return cache_of(self.alias)


def _retry_pause(failures: int, error: Exception) -> float:
    """Seconds to wait after so many failures in a row: at least what the remote store asks for."""
    bound = min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 8), LONGEST_RETRY_SECONDS)
    asked: float = getattr(error, "retry_after", None) or 0.0
    return max(bound * random.uniform(0.8, 1.2), asked)  # noqa: S311  # spreads processes, hides nothing


def _plain(number: float) -> float:
    """A whole number as an int, as people write it."""
    return int(number) if number == int(number) else number
