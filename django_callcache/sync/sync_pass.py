"""One pass over the outbox: claim what is due, push it, acknowledge what the remote store has.

A conflict is decided by the later write (``lww``): the larger pair of version and origin stays. Where the
local write is the later one it is pushed again, over the remote row it was not built on; where the remote
one is, the local value is replaced and not pushed. A row that the remote store refuses for its data is set
aside for a while, stays in the outbox, and keeps no other row waiting.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from django_callcache.exceptions import RemoteRejected, RemoteUnavailable, SyncError
from django_callcache.failpoints import reach
from django_callcache.outbox.dirty import DirtyEntries, DirtyEntry
from django_callcache.sync.remote import Conflict, PushReply, RemoteRow, RemoteStore
from django_callcache.sync.rows import Values, blob_of, row_of

logger = logging.getLogger(__name__)

MAX_ROUNDS = 5
"""Pushes of one entry in one pass: who loses to other writers as often leaves it to the next pass."""

REJECTED_FOR_SECONDS = 600.0
"""How long a rejected entry is set aside; a new write of its key ends it."""

MAX_REJECTED = 100
"""Rejections after which a pass ends: then it is not single rows that are at fault."""

Pushable = tuple[DirtyEntry, RemoteRow]


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
    conflicts: int = 0
    """Entries that met another writer's row; one that met an earlier push of ours is none."""
    rejected: int = 0
    """Entries that the remote store refuses for their data; they wait in the outbox."""
    unknown: int = 0
    """Entries that another release recorded, in a format of its own; they wait in the outbox."""
    backlog: int = 0
    """Entries in the outbox after the pass."""
    error: SyncError | None = None
    """What ended the pass early."""

    @property
    def outcome(self) -> str:
        """How the pass ended: ``ok``, ``partial`` or ``failed``."""
        if self.error is not None:
            return "partial" if self.pushed else "failed"
        return "partial" if self.rejected else "ok"


class SyncPass:
    """A pass over one outbox to one namespace of a remote store.

    Args:
        outbox: Where the entries wait.
        remote: Where they go.
        values: The cache that they come from, which reads and makes its own bytes.
        namespace: Name of this deployment's rows in the remote store.
        batch: Entries in one push.
        batch_bytes: Bytes in one push; a larger entry travels alone.
        lease_seconds: How long an entry is lent to this pass.
        may_go_on: Asked before every push; False ends the pass, its work so far done.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        outbox: DirtyEntries,
        remote: RemoteStore,
        values: Values,
        namespace: str,
        *,
        batch: int = 500,
        batch_bytes: int = 1_048_576,
        lease_seconds: float = 30.0,
        may_go_on: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._remote = remote
        self._values = values
        self._namespace = namespace
        self._batch = batch
        self._batch_bytes = batch_bytes
        self._lease_seconds = lease_seconds
        self._may_go_on = may_go_on
        self._clock = clock
        self._origin = ""
        self._pushed = self._deleted = self._conflicts = self._rejected = self._unknown = 0
        self._held: dict[bytes, DirtyEntry] = {}

    def run(self) -> SyncReport:
        """Push until nothing that was due when the pass began is left.

        Returns:
            The report; an error of the remote store is in it, and what was pushed before it counts.

        Raises:
            redis.RedisError: The outbox cannot be read.
        """
        started_at, began = time.time(), self._clock()
        self._pushed = self._deleted = self._conflicts = self._rejected = self._unknown = 0
        self._held = {}
        error = None
        try:
            self._origin = self._outbox.origin()
            self._push_what_is_due()
        except SyncError as fault:
            error = fault
        finally:
            # Also when the process is told to stop at once: others need not wait for the lease to end.
            self._outbox.release(self._held.values())
        return SyncReport(
            started_at=started_at,
            duration_seconds=self._clock() - began,
            pushed=self._pushed,
            deleted=self._deleted,
            conflicts=self._conflicts,
            rejected=self._rejected,
            unknown=self._unknown,
            backlog=self._outbox.depth(),
            error=error,
        )

    def _push_what_is_due(self) -> None:
        began_ms = None
        while self._may_go_on():
            claim = self._outbox.claim(
                self._batch, self._batch_bytes, self._lease_seconds, not_after_ms=began_ms
            )
            began_ms = claim.now_ms if began_ms is None else began_ms
            self._unknown += claim.unknown
            if not claim.entries and not claim.unknown:
                return
            self._held |= {entry.redis_key: entry for entry in claim.entries}
            reach("cp4")
            self._push(claim.entries, claim.now_ms)

    def _push(self, entries: Iterable[DirtyEntry], now_ms: int) -> None:
        """Push entries until each is acknowledged, lost to a later write, or rejected."""
        for _ in range(MAX_ROUNDS):
            again: list[DirtyEntry] = []
            for sent, reply in self._replies(self._rows_of(entries, now_ms)):
                self._acknowledge(sent, reply)
                again += self._settle_conflicts(sent, reply)
                self._check_named(sent, reply)
            if not again:
                return
            entries = again

    def _rows_of(self, entries: Iterable[DirtyEntry], now_ms: int) -> list[Pushable]:
        rows = []
        for entry in entries:
            try:
                rows.append((entry, row_of(entry, self._values, now_ms)))
            except RemoteRejected as rejection:
                self._reject(entry, str(rejection))
        return rows

    def _replies(self, rows: Sequence[Pushable]) -> Iterator[tuple[Sequence[Pushable], PushReply]]:
        """Push rows in as few calls as it takes; yield each reply with the rows that it answers.

        A batch refused for the data of one of its rows is halved until that row is alone.
        """
        waiting = list(reversed(list(self._by_size(rows))))
        while waiting and self._may_go_on():
            batch = waiting.pop()
            try:
                reply = self._remote.push(self._namespace, self._origin, [row for _, row in batch])
            except RemoteRejected as rejection:
                if len(batch) == 1:
                    self._reject(batch[0][0], str(rejection))
                else:
                    middle = len(batch) // 2
                    waiting += [batch[middle:], batch[:middle]]
            else:
                yield batch, reply

    def _by_size(self, rows: Sequence[Pushable]) -> Iterator[Sequence[Pushable]]:
        """Split rows so that no request is huge: as JSON a value can exceed its compressed bytes by far."""
        start = size = 0
        for number, (_, row) in enumerate(rows):
            if number > start and size + row.size > 2 * self._batch_bytes:
                yield rows[start:number]
                start, size = number, 0
            size += row.size
        if start < len(rows):
            yield rows[start:]

    def _acknowledge(self, sent: Sequence[Pushable], reply: PushReply) -> None:
        applied = [(entry, reply.applied[row.key]) for entry, row in sent if row.key in reply.applied]
        reach("cp8")
        self._outbox.acknowledge(applied)
        reach("cp9")
        for entry, _ in applied:
            del self._held[entry.redis_key]
        self._pushed += len(applied)
        self._deleted += sum(entry.deleted for entry, _ in applied)

    def _settle_conflicts(self, sent: Sequence[Pushable], reply: PushReply) -> list[DirtyEntry]:
        """Decide each conflict, and each rejection the reply names; return the entries to push again."""
        by_key = {row.key: entry for entry, row in sent}
        for key, reason in reply.rejected.items():
            self._reject(by_key[key], reason)
        again = []
        for conflict in reply.conflicts:
            entry = by_key[conflict.key]
            if conflict.remote_version is None:
                again.append(self._rebased(entry, 0))
                continue
            self._conflicts += conflict.origin != self._origin
            if (entry.version, self._origin) > (conflict.version, conflict.origin):
                again.append(self._rebased(entry, conflict.remote_version))
            else:
                self._take_remote(entry, conflict, conflict.remote_version)
        return again

    def _rebased(self, entry: DirtyEntry, remote_version: int) -> DirtyEntry:
        self._outbox.rebase(entry, remote_version)
        return replace(entry, remote_version=remote_version)

    def _take_remote(self, entry: DirtyEntry, conflict: Conflict, remote_version: int) -> None:
        """Replace the local value; one written since the claim stays, and is pushed on its own account."""
        self._outbox.apply_remote(
            entry.redis_key,
            version=conflict.version,
            remote_version=remote_version,
            blob=blob_of(conflict, entry, self._values),
            ttl_ms=conflict.ttl_ms,
            deleted=conflict.deleted,
            remote_wins_ties=conflict.origin > self._origin,
        )

    def _reject(self, entry: DirtyEntry, reason: str) -> None:
        logger.error("rejected namespace=%s key=%r reason=%s", self._namespace, entry.remote_key, reason)
        self._outbox.release([entry], delay_seconds=REJECTED_FOR_SECONDS)
        self._held.pop(entry.redis_key, None)
        self._rejected += 1
        if self._rejected >= MAX_REJECTED:
            raise RemoteUnavailable(f"The remote store refuses row after row; the last reason: {reason}")

    def _check_named(self, sent: Sequence[Pushable], reply: PushReply) -> None:
        """End the pass where a reply passes rows over in silence; nothing is known of them."""
        named = reply.applied.keys() | reply.rejected.keys() | {conflict.key for conflict in reply.conflicts}
        missing = sum(row.key not in named for _, row in sent)
        if missing:
            raise RemoteUnavailable(f"The remote store's reply says nothing of {missing} rows")
