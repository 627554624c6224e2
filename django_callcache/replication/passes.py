"""A sync pass of one cache: with what it works, and the report that it leaves."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from collections.abc import Callable

from django_callcache.cache.backend import CallCache
from django_callcache.conf import get_settings
from django_callcache.exceptions import WrongEnvironment
from django_callcache.models import SyncRun
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.outbox.replica import Replica
from django_callcache.replication.environments import ensure_own, ensure_own_redis
from django_callcache.replication.keeper import ModelKeeper
from django_callcache.replication.losses import (
    AfterLoss,
    begin_anew,
    forget_held,
    has_lost_data,
    still_lost,
)
from django_callcache.replication.remotes import namespace_of
from django_callcache.replication.values import CacheValues
from django_callcache.signals import cache_synced
from django_callcache.sync.push import Bounds
from django_callcache.sync.remote import RemoteStore
from django_callcache.sync.rest import ensure_rested, rest
from django_callcache.sync.sync_pass import SyncPass, SyncReport

logger = logging.getLogger(__name__)

REPORTED = (
    "pushed", "deleted", "pulled",
    "conflicts", "kept_local", "took_remote", "merged", "parked",
    "rejected", "refused", "unreadable", "remarked", "forgotten", "resets",
    "backlog", "backlog_bytes", "oldest_seconds",
)  # fmt: skip
"""What a row keeps of a report."""


def sync(
    cache: CallCache,
    remote: RemoteStore,
    may_go_on: Callable[[], bool],
    *,
    prefix: str | None = None,
    verify: bool = False,
    take_over: bool = False,
    after_loss: AfterLoss = "",
) -> SyncReport:
    """Run a pass, store its report, and announce it; after a loss of Redis, first one that only pulls.

    Raises:
        redis.RedisError: The outbox cannot be read.
    """
    one = make_pass(cache, remote, may_go_on)

    def prepare() -> None:
        ensure_rested(cache.redis_client(), cache.redis_keys)
        remote.check_schema()
        ensure_own(cache, remote, take_over=take_over)
        if take_over or after_loss == "go-on":
            begin_anew(cache)

    if not _is_lost(cache, take_over) or take_over or after_loss == "go-on":
        return _reported(cache, lambda: one.run(prepare, prefix=prefix, verify=verify))
    report = _reported(cache, lambda: _restored(cache, one, prepare, give_up=after_loss == "restore"))
    if report.error is not None or _is_lost(cache, take_over):
        return report
    return _reported(cache, lambda: one.run(prepare, prefix=prefix, verify=verify))


def _is_lost(cache: CallCache, take_over: bool) -> bool:
    """Tell whether this environment's Redis has lost its data; that it is another's, the pass will say."""
    try:
        ensure_own_redis(cache, take_over=take_over)
    except WrongEnvironment:
        return False
    return has_lost_data(cache)


def _restored(cache: CallCache, one: SyncPass, prepare: Callable[[], object], *, give_up: bool) -> SyncReport:
    """Pull after a loss; the report says so where a person has to decide what is to be pushed."""
    if give_up:
        forget_held(cache)
    report = one.restore(prepare, give_up=give_up)
    if report.error is None:
        report = dataclasses.replace(report, error=still_lost(cache, report.held))
    return report


def _reported(cache: CallCache, work: Callable[[], SyncReport]) -> SyncReport:
    run = SyncRun(alias=cache.alias, outcome=SyncRun.Outcome.FAILED)
    began = time.monotonic()
    try:
        report = work()
    except Exception as error:
        _store(run, error, time.monotonic() - began)
        raise
    run.started_at = datetime.datetime.fromtimestamp(report.started_at, datetime.UTC)
    run.outcome = report.outcome
    rest(cache.redis_client(), cache.redis_keys, report.error)
    for name in REPORTED:
        setattr(run, name, getattr(report, name))
    _store(run, report.error, report.duration_seconds)
    _announce(cache.alias, report)
    return report


def make_pass(cache: CallCache, remote: RemoteStore, may_go_on: Callable[[], bool]) -> SyncPass:
    """Return a pass over the outbox of a cache."""
    settings = get_settings().sync
    values = CacheValues(cache)
    return SyncPass(
        DirtyEntries(cache.redis_client(), cache.redis_keys),
        Replica(cache.redis_client(), cache.redis_keys),
        remote,
        values,
        ModelKeeper(cache.alias, values),
        namespace_of(cache),
        bounds=Bounds(batch=settings.batch, batch_bytes=settings.batch_bytes, lease_seconds=settings.lease),
        may_go_on=may_go_on,
    )


def _store(run: SyncRun, error: Exception | None, duration_seconds: float) -> None:
    run.duration_seconds = duration_seconds
    if error is not None:
        run.error_class, run.error = type(error).__name__, str(error)
    run.save()


def _announce(alias: str, report: SyncReport) -> None:
    for receiver, answer in cache_synced.send_robust(alias, report=report):
        if isinstance(answer, Exception):
            logger.error("receiver failed signal=cache_synced receiver=%r", receiver, exc_info=answer)
