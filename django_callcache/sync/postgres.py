"""The remote store through a Django database alias that points at its PostgreSQL.

For projects that may open the database itself: the same tables and functions, one hop less.
"""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_callcache.conf import SyncSettings, TableSource
from django_callcache.exceptions import RemoteRefused, SyncError
from django_callcache.failpoints import reach
from django_callcache.sync.faults import fault_of
from django_callcache.sync.remote import (
    HeldRow,
    Page,
    PushReply,
    RemoteRow,
    ensure_schema_version,
    read_count,
    read_held,
    read_page,
    read_push_reply,
    read_text,
)
from django_callcache.sync.tables import (
    CHANGES_AT_ONCE,
    Feed,
    Stamp,
    columns_of,
    not_readable,
    read_attached,
    read_feed,
    read_rows,
    read_stamps,
)

IDLE_SECONDS = 20.0
"""How long a connection of its own is used again; the server, or a pooler, may have closed an older one."""
GRACE_SECONDS = 1.0
"""How much longer than its own time limit the database is waited for."""


class PostgresStore:
    """The remote store behind one alias in ``DATABASES``.

    Args:
        database: The alias.
        timeout_seconds: How long the database may take for one batch.
        apart: Whether to ask over a connection of its own, which no transaction of the caller's thread
            touches; else it is that thread's.
    """

    def __init__(self, database: str, *, timeout_seconds: float = 10.0, apart: bool = False) -> None:
        self._database = database
        self._timeout_ms = round(timeout_seconds * 1000)
        self._apart = apart
        self._own: BaseDatabaseWrapper | None = None
        self._used_at = 0.0

    @classmethod
    def from_settings(cls, settings: SyncSettings) -> Self:
        """Return the store that ``CALLCACHE["SYNC"]`` describes."""
        return cls(settings.database, timeout_seconds=settings.timeout)

    @classmethod
    def for_reading(cls, settings: SyncSettings) -> Self:
        """Return a store for callers who wait."""
        return cls(settings.database, timeout_seconds=settings.read_timeout, apart=True)

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

    def fetch(self, namespace: str, keys: Sequence[str]) -> Sequence[HeldRow]:
        """Return some rows by their keys."""
        query = "select public.callcache_fetch(%s, %s::jsonb)::text"
        return read_held(json.loads(self._ask(query, [namespace, json.dumps(list(keys))])), keys)

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

    def read_rows(self, source: TableSource, names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """Return the rows whose column holds one of some names."""
        connection = self._connection()
        columns = ", ".join(map(connection.ops.quote_name, columns_of(source))) or "*"
        by = connection.ops.quote_name(source.by)
        found = self._ask_table(source, columns, f"where {by} = any (%s)", [array_of(names)])
        return read_rows(found, source)

    def feed(self, cursor: str | None) -> Feed:
        """Return changes of attached tables after a cursor."""
        query = "select public.callcache_feed(%s, %s)::text"
        return read_feed(json.loads(self._ask(query, [cursor, CHANGES_AT_ONCE])))

    def collect_changes(self) -> int:
        """Remove some of the changes that are older than a day."""
        return read_count(self._ask("select public.callcache_changes_gc()", []))

    def attached(self) -> frozenset[tuple[str, str]]:
        """Return which columns of which tables tell of changes."""
        return read_attached(json.loads(self._ask("select public.callcache_attached()::text", [])))

    def latest_change(self, source: TableSource) -> Stamp | None:
        """Return the stamp of the row that changed last."""
        columns, at, _ = self._stamp_columns(source)
        clause = f"where {at} is not null order by {at} desc limit 1"
        return next(iter(read_stamps(self._ask_table(source, columns, clause, []), source)), None)

    def changed_since(self, source: TableSource, since: str, after: Stamp | None) -> Sequence[Stamp]:
        """Return a page of the stamps of rows that changed at some moment or later."""
        columns, at, by = self._stamp_columns(source)
        clause, parameters = f"where {at} >= %s", [since]
        if after is not None:
            clause, parameters = f"where ({at}, {by}) > (%s, %s)", [after.changed_at, after.name]
        clause += f" and {by} is not null order by {at}, {by} limit {CHANGES_AT_ONCE}"
        return read_stamps(self._ask_table(source, columns, clause, parameters), source)

    def close(self) -> None:
        """Close the connection."""
        if not self._apart:
            connections[self._database].close()
        elif self._own is not None:
            self._own.close()

    def _stamp_columns(self, source: TableSource) -> tuple[str, str, str]:
        """Return the columns of a stamp as SQL: both, when, and which row."""
        quote = self._connection().ops.quote_name
        at, by = quote(source.changed_at or ""), quote(source.by)
        return f"{at}, {by}", at, by

    def _ask_table(self, source: TableSource, columns: str, clause: str, parameters: list[Any]) -> Any:
        """Return rows of a table as PostgREST would: as the database's JSON of them."""
        quote = self._connection().ops.quote_name
        # Names in settings are checked; what comes from keys goes as parameters.
        rows = f"select {columns} from {quote(source.schema)}.{quote(source.name)} {clause}"  # noqa: S608
        query = f"select coalesce(json_agg(row_to_json(r)), '[]')::text from ({rows}) r"  # noqa: S608
        try:
            return json.loads(self._ask(query, parameters))
        except RemoteRefused as error:
            raise not_readable(source) from error

    def _connection(self) -> BaseDatabaseWrapper:
        """Return the connection to ask over; it may be closed."""
        if not self._apart:
            return _with_an_end(connections[self._database], self._timeout_ms / 1000)
        if self._own is None:
            own = connections.create_connection(self._database)
            own.inc_thread_sharing()
            self._own = _with_an_end(own, self._timeout_ms / 1000)
        return self._own

    @contextmanager
    def _transaction(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        if not self._apart:
            with transaction.atomic(self._database, durable=True):
                try:
                    yield
                except (DatabaseError, InterfaceError):
                    connection.close()  # else Django connects again to leave the block, which is another wait
                    raise
            return
        try:
            connection.set_autocommit(False)
            yield
            connection.commit()
            connection.set_autocommit(True)
        except BaseException:
            connection.close()
            raise
        self._used_at = time.monotonic()

    def _ask(self, query: str, parameters: list[Any]) -> Any:
        """Run one query in a transaction of its own; the value is returned after the commit only."""
        connection = self._connection()
        if self._apart and time.monotonic() > self._used_at + IDLE_SECONDS:
            connection.close()
        if connection.vendor != "postgresql":
            raise RemoteRefused(f"The database alias {self._database!r} is not a PostgreSQL")
        try:
            connection.ensure_connection()
            with (
                _cut_after(connection.connection, self._timeout_ms / 1000 + GRACE_SECONDS),
                self._transaction(connection),
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


def array_of(names: Sequence[str]) -> str:
    """Return names as an array of PostgreSQL's, which takes the type of what it is compared with."""
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
    return "{" + ",".join(f'"{name}"' for name in quoted) + "}"


def _with_an_end(connection: BaseDatabaseWrapper, seconds: float) -> BaseDatabaseWrapper:
    """Give connecting a time limit, unless the alias states one: the client's own is two minutes, or none."""
    options = connection.settings_dict.get("OPTIONS") or {}
    if connection.vendor == "postgresql" and "connect_timeout" not in options:
        # This connection's own settings: those of the alias are the project's.
        options = {**options, "connect_timeout": math.ceil(seconds)}
        connection.settings_dict = {**connection.settings_dict, "OPTIONS": options}
    return connection


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
