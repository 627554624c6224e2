"""All that is done behind the requests, for one cache alias at a time; no other place knows all the steps."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_callcache.cache.backend import CallCache
from django_callcache.conf import SyncSettings, get_settings
from django_callcache.models import CacheOperation, CacheStat, SyncRun
from django_callcache.outbox.dirty import DirtyEntries, DirtyEntry
from django_callcache.outbox.stat_buckets import StatBuckets
from django_callcache.signals import cache_synced
from django_callcache.stats.collect import Collected, collect
from django_callcache.sync.leader import LoopLease
from django_callcache.sync.remote import RemoteStore
from django_callcache.sync.sync_pass import SyncPass, SyncReport
from django_callcache.training import restore

logger = logging.getLogger(__name__)

REMOTES = {
    "supabase": "django_callcache.sync.supabase.SupabaseStore",
    "postgres": "django_callcache.sync.postgres.PostgresStore",
}
"""Named, not imported: each needs a library that the others' users may not have."""


@dataclass(slots=True)
class Report:
    """What one run for one alias did."""

    alias: str
    busy_for: float | None = None
    """Seconds that somebody else's lease lasts; then nothing was done here."""
    collected: Collected | None = None
    sync: SyncReport | None = None
    pruned: int = 0
    """Rows that left the database."""
    errors: list[Exception] = field(default_factory=list)
    """What went wrong; one step that fails keeps no other from its turn."""

    @property
    def outcome(self) -> str:
        """How the sync went: ``ok``, ``partial``, ``failed``; ``none`` without a remote store."""
        if self.sync is not None:
            return self.sync.outcome
        return "failed" if self.errors else "none"


def run_once(
    alias: str, *, remote: RemoteStore | None = None, may_go_on: Callable[[], bool] = lambda: True
) -> Report:
    """Collect statistics, restore dictionaries, push what waits for the remote store, and prune old rows.

    Args:
        alias: A key of ``CACHES``.
        remote: The remote store; left out, that of the settings, opened and closed here.
        may_go_on: Asked between batches; False ends the run, its work so far done.

    Returns:
        What was done, errors included; or who else is at it.

    Raises:
        redis.RedisError: The cache's Redis cannot be asked who is at work.
    """
    cache = cache_of(alias)
    report = Report(alias)
    lease = LoopLease(cache.redis_client(), cache.redis_keys, get_settings().sync.lease)
    if not lease.take():
        report.busy_for = lease.remaining_seconds()
        return report
    try:
        with _noted(report, "collect"):
            report.collected = collect(StatBuckets(cache.redis_client(), cache.redis_keys), cache.alias)
        with _noted(report, "dictionaries"):
            restore(cache)
        with _noted(report, "sync"):
            _sync(cache, report, remote, lambda: may_go_on() and lease.keep())
        with _noted(report, "prune"):
            report.pruned = _prune()
        with _noted(report, "totals"):
            StatBuckets(cache.redis_client(), cache.redis_keys).note(*totals_of(report, time.time()))
    finally:
        lease.give_back()
    return report


def cache_of(alias: str) -> CallCache:
    """Return the cache of an alias.

    Raises:
        ImproperlyConfigured: It is none of ours.
    """
    cache = caches[alias]
    if not isinstance(cache, CallCache):
        raise ImproperlyConfigured(f"CACHES[{alias!r}] is not a django_callcache.cache.CallCache")
    return cache


def own_aliases() -> list[str]:
    """Return the aliases in ``CACHES`` that are ours."""
    return [alias for alias in caches if isinstance(caches[alias], CallCache)]


def open_remote(settings: SyncSettings) -> RemoteStore | None:
    """Return the remote store of the settings, None where there is none.

    Raises:
        ImproperlyConfigured: It cannot be, or the namespace is missing.
    """
    if settings.remote is None:
        return None
    if not settings.namespace:
        raise ImproperlyConfigured('CALLCACHE["SYNC"]["NAMESPACE"] is missing: name this deployment')
    try:
        kind = import_string(REMOTES.get(settings.remote, settings.remote))
    except ImportError as error:
        raise ImproperlyConfigured(f'CALLCACHE["SYNC"]["REMOTE"]: {error}') from error
    return cast("RemoteStore", kind.from_settings(settings))


def namespace_of(cache: CallCache) -> str:
    """Return the name that the rows of a cache have in the remote store."""
    namespace = get_settings().sync.namespace
    return namespace if cache.alias == "default" else f"{namespace}/{cache.alias}"


def totals_of(report: Report, now: float) -> tuple[dict[str, int], dict[str, float]]:
    """Return what a run adds to the totals of all time, and which moments it sets."""
    grown: dict[str, int] = {}
    moments: dict[str, float] = {}
    if report.collected is not None:
        moments["collected_at"] = now
    if report.outcome != "none":
        grown[f"passes_{report.outcome}"] = 1
    if report.sync is not None:
        for name in ("pushed", "conflicts", "rejected"):
            grown[name] = getattr(report.sync, name)
        if report.outcome != "failed":
            moments["synced_at"] = now
    return grown, moments


class CacheValues:
    """The values of a cache, as a sync pass asks for them."""

    def __init__(self, cache: CallCache) -> None:
        self._cache = cache

    def decode(self, entry: DirtyEntry, blob: bytes) -> object:
        """Return the value that an entry's key has in some bytes."""
        return self._cache.codec_for(_key_of(entry)).decode(blob, entry.redis_key)

    def encode(self, entry: DirtyEntry, value: object) -> bytes:
        """Return a value as the cache holds it under an entry's key."""
        return self._cache.codec_for(_key_of(entry)).encode(value, entry.redis_key)

    def is_sensitive(self, entry: DirtyEntry) -> bool:
        return self._cache.codec_for(_key_of(entry)).is_sensitive

    def independent(self, entry: DirtyEntry, blob: bytes) -> bytes:
        """Return the same value in bytes that no dictionary of this deployment is needed for."""
        return self._cache.codec_for(_key_of(entry)).independent(blob, entry.redis_key)


def _key_of(entry: DirtyEntry) -> str:
    return entry.remote_key.partition(":")[2]


def _sync(
    cache: CallCache, report: Report, remote: RemoteStore | None, may_go_on: Callable[[], bool]
) -> None:
    settings = get_settings().sync
    opened = None if remote else open_remote(settings)
    remote = remote or opened
    if remote is None:
        return
    run = SyncRun(alias=cache.alias, outcome=SyncRun.Outcome.FAILED)
    began = time.monotonic()
    try:
        report.sync = SyncPass(
            DirtyEntries(cache.redis_client(), cache.redis_keys),
            remote,
            CacheValues(cache),
            namespace_of(cache),
            batch=settings.batch,
            batch_bytes=settings.batch_bytes,
            lease_seconds=settings.lease,
            may_go_on=may_go_on,
        ).run()
    except Exception as error:
        _store(run, error, time.monotonic() - began)
        raise
    finally:
        if opened is not None:
            opened.close()
    _fill(run, report.sync)
    _store(run, report.sync.error, report.sync.duration_seconds)
    _announce(cache.alias, report.sync)
    if report.sync.error is not None:
        raise report.sync.error


def _fill(run: SyncRun, report: SyncReport) -> None:
    run.started_at = datetime.datetime.fromtimestamp(report.started_at, datetime.UTC)
    run.outcome = report.outcome
    for name in ("pushed", "deleted", "conflicts", "rejected", "backlog"):
        setattr(run, name, getattr(report, name))


def _store(run: SyncRun, error: Exception | None, duration_seconds: float) -> None:
    run.duration_seconds = duration_seconds
    if error is not None:
        run.error_class, run.error = type(error).__name__, str(error)
    run.save()


def _announce(alias: str, report: SyncReport) -> None:
    for receiver, answer in cache_synced.send_robust(alias, report=report):
        if isinstance(answer, Exception):
            logger.error("receiver failed signal=cache_synced receiver=%r", receiver, exc_info=answer)


def _prune() -> int:
    retention = get_settings().retention
    return (
        CacheStat.objects.prune(retention.cache_stat)
        + SyncRun.objects.prune(retention.sync_run)
        + CacheOperation.objects.prune(retention.cache_operation)
    )


@contextmanager
def _noted(report: Report, step: str) -> Iterator[None]:
    """Put what goes wrong into the report, and go on."""
    try:
        yield
    except Exception as error:
        error.add_note(f"alias={report.alias} step={step}")
        report.errors.append(error)
