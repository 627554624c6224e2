"""One turn of the loop that ``runcachesync`` runs."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import redis
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, close_old_connections

from django_callcache.cache import CallCache
from django_callcache.clearing import Clearing, are_asked_for, next_of
from django_callcache.conf import get_settings
from django_callcache.exceptions import SyncError
from django_callcache.live import FAULTS
from django_callcache.maintenance import Report, cache_of, follow_once, run_once
from django_callcache.replication.losses import AfterLoss
from django_callcache.replication.requests import is_asked_for
from django_callcache.sync.leader import Heartbeat
from django_callcache.sync.remote import RemoteStore
from django_callcache.tables.following import sources_of
from django_callcache.tables.pace import Pace
from django_callcache.watch import Watch

logger = logging.getLogger(__name__)

ALWAYS_TOLD = ("pushed", "deleted", "pulled", "conflicts", "rejected", "unknown", "backlog")
FOLLOWED = ("changes", "deleted", "refetched", "resets")
TOLD_IF_ANY = (
    "kept_local", "took_remote", "merged", "parked", "refused", "unreadable",
    "remarked", "forgotten", "resets", "held",
)  # fmt: skip
"""What a line says of a pass."""


CLEARING_SECONDS = 0.5
"""How long deletions that people asked for are worked on between two signs of life."""


class Turns:
    """A turn of the loop: a run for each alias, its line in the log, and a sign of life.

    Between two turns it deletes what people asked to be cleared, a little at a time.

    Args:
        aliases: Keys of ``CACHES``.
        remote: The remote store, if there is one.
        tell: Takes the facts of each run.
        prefix: Push no other keys than those that begin with it.
        verify: Compare both sides wholly, and push again what the remote store has lost.
        take_over: Make Redis and the namespace this environment's, whoever had them.
        after_loss: What a person decided after Redis had lost its data.
        preloads: Whether the first turn loads the keys that are read most, as many as the settings say.

    Raises:
        ImproperlyConfigured: There is no alias to work for, or one is not ours.
    """

    def __init__(
        self,
        aliases: Sequence[str],
        remote: RemoteStore | None,
        *,
        tell: Callable[[Mapping[str, Any]], object] | None = None,
        prefix: str | None = None,
        verify: bool = False,
        take_over: bool = False,
        after_loss: AfterLoss = "",
        preloads: bool = False,
    ) -> None:
        if not aliases:
            raise ImproperlyConfigured("CACHES has no django_callcache.cache.CallCache to work for")
        self.may_go_on: Callable[[], bool] = lambda: True
        self.is_last = False
        """Whether nobody comes back after this turn: what is to be cleared is cleared in it."""
        self.wake: Callable[[], object] = lambda: None
        """Called when somebody asks for a pass."""
        self._how: dict[str, Any] = {
            "prefix": prefix,
            "verify": verify,
            "take_over": take_over,
            "after_loss": after_loss,
        }
        self._caches = {alias: cache_of(alias) for alias in aliases}
        self._remote = remote
        self._to_preload = set(aliases) if preloads else set()
        self._tell = tell
        self._watches = {alias: Watch(partial(cache_of, alias)) for alias in aliases}
        self._heartbeats = dict.fromkeys(aliases, Heartbeat.of_this_process())
        self._clearings: dict[str, Clearing] = {}
        seconds = get_settings().sync.follow_interval
        self._paces = {alias: Pace(seconds) for alias, cache in self._caches.items() if sources_of(cache)}

    def __call__(self) -> float | None:
        """Run once for each alias; raise the first error when all had their turn."""
        close_old_connections()
        for alias in self._caches:
            self._note(alias, next_at=0.0)
        try:
            self.beat()
            reports = [self._run(alias) for alias in self._caches if self.may_go_on()]
            self.clear(to_the_end=self.is_last)
            self.beat()
        finally:
            close_old_connections()
        _raise_first([error for report in reports for error in report.errors])
        busy = [report.busy_for for report in reports if report.busy_for is not None]
        # Somebody else is at it; should they die, their lease ends and the next turn is ours.
        return max(busy) + 0.1 if busy else None

    def beat(self) -> None:
        """Look at the alert rules, and leave a sign of life for every alias."""
        for watch in self._watches.values():
            watch.look_if_due()
        for alias, cache in self._caches.items():
            self._note(alias, alive_at=time.time())
            self._heartbeats[alias].write(cache.redis_client(), cache.redis_keys)

    def watch(self) -> None:
        """Leave a sign of life between two turns, and see whether somebody asks for one."""
        self.beat()
        self.follow()
        if self._clearings or any(are_asked_for(cache) for cache in self._caches.values()):
            self.clear()
        if any(is_asked_for(cache) for cache in self._caches.values()):
            self.wake()

    def plan(self, seconds: float) -> None:
        """Note when the next turn is due, for the signs of life of the pause."""
        next_at = time.time() + seconds
        for alias in self._caches:
            self._note(alias, next_at=next_at)

    def end(self) -> None:
        """Leave the last sign of life: this loop has ended."""
        for alias, cache in self._caches.items():
            self._note(alias, is_ended=True, next_at=0.0)
            with suppress(*FAULTS):
                self._heartbeats[alias].write(cache.redis_client(), cache.redis_keys)

    def follow(self) -> None:
        """Let entries follow the tables that they come from, every few seconds; after failures less often."""
        for alias, pace in self._paces.items():
            if self._remote is None or not pace.is_due or not self.may_go_on():
                continue
            try:
                followed = follow_once(alias, self._remote, self.may_go_on)
            except (SyncError, redis.RedisError) as error:
                pace.failed()
                logger.warning("late alias=%s step=follow error=%s: %s", alias, type(error).__name__, error)
                continue
            pace.done()
            if followed is not None and (followed.changes or followed.resets):
                facts = {name: getattr(followed, name) for name in FOLLOWED}
                logger.info("followed alias=%s %s", alias, " ".join(f"{k}={v}" for k, v in facts.items()))

    def clear(self, *, to_the_end: bool = False) -> None:
        """Work for a moment on what people asked to be cleared, or until all of it is done.

        Where the database does not answer, the rows wait for another time.
        """
        for alias, cache in self._caches.items():
            try:
                while self.may_go_on():
                    if self._is_cleared(alias, cache) or not to_the_end:
                        break
                    self.beat()
            except (*FAULTS, DatabaseError) as error:
                self._clearings.pop(alias, None)
                logger.warning("waits alias=%s step=clear error=%s", alias, type(error).__name__)

    def _is_cleared(self, alias: str, cache: CallCache) -> bool:
        """Delete for a moment; return whether nothing is left to be cleared."""
        at_work = self._clearings.pop(alias, None) or next_of(alias, cache)
        if at_work is None:
            return True
        if not at_work.run(seconds=CLEARING_SECONDS, may_go_on=self.may_go_on):
            self._clearings[alias] = at_work
        else:
            logger.info(
                "cleared alias=%s operation=%s deleted=%s",
                alias,
                at_work.operation.pk,
                at_work.operation.deleted,
            )
        return False

    def _run(self, alias: str) -> Report:
        try:
            report = run_once(
                alias,
                remote=self._remote,
                may_go_on=self.may_go_on,
                preloads=alias in self._to_preload,
                **self._how,
            )
        except redis.RedisError as error:
            report = Report(alias, errors=[error])
        if report.busy_for is not None:
            logger.info("busy alias=%s seconds=%.1f", alias, report.busy_for)
            return report
        self._to_preload.discard(alias)
        if report.errors:
            self._watches[alias].look_soon()
        facts = facts_of(report)
        logger.info("passed %s", " ".join(f"{name}={value}" for name, value in facts.items()))
        if self._tell is not None:
            self._tell(facts)
        self._note(alias, passed_at=time.time(), outcome=report.outcome)
        return report

    def _note(self, alias: str, **changes: Any) -> None:
        self._heartbeats[alias] = dataclasses.replace(self._heartbeats[alias], **changes)


def facts_of(report: Report) -> dict[str, Any]:
    """Return what a line says of a run."""
    facts: dict[str, Any] = {"alias": report.alias, "outcome": report.outcome}
    if report.sync is not None:
        facts |= {name: getattr(report.sync, name) for name in ALWAYS_TOLD}
        facts |= {name: found for name in TOLD_IF_ANY if (found := getattr(report.sync, name))}
        facts["oldest"] = round(report.sync.oldest_seconds, 1)
        facts["seconds"] = round(report.sync.duration_seconds, 3)
        facts["rate"] = round(report.sync.rate)
    if report.followed is not None and (report.followed.changes or report.followed.resets):
        facts |= {f"tables_{name}": getattr(report.followed, name) for name in FOLLOWED}
    if report.warmed is not None:
        facts |= {"preloaded": report.warmed.records, "preload_failed": report.warmed.failed}
    facts["rows"] = report.collected.rows if report.collected else 0
    facts["pruned"] = report.pruned
    if report.errors:
        facts["error"] = type(report.errors[0]).__name__
    return facts


def _raise_first(errors: Sequence[Exception]) -> None:
    """Raise the first error, for the loop to tell and to wait by; tell the others."""
    for error in errors[1:]:
        logger.error("failed too error=%s", type(error).__name__, exc_info=error)
    for error in errors:
        raise error
