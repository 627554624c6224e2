"""One pass: first what waits here goes up, then what changed there comes down.

In this order a cursor never moves past a row that a local write is yet to meet. What becomes of a key written
on both sides is told in ``conflicts``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from django_callcache.exceptions import SyncError
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.outbox.replica import Replica
from django_callcache.sync.conflicts import Conflicts, Keeper
from django_callcache.sync.pull import Dirty, Pull
from django_callcache.sync.push import Bounds, Push
from django_callcache.sync.remote import RemoteStore
from django_callcache.sync.rows import Values


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What one pass did."""

    started_at: float
    """Unix seconds."""
    duration_seconds: float
    pushed: int = 0
    """Entries that the remote store took, deletions included."""
    deleted: int = 0
    """Deletions among them."""
    pulled: int = 0
    """Rows that were taken from the remote store, deletions included."""
    conflicts: int = 0
    """Keys written on both sides; one that met an earlier write of ours is none."""
    kept_local: int = 0
    """Conflicts that the local side won."""
    took_remote: int = 0
    """Conflicts that the remote side won."""
    merged: int = 0
    """Conflicts whose sides were merged."""
    parked: int = 0
    """Conflicts that wait for a person."""
    rejected: int = 0
    """Entries that the remote store refuses for their data; they wait for a person."""
    refused: int = 0
    """Rows that this cache does not take: it syncs no such key."""
    unreadable: int = 0
    """Rows with a value that this cache cannot read; their keys are misses here."""
    remarked: int = 0
    """Keys that the remote store had lost, and that are pushed again."""
    forgotten: int = 0
    """Keys that were dropped, since the remote store does not have them any more."""
    resets: int = 0
    """How often everything was pulled anew."""
    held: int = 0
    """Rows that met a key written since Redis had lost what it held; a person says which of the two stays."""
    unknown: int = 0
    """Entries of another release, or of a dictionary that is not known; they wait."""
    backlog: int = 0
    """Entries in the outbox after the pass."""
    backlog_bytes: int = 0
    """Bytes of their payloads."""
    oldest_seconds: float = 0.0
    """How long the oldest of them has been waiting."""
    error: SyncError | None = None
    """What ended the pass early."""

    @property
    def outcome(self) -> str:
        """How the pass ended: ``ok``, ``partial`` or ``failed``."""
        if self.error is not None:
            return "partial" if self.pushed or self.pulled else "failed"
        return "partial" if self.rejected else "ok"

    @property
    def rate(self) -> float:
        """Entries and rows a second."""
        return (self.pushed + self.pulled) / self.duration_seconds if self.duration_seconds else 0.0


class SyncPass:
    """A pass over one outbox and one namespace of a remote store.

    Args:
        outbox: Where local writes wait.
        replica: What the same Redis holds of the remote store.
        remote: The remote store.
        values: The cache that they come from, which reads and makes its own bytes.
        keeper: Keeps for a person what no rule can decide.
        namespace: Name of this deployment's rows in the remote store.
        bounds: How much goes at a time.
        may_go_on: Asked before every remote call; False ends the pass, its work so far done.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        outbox: DirtyEntries,
        replica: Replica,
        remote: RemoteStore,
        values: Values,
        keeper: Keeper,
        namespace: str,
        *,
        bounds: Bounds | None = None,
        may_go_on: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._replica = replica
        self._remote = remote
        self._values = values
        self._keeper = keeper
        self._namespace = namespace
        self._bounds = bounds or Bounds()
        self._may_go_on = may_go_on
        self._clock = clock

    def run(
        self,
        prepare: Callable[[], object] = lambda: None,
        *,
        prefix: str | None = None,
        verify: bool = False,
    ) -> SyncReport:
        """Push until nothing that was due when the pass began is left, then pull until nothing has changed.

        Args:
            prepare: Called first; an error of the remote store that it raises ends the pass.
            prefix: Push no other keys than those that begin with it. All changes are pulled.
            verify: Compare both sides wholly, and push again what the remote store has lost.

        Returns:
            The report; an error of the remote store is in it, and what was done before it counts.

        Raises:
            redis.RedisError: The outbox cannot be read.
        """
        return self._done(lambda push, pull: self._both_ways(push, pull, prefix, verify), prepare)

    def restore(self, prepare: Callable[[], object] = lambda: None, *, give_up: bool = False) -> SyncReport:
        """Pull and push nothing, after Redis has lost what it held.

        Args:
            prepare: As for `run`.
            give_up: Pull all of it, and take it also where a key was written here before it was pulled.
                Left out, such keys are counted as ``held`` and wait.

        Raises:
            redis.RedisError: The outbox cannot be read.
        """
        dirty: Dirty = "given up" if give_up else "held"
        return self._done(lambda _, pull: pull.run(verify=give_up, dirty=dirty), prepare)

    def _both_ways(self, push: Push, pull: Pull, prefix: str | None, verify: bool) -> None:
        push.run(prefix)
        pull.run(verify=verify, pushed=push.spans)
        if pull.counts["remarked"]:
            push.run()

    def _done(self, work: Callable[[Push, Pull], object], prepare: Callable[[], object]) -> SyncReport:
        started_at, began = time.time(), self._clock()
        error, counts = None, Counter[str]()
        origin = self._outbox.origin()
        conflicts = Conflicts(self._outbox, self._replica, self._values, self._keeper, origin)
        push = Push(
            self._outbox, self._remote, self._values, conflicts, self._keeper,
            self._namespace, origin, self._bounds, self._may_go_on,
        )  # fmt: skip
        pull = Pull(
            self._remote, self._replica, self._values, conflicts, self._keeper,
            self._namespace, self._bounds.batch, self._may_go_on,
        )  # fmt: skip
        try:
            prepare()
            work(push, pull)
        except SyncError as fault:
            error = fault
        for part in (push, pull, conflicts):
            counts += part.counts
        oldest_at = self._outbox.oldest_at()
        return SyncReport(
            started_at=started_at,
            duration_seconds=self._clock() - began,
            backlog=self._outbox.depth(),
            backlog_bytes=self._outbox.payload_bytes(),
            oldest_seconds=0.0 if oldest_at is None else max(0.0, time.time() - oldest_at),
            error=error,
            **counts,
        )
