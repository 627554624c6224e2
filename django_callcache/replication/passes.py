"""A sync pass of one cache: with what it works, and the report that it leaves."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable

from django_callcache.cache.backend import CallCache
from django_callcache.conf import get_settings
from django_callcache.models import SyncRun
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.outbox.replica import Replica
from django_callcache.replication.environments import ensure_own
from django_callcache.replication.keeper import ModelKeeper
from django_callcache.replication.remotes import namespace_of
from django_callcache.replication.values import CacheValues
from django_callcache.signals import cache_synced
from django_callcache.sync.push import Bounds
from django_callcache.sync.remote import RemoteStore
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
) -> SyncReport:
    """Run a pass, store its report, and announce it.

    Raises:
        redis.RedisError: The outbox cannot be read.
    """
    run = SyncRun(alias=cache.alias, outcome=SyncRun.Outcome.FAILED)
    began = time.monotonic()
    try:
        one = make_pass(cache, remote, may_go_on)
        report = one.run(lambda: ensure_own(cache, remote, take_over=take_over), prefix=prefix, verify=verify)
    except Exception as error:
        _store(run, error, time.monotonic() - began)
        raise
    run.started_at = datetime.datetime.fromtimestamp(report.started_at, datetime.UTC)
    run.outcome = report.outcome
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
