"""A remote store in this process's memory, which behaves as the SQL functions do. For tests and trials."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django_callcache.sync.remote import Conflict, PushReply, RemoteRow, RemoteStore

CLOCK_TOLERANCE_US = 300_000_000
"""A writer's clock may be this far ahead, as in ``callcache_push``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """One row of the store."""

    row: RemoteRow
    origin: str
    remote_version: int
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

    def push(self, namespace: str, origin: str, rows: Sequence[RemoteRow]) -> PushReply:
        """Write rows, each only over the version that it builds on."""
        applied: dict[str, int] = {}
        conflicts: list[Conflict] = []
        rejected: dict[str, str] = {}
        with self._lock:
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
                    conflicts.append(self._conflict(row.key, stored))
            return PushReply(applied, tuple(conflicts), rejected, round(self._clock() * 1000))

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

    def _write(self, namespace: str, origin: str, row: RemoteRow) -> None:
        self._rows[namespace, row.key] = StoredRow(
            row=replace(row, value=copy.deepcopy(row.value)),
            origin=origin,
            remote_version=row.base + 1,
            expires_at=None if row.ttl_ms is None else self._clock() + row.ttl_ms / 1000,
        )

    def _conflict(self, key: str, stored: StoredRow | None) -> Conflict:
        if stored is None:
            return Conflict(key=key, remote_version=None)
        ttl_ms = None if stored.expires_at is None else round((stored.expires_at - self._clock()) * 1000)
        row: Any = stored.row
        return Conflict(
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
