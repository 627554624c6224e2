"""Clearing a cache, or part of it: at once, or in steps by whoever has the time, with an end at any moment.

The row of the operation is all that a worker needs. Who claims it notes there how far it came and shows
signs of life; who dies leaves it for another, which walks again from the beginning: what was deleted is gone.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from django.utils import timezone

from django_callcache import audit
from django_callcache.cache import CallCache
from django_callcache.cache.operations.patterns import SCAN_COUNT
from django_callcache.cache.value_keys import escape_glob
from django_callcache.live import FAULTS, masked
from django_callcache.models import LIMIT_REACHED, CacheOperation, CacheOperationQuerySet

Scope = CacheOperation.Scope
Outcome = CacheOperation.Outcome

NOTED_SECONDS = 1.0
"""Pause between two notes of how far a deletion came; they are its signs of life too."""

REMINDED_SECONDS = 60
"""How long Redis reminds the loop that a deletion waits; at each turn it looks at the rows themselves."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be cleared."""

    alias: str
    """Its key in ``CACHES``."""
    scope: str
    text: str
    """The key, prefix or pattern as a person wrote it; empty for the whole cache and for chosen keys."""
    keys: tuple[str, ...] = ()
    """Chosen keys, as callers write them."""

    @classmethod
    def of(cls, operation: CacheOperation) -> Target:
        """What an operation is about."""
        return cls(operation.alias, operation.scope, operation.pattern)

    @property
    def search(self) -> str | None:
        """The pattern over keys as callers write them; None for all keys, whatever their version."""
        if self.scope == Scope.ALIAS:
            return None
        if self.scope == Scope.PREFIX:
            return escape_glob(self.text) + "*"
        return self.text if self.scope == Scope.PATTERN else escape_glob(self.text)

    def deletes_remotely(self, cache: CallCache) -> bool:
        """Tell whether the remote store forgets it too: single keys of a synced prefix are deleted there."""
        keys = self.keys if self.scope == Scope.KEYS else (self.text,) if self.scope == Scope.KEY else ()
        rules = (cache.rule_for(key) for key in keys)
        return any(rule is not None and bool(rule.sync) for rule in rules)


class Clearing:
    """An operation that this process has claimed, and its walk over the keys.

    Args:
        operation: The claimed row.
        cache: Where to delete.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, operation: CacheOperation, cache: CallCache, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.operation = operation
        self._cache = cache
        self._clock = clock
        self._search = Target.of(operation).search
        self._cursor = 0
        self._before = operation.duration_seconds
        self._began_at = clock()
        self._noted_at = clock()

    def run(
        self,
        *,
        seconds: float | None = None,
        may_go_on: Callable[[], bool] = lambda: True,
        progress: Callable[[CacheOperation], object] | None = None,
    ) -> bool:
        """Delete until the end, or for some seconds.

        Args:
            seconds: After which to return, at least one step later; left out, only at the end.
            may_go_on: Asked between steps; False makes the operation wait for another worker.
            progress: Called with the row after each step.

        Returns:
            Whether the operation has come to an end here: done, failed, stopped, or taken over by another.
        """
        until = None if seconds is None else self._clock() + seconds
        try:
            while True:
                is_last = self._step()
                if progress is not None:
                    progress(self.operation)
                if is_last or self._is_at_limit():
                    return self._end(Outcome.OK if is_last else Outcome.PARTIAL)
                if not may_go_on():
                    return self._hand_back()
                is_over = until is not None and self._clock() >= until
                if (is_over or self._clock() - self._noted_at >= NOTED_SECONDS) and not self._note():
                    return True
                if is_over:
                    return False
        except FAULTS as fault:
            return self._end(Outcome.FAILED, fault)

    def interrupt(self) -> None:
        """End it before its time."""
        self._end(Outcome.STOPPED)

    def _step(self) -> bool:
        """Delete the next keys; return whether they were the last."""
        row = self.operation
        if not self._cursor:
            row.total, row.looked_at = int(self._cache.redis_client().dbsize()), 0
        self._cursor, removed = self._cache.delete_step(self._search, self._cursor)
        row.deleted += removed
        row.looked_at = min(row.looked_at + SCAN_COUNT, row.total) if self._cursor else row.total
        return not self._cursor

    def _is_at_limit(self) -> bool:
        return self.operation.limit is not None and self.operation.deleted >= self.operation.limit

    def _note(self) -> bool:
        """Note how far it came; return whether to go on: nobody has taken it over or asked to stop."""
        row = self.operation
        self._noted_at = self._clock()
        row.duration_seconds = self._seconds()
        noted = self._is_mine().update(
            deleted=row.deleted,
            looked_at=row.looked_at,
            total=row.total,
            duration_seconds=row.duration_seconds,
            alive_at=timezone.now(),
        )
        if not noted:
            return False
        row.refresh_from_db(fields=("is_stop_asked",))
        return not (row.is_stop_asked and self._end(Outcome.STOPPED))

    def _end(self, outcome: str, fault: BaseException | None = None) -> bool:
        row = self.operation
        if fault is not None and row.deleted:
            outcome = Outcome.PARTIAL
        kind = LIMIT_REACHED if fault is None and outcome == Outcome.PARTIAL else ""
        if not self._is_mine().exists():
            return True
        row.alive_at, row.is_stop_asked = timezone.now(), False
        row.save(update_fields=("looked_at", "total", "alive_at", "is_stop_asked"))
        audit.end(
            row,
            outcome,
            deleted=row.deleted,
            duration_seconds=self._seconds(),
            error_class=kind if fault is None else type(fault).__name__,
            error="" if fault is None else masked(fault),
        )
        return True

    def _hand_back(self) -> bool:
        deleted, seconds = self.operation.deleted, self._seconds()
        self._is_mine().update(outcome=Outcome.WAITING, worker="", deleted=deleted, duration_seconds=seconds)
        return True

    def _is_mine(self) -> CacheOperationQuerySet:
        """The row, as long as nobody has taken it over."""
        row = self.operation
        return CacheOperation.objects.filter(pk=row.pk, worker=row.worker, outcome=Outcome.RUNNING)

    def _seconds(self) -> float:
        return self._before + self._clock() - self._began_at


def queue(cache: CallCache, operation: CacheOperation) -> None:
    """Leave an operation to the loop.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    reopen(operation)
    _remind(cache)


def reopen(operation: CacheOperation) -> None:
    """Let whoever claims it go on with an operation."""
    operation.outcome, operation.is_stop_asked, operation.worker = Outcome.WAITING, False, ""
    operation.error_class = operation.error = ""
    operation.save(update_fields=("outcome", "is_stop_asked", "worker", "error_class", "error"))


def are_asked_for(cache: CallCache) -> bool:
    """Tell whether a deletion may wait for the loop."""
    return bool(cache.redis_client().exists(cache.redis_keys.clears()))


def next_of(alias: str, cache: CallCache) -> Clearing | None:
    """Claim the oldest operation that nobody works on; None where there is none.

    Args:
        alias: The key of the cache in ``CACHES``.
        cache: The cache itself.
    """
    clearings = CacheOperation.objects.for_alias(alias).clearings()
    for pk in clearings.free().order_by("started_at").values_list("pk", flat=True):
        if (claimed := claim(pk, cache)) is not None:
            return claimed
    if clearings.unfinished().exists():  # its worker may die
        _remind(cache)
    return None


def claim(pk: int, cache: CallCache) -> Clearing | None:
    """Take an operation that waits, or whose worker has died; None where another was quicker."""
    worker = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex}"
    free = CacheOperation.objects.clearings().filter(pk=pk).free()
    if not free.update(outcome=Outcome.RUNNING, worker=worker, alive_at=timezone.now()):
        return None
    return Clearing(CacheOperation.objects.get(pk=pk), cache)


def stop(operation: CacheOperation) -> bool:
    """Ask that an operation ends before its time; return whether it had not ended already.

    What nobody works on ends at once, what has a worker within about a second.
    """
    rows = CacheOperation.objects.filter(pk=operation.pk)
    ended = rows.free().update(outcome=Outcome.STOPPED, is_stop_asked=False)
    asked = rows.filter(outcome=Outcome.RUNNING).exclude(alive_at=None).update(is_stop_asked=True)
    operation.refresh_from_db()
    if ended:
        audit.tell(operation)
    return bool(ended or asked)


def run_now(cache: CallCache, operation: CacheOperation, target: Target) -> None:
    """Carry out an operation here and now, to its end."""
    if target.scope in (Scope.KEY, Scope.KEYS):
        _delete_keys(cache, operation, target.keys or (target.text,))
        return
    CacheOperation.objects.filter(pk=operation.pk).update(outcome=Outcome.WAITING)
    claimed = claim(operation.pk, cache)
    if claimed is not None:
        claimed.run()
    operation.refresh_from_db()


def _delete_keys(cache: CallCache, operation: CacheOperation, keys: tuple[str, ...]) -> None:
    deleted, error = 0, ""
    errors, began = _errors(cache), time.monotonic()
    kind = ""
    try:
        for key in keys:
            deleted += int(cache.delete(key))
    except FAULTS as fault:
        kind, error = type(fault).__name__, masked(fault)
    if not kind and deleted < len(keys) and _errors(cache) > errors:
        kind = "RedisUnavailable"  # a cache that degrades raises nothing
    audit.end(
        operation,
        (Outcome.PARTIAL if deleted else Outcome.FAILED) if kind else Outcome.OK,
        deleted=deleted,
        duration_seconds=time.monotonic() - began,
        error_class=kind,
        error=error,
    )


def _errors(cache: CallCache) -> int:
    """Calls that Redis has failed in this process."""
    return sum(counts.get("errors", 0) for counts in cache.counted().values())


def _remind(cache: CallCache) -> None:
    cache.redis_client().set(cache.redis_keys.clears(), "1", ex=REMINDED_SECONDS)
