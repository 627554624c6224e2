"""All that is done behind the requests, for one cache alias at a time; no other place knows all the steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from django_callcache.cache.backend import CallCache
from django_callcache.conf import get_settings
from django_callcache.exceptions import RemoteRefused, SyncError
from django_callcache.live import look
from django_callcache.models import (
    CacheAlert,
    CacheHour,
    CacheOperation,
    CacheStat,
    SyncConflict,
    SyncRejection,
    SyncRun,
)
from django_callcache.outbox.stat_buckets import StatBuckets
from django_callcache.replication import requests
from django_callcache.replication.losses import AfterLoss, is_paused
from django_callcache.replication.passes import sync
from django_callcache.replication.preload import preload
from django_callcache.replication.remotes import open_remote
from django_callcache.stats.collect import Collected, collect
from django_callcache.sync.leader import LoopLease
from django_callcache.sync.pause import Pause
from django_callcache.sync.remote import RemoteStore
from django_callcache.sync.standing import note_standing
from django_callcache.sync.sync_pass import SyncReport
from django_callcache.tables.following import Followed, follow, needs_schema
from django_callcache.training import restore
from django_callcache.warm import Warmed
from django_callcache.watch import sample

logger = logging.getLogger(__name__)

GARBAGE_SECONDS = 600
"""Pause between two collections of garbage in the remote store, which are bounded in size."""


@dataclass(slots=True)
class Report:
    """What one run for one alias did."""

    alias: str
    busy_for: float | None = None
    """Seconds that somebody else's lease lasts; then nothing was done here."""
    collected: Collected | None = None
    sync: SyncReport | None = None
    followed: Followed | None = None
    """What became of changes of tables; None where there is no remote store."""
    warmed: Warmed | None = None
    """What became of the keys that were loaded before somebody asked; None where none were to be."""
    pruned: int = 0
    """Rows that left the database."""
    is_paused: bool = False
    """Whether Redis has lost what it held, so that nothing is pushed until a person has decided."""
    is_held: bool = False
    """Whether somebody has paused the sync; everything else was done."""
    errors: list[Exception] = field(default_factory=list)
    """What went wrong; one step that fails keeps no other from its turn."""

    @property
    def outcome(self) -> str:
        """How the sync went: ``ok``, ``partial``, ``failed``; ``paused``; ``none`` without a remote store."""
        if self.is_held:
            return "failed" if self.errors else "paused"
        if self.sync is not None:
            return self.sync.outcome
        return "failed" if self.errors else "none"


def run_once(
    alias: str,
    *,
    remote: RemoteStore | None = None,
    may_go_on: Callable[[], bool] = lambda: True,
    prefix: str | None = None,
    verify: bool = False,
    take_over: bool = False,
    after_loss: AfterLoss = "",
    preloads: bool = False,
) -> Report:
    """Collect statistics, restore dictionaries, sync with the remote store, follow tables, prune old rows.

    Args:
        alias: A key of ``CACHES``.
        remote: The remote store; left out, that of the settings, opened and closed here.
        may_go_on: Asked between batches; False ends the run, its work so far done.
        prefix: Push no other keys than those that begin with it.
        verify: Compare both sides wholly, and push again what the remote store has lost.
        take_over: Make Redis and the namespace this environment's, whoever had them.
        after_loss: What a person decided after Redis had lost its data.
        preloads: Whether to load the keys that are read most, as many as the settings say.

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
    number = requests.drawn(cache)
    try:
        with _noted(report, "collect"):
            report.collected = collect(StatBuckets(cache.redis_client(), cache.redis_keys), cache.alias)
        with _noted(report, "sample"):
            sample(cache, look(cache))
        with _noted(report, "dictionaries"):
            restore(cache)
        with _noted(report, "remote store"), _opened(remote) as store:
            if store is not None:
                how = {"prefix": prefix, "verify": verify, "take_over": take_over, "after_loss": after_loss}
                _exchange(cache, report, store, lambda: may_go_on() and lease.keep(), **how)
            if preloads:
                with _noted(report, "preload"):
                    report.warmed = preload(cache, store, lambda: may_go_on() and lease.keep())
        with _noted(report, "prune"):
            report.pruned = _prune()
        with _noted(report, "totals"):
            StatBuckets(cache.redis_client(), cache.redis_keys).note(*totals_of(report, time.time()))
            _note_standing(cache, report)
        if prefix is None and may_go_on():
            requests.answer(cache, number, report.sync)
    finally:
        lease.give_back()
    return report


def follow_once(
    alias: str, remote: RemoteStore, may_go_on: Callable[[], bool] = lambda: True
) -> Followed | None:
    """Let entries follow the tables that they come from, between two runs.

    Args:
        alias: A key of ``CACHES``.
        remote: The remote store.
        may_go_on: Asked between pages; False ends the work.

    Returns:
        What was done; None where somebody else is at work for the alias.

    Raises:
        redis.RedisError: Redis does not answer.
        SyncError: The remote store does not answer, or refuses to tell.
    """
    cache = cache_of(alias)
    lease = LoopLease(cache.redis_client(), cache.redis_keys, get_settings().sync.lease)
    if not lease.take():
        return None
    try:
        followed = follow(cache, remote, lambda: may_go_on() and lease.keep())
    finally:
        lease.give_back()
    if followed.errors:
        raise followed.errors[0]
    return followed


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


def _note_standing(cache: CallCache, report: Report) -> None:
    """Keep how the remote store answered, where it was asked."""
    faults = [error for error in report.errors if isinstance(error, SyncError)]
    if faults or report.sync is not None:
        note_standing(cache.redis_client(), cache.redis_keys, next(iter(faults), None))


def totals_of(report: Report, now: float) -> tuple[dict[str, int], dict[str, float]]:
    """Return what a run adds to the totals of all time, and which of their values it sets."""
    grown: dict[str, int] = {}
    moments: dict[str, float] = {}
    if report.collected is not None:
        moments["collected_at"] = now
    if report.outcome not in ("none", "paused"):
        refused = any(isinstance(error, RemoteRefused) for error in report.errors)
        moments["refused"] = float(refused)
        moments["emptied"] = float(report.is_paused)
        grown[f"passes_{report.outcome}"] = 1
    if report.sync is not None:
        for name in ("pushed", "pulled", "conflicts", "rejected"):
            grown[name] = getattr(report.sync, name)
        if report.outcome != "failed":
            moments["synced_at"] = now
    return grown, moments


@contextmanager
def _opened(remote: RemoteStore | None) -> Iterator[RemoteStore | None]:
    """Use a remote store that is open, or open the one of the settings for as long as it is needed."""
    if remote is not None:
        yield remote
        return
    opened = open_remote(get_settings().sync)
    try:
        yield opened
    finally:
        if opened is not None:
            opened.close()


def _exchange(
    cache: CallCache, report: Report, remote: RemoteStore, may_go_on: Callable[[], bool], **how: Any
) -> None:
    """Do all that needs the remote store."""
    report.is_held = Pause.read(cache.redis_client(), cache.redis_keys) is not None
    if needs_schema(cache) and not report.is_held:
        with _noted(report, "sync"):
            _sync(cache, report, remote, may_go_on, **how)
    with _noted(report, "tables"):
        report.followed = follow(cache, remote, may_go_on)
        report.errors += report.followed.errors


def _sync(
    cache: CallCache, report: Report, remote: RemoteStore, may_go_on: Callable[[], bool], **how: Any
) -> None:
    try:
        report.sync = sync(cache, remote, may_go_on, **how)
        if report.sync.error is not None:
            raise report.sync.error
        _collect_garbage(cache, remote)
    finally:
        report.is_paused = is_paused(cache)


def _collect_garbage(cache: CallCache, remote: RemoteStore) -> None:
    """Let the remote store remove what is long gone, once in a while; it does no harm to be late."""
    if not cache.redis_client().set(cache.redis_keys.garbage(), "1", nx=True, ex=GARBAGE_SECONDS):
        return
    try:
        removed = remote.collect_garbage()
    except SyncError as error:
        logger.warning("garbage stays alias=%s error=%s", cache.alias, error)
    else:
        logger.debug("garbage alias=%s removed=%d", cache.alias, removed)


def _prune() -> int:
    retention = get_settings().retention
    return (
        CacheStat.objects.prune(retention.cache_stat)
        + CacheHour.objects.prune(retention.cache_stat)
        + SyncRun.objects.prune(retention.sync_run)
        + SyncRejection.objects.prune(retention.sync_rejection)
        + SyncConflict.objects.prune(retention.sync_conflict)
        + CacheOperation.objects.prune(retention.cache_operation)
        + CacheAlert.objects.prune(retention.cache_alert)
    )


@contextmanager
def _noted(report: Report, step: str) -> Iterator[None]:
    """Put what goes wrong into the report, and go on."""
    try:
        yield
    except Exception as error:
        error.add_note(f"alias={report.alias} step={step}")
        report.errors.append(error)
