"""The remote store through a Django database alias that points at its PostgreSQL.

For projects that may open the database itself: the same tables and functions, one hop less.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

from django.db import DatabaseError, InterfaceError, connections, transaction

from django_callcache.conf import SyncSettings
from django_callcache.exceptions import RemoteRefused, SyncError
from django_callcache.failpoints import reach
from django_callcache.sync.faults import fault_of
from django_callcache.sync.remote import (
    Page,
    PushReply,
    RemoteRow,
    ensure_schema_version,
    read_count,
    read_page,
    read_push_reply,
    read_text,
)

GRACE_SECONDS = 1.0
"""How much longer than its own time limit the database is waited for."""


class PostgresStore:
    """The remote store behind one alias in ``DATABASES``.

    Args:
        database: The alias.
        timeout_seconds: How long the database may take for one batch.
    """

    def __init__(self, database: str, *, timeout_seconds: float = 10.0) -> None:
        self._database = database
        self._timeout_ms = round(timeout_seconds * 1000)

    @classmethod
    def from_settings(cls, settings: SyncSettings) -> Self:
        """Return the store that ``CALLCACHE["SYNC"]`` describes."""
        return cls(settings.database, timeout_seconds=settings.timeout)

    def push(self, namespace: str, origin: str, rows: Sequence[RemoteRow]) -> PushReply:
        """Write rows, each only over the version that it builds on."""
        batch = json.dumps([row.as_json() for row in rows], ensure_ascii=False, allow_nan=False)
        found = self._ask("select public.callcache_push(%s, %s, %s::jsonb)::text", [namespace, origin, batch])
        reach("cp7")
        return read_push_reply(json.loads(found), rows)

    def pull(self, namespace: str, after: int, limit: int, epoch: str | None) -> Page:
        """Return rows that changed after a cursor."""
        query = "select public.callcache_pull(%s, %s, %s, %s::uuid)::text"
        return read_page(json.loads(self._ask(query, [namespace, after, limit, epoch])))

    def collect_garbage(self) -> int:
        """Remove some tombstones and rows that expired more than a week ago."""
        return read_count(self._ask("select public.callcache_gc()", []))

    def claim(self, namespace: str, marks: Sequence[str], *, take_over: bool = False) -> str:
        """Mark a namespace as this environment's, unless another one has; return whose it is."""
        query = "select public.callcache_claim(%s, %s, %s)"
        return read_text(self._ask(query, [namespace, ",".join(marks), take_over]))

    def exposed(self) -> str:
        """Tell which tables browsers may reach; empty: none."""
        return read_text(self._ask("select public.callcache_exposed()", []))

    def check_schema(self) -> None:
        """See that the database has the tables of this release."""
        ensure_schema_version(self._ask("select max(schema_version) from public.callcache_meta", []))

    def close(self) -> None:
        """Close this thread's connection."""
        connections[self._database].close()

    def _ask(self, query: str, parameters: list[Any]) -> Any:
        """Run one query in a transaction of its own; the value is returned after the commit only."""
        connection = connections[self._database]
        if connection.vendor != "postgresql":
            raise RemoteRefused(f"The database alias {self._database!r} is not a PostgreSQL")
        try:
            connection.ensure_connection()
            with (
                _cut_after(connection.connection, self._timeout_ms / 1000 + GRACE_SECONDS),
                transaction.atomic(self._database, durable=True),
                connection.cursor() as cursor,
            ):
                # Local to the transaction, since a pooler may hand the session to another client after it.
                cursor.execute("select set_config('statement_timeout', %s, true)", [str(self._timeout_ms)])
                cursor.execute(query, parameters)
                return cursor.fetchone()[0]
        except (DatabaseError, InterfaceError) as error:
            fault = _fault_of(error)
        # Whatever is wrong with it is gone with the connection; asking it would be another wait.
        connection.close()
        raise fault

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._database!r}>"


@contextmanager
def _cut_after(connection: Any, seconds: float) -> Iterator[None]:
    """Cut the connection under a call that takes too long.

    The server's own time limit says nothing where the server hangs or the network swallows its answer.
    """
    line = socket.socket(fileno=os.dup(connection.fileno()))

    def cut() -> None:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        line.close()


def _fault_of(error: Exception) -> SyncError:
    """Return the error to raise in place of Django's, whose text quotes the query's parameters."""
    cause = error.__cause__
    return fault_of(getattr(cause, "sqlstate", None) or "", str(cause))
