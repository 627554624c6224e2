"""A remote store in this process's memory, which behaves as the SQL functions do. For tests and trials."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from django_callcache.sync.remote import HeldRow, Page, PushReply, RemoteRow, RemoteStore, Span

CLOCK_TOLERANCE_US = 300_000_000
"""A writer's clock may be this far ahead, as in ``callcache_push``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """One row of the store."""

    row: RemoteRow
    origin: str
    remote_version: int
    seq: int
    expires_at: float | None


class MemoryStore:
    """Rows by namespace and key.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._rows: dict[tuple[str, str], StoredRow] = {}
        self._lock = threading.Lock()
        self._seq = 0
        self._marks: dict[str, str] = {}
        self.epoch = str(uuid4())

    def push(self, namespace: str, origin: str, rows: Sequence[RemoteRow]) -> PushReply:
        """Write rows, each only over the version that it builds on."""
        applied: dict[str, int] = {}
        conflicts: list[HeldRow] = []
        rejected: dict[str, str] = {}
        with self._lock:
            after = self._seq
            for row in rows:
                stored = self._rows.get((namespace, row.key))
                if row.version > self._clock() * 1e6 + CLOCK_TOLERANCE_US:
                    rejected[row.key] = "the clock of the writer is more than 5 minutes ahead"
                elif stored and (stored.origin, stored.row.version) == (origin, row.version):
                    applied[row.key] = stored.remote_version
                elif row.base == (stored.remote_version if stored else 0):
                    applied[row.key] = row.base + 1
                    self._write(namespace, origin, row)
                else:
                    conflicts.append(self._held(row.key, stored))
            span = Span(epoch=self.epoch, after=after, next=self._seq)
            return PushReply(applied, tuple(conflicts), rejected, round(self._clock() * 1000), span)

    def pull(self, namespace: str, after: int, limit: int, epoch: str | None) -> Page:
        """Return rows that changed after a cursor."""
        with self._lock:
            changed = sorted(
                (
                    stored
                    for (space, _), stored in self._rows.items()
                    if space == namespace and stored.seq > after
                ),
                key=lambda stored: stored.seq,
            )
            page = changed[:limit]
            more = len(changed) > limit
            return Page(
                epoch=self.epoch,
                reset=(epoch is not None and epoch != self.epoch) or after > self._seq,
                next=page[-1].seq if more else max(after, self._seq),
                more=more,
                rows=tuple(self._held(stored.row.key, stored) for stored in page),
            )

    def fetch(self, namespace: str, keys: Sequence[str]) -> Sequence[HeldRow]:
        """Return some rows by their keys."""
        with self._lock:
            stored = ((key, self._rows.get((namespace, key))) for key in dict.fromkeys(keys))
            return [self._held(key, row) for key, row in stored if row is not None]

    def collect_garbage(self) -> int:
        """Nothing that is kept for a week lives that long in memory."""
        return 0

    def claim(self, namespace: str, marks: Sequence[str], *, take_over: bool = False) -> str:
        """Mark a namespace as this environment's, unless another one has; return whose it is."""
        with self._lock:
            if take_over or self._marks.get(namespace, marks[0]) in marks:
                self._marks[namespace] = marks[0]
            return self._marks[namespace]

    def exposed(self) -> str:
        """Nobody else reaches this memory."""
        return ""

    def check_schema(self) -> None:
        """Memory needs no schema."""

    def close(self) -> None:
        """There is nothing to let go of."""

    def stored(self, namespace: str, key: str) -> StoredRow | None:
        """Look at a row."""
        return self._rows.get((namespace, key))

    def remove(self, namespace: str, key: str) -> None:
        """Forget a row, as the remote store's garbage collection does."""
        del self._rows[namespace, key]

    def restore(self, namespace: str, rows: Mapping[str, StoredRow | None]) -> None:
        """Put rows back as they were, as the loss of commits does."""
        for key, stored in rows.items():
            if stored is None:
                self.remove(namespace, key)
            else:
                self._rows[namespace, key] = stored

    def _write(self, namespace: str, origin: str, row: RemoteRow) -> None:
        self._seq += 1
        self._rows[namespace, row.key] = StoredRow(
            seq=self._seq,
            row=replace(row, value=copy.deepcopy(row.value)),
            origin=origin,
            remote_version=row.base + 1,
            expires_at=None if row.ttl_ms is None else self._clock() + row.ttl_ms / 1000,
        )

    def _held(self, key: str, stored: StoredRow | None) -> HeldRow:
        if stored is None:
            return HeldRow(key=key, remote_version=None)
        ttl_ms = None if stored.expires_at is None else round((stored.expires_at - self._clock()) * 1000)
        row: Any = stored.row
        return HeldRow(
            key=key,
            remote_version=stored.remote_version,
            version=row.version,
            origin=stored.origin,
            deleted=row.deleted,
            codec=row.codec,
            value=copy.deepcopy(row.value),
            payload=row.payload,
            ttl_ms=ttl_ms,
        )


_: type[RemoteStore] = MemoryStore
