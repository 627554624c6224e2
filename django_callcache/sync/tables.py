"""What a remote store tells of business tables: their rows, and which of them have changed.

Nothing is written there. A reply is believed only where it has the form that was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from django_callcache.conf import TableSource
from django_callcache.exceptions import RemoteRefused, RemoteUnavailable

CHANGES_AT_ONCE = 1000
"""Changes in one page: Supabase cuts longer replies."""

EMPTIED = "*"
"""Stands for every row of a table that was truncated."""


@dataclass(frozen=True, slots=True)
class Change:
    """A row of a table that was inserted, changed or deleted; or all of them."""

    table: str
    """With its schema."""
    by: str
    """The column that keys are made of; `EMPTIED` where all rows are gone."""
    name: str
    """What that column holds, or held, as text."""
    kind: Literal["I", "U", "D", "T"]


@dataclass(frozen=True, slots=True)
class Feed:
    """Some changes, in an order in which none is missed."""

    cursor: str
    """Where the next reading begins."""
    reset: bool
    """Whether changes may have been missed: what came from the tables before cannot be trusted."""
    more: bool
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Stamp:
    """When a row last changed, as the database writes it, and which row."""

    changed_at: str
    name: str


class SourceTables(Protocol):
    """A remote store whose business tables can be read. One object is used by one thread at a time.

    Every method raises `RemoteUnavailable` where the store does not answer and `RemoteRefused` where a
    table, a column or a right is missing.
    """

    def read_rows(self, source: TableSource, names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """Return the rows whose column holds one of some names, with the columns of a record and that one.

        Raises:
            RemoteRejected: A name can be no value of the column.
        """

    def feed(self, cursor: str | None) -> Feed:
        """Return changes of attached tables after a cursor; without one, the cursor to begin with."""

    def collect_changes(self) -> int:
        """Remove some of the changes that are older than a day; return how many."""

    def attached(self) -> frozenset[tuple[str, str]]:
        """Return which columns of which tables, by schema and name, tell of changes."""

    def latest_change(self, source: TableSource) -> Stamp | None:
        """Return the stamp of the row that changed last; None where the table has none."""

    def changed_since(self, source: TableSource, since: str, after: Stamp | None) -> Sequence[Stamp]:
        """Return a page of the stamps of rows that changed at some moment or later, in their order.

        Args:
            source: Which table; its rule names the column that says when.
            since: The moment, ISO 8601.
            after: Where the last page ended.
        """

    def close(self) -> None:
        """Let go of connections; the store may be used again afterwards."""


def name_of(value: object) -> str | None:
    """Return how a key names a value of a column, which is how the feed writes it; None where it has none."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def read_rows(data: object, source: TableSource) -> list[Mapping[str, Any]]:
    """Read rows of a table.

    Raises:
        RemoteUnavailable: It is no such reply. Something between us and the store may have answered.
    """
    if isinstance(data, list) and all(isinstance(row, dict) and source.by in row for row in data):
        return data
    raise RemoteUnavailable(f"The remote store's reply has no rows of {source.full_name}")


def read_feed(data: object) -> Feed:
    """Read the reply of ``callcache_feed``.

    Raises:
        RemoteUnavailable: It is not such a reply.
    """
    try:
        if not isinstance(data, dict):
            raise TypeError
        changes = tuple(Change(*map(str, row)) for row in data["rows"])  # type: ignore[arg-type]
        return Feed(str(data["cursor"]), bool(data["reset"]), bool(data["more"]), changes)
    except (KeyError, TypeError, ValueError):
        pass
    raise RemoteUnavailable("The remote store's reply to a reading of the feed is not one")


def read_attached(data: object) -> frozenset[tuple[str, str]]:
    """Read the reply of ``callcache_attached``.

    Raises:
        RemoteUnavailable: It is not such a reply.
    """
    try:
        if not isinstance(data, list):
            raise TypeError
        return frozenset((str(table), str(column)) for table, column in data)
    except (TypeError, ValueError):
        pass
    raise RemoteUnavailable("The remote store's reply about attached tables is not one")


def read_stamps(data: object, source: TableSource) -> list[Stamp]:
    """Read when rows changed.

    Raises:
        RemoteUnavailable: It is not such a reply.
        RemoteRefused: The column holds something else.
    """
    rows = read_rows(data, source)
    stamps = [(row.get(source.changed_at or ""), name_of(row[source.by])) for row in rows]
    found = [Stamp(at, name) for at, name in stamps if isinstance(at, str) and name is not None]
    if len(found) < len(rows):
        raise RemoteRefused(f"{source.full_name}.{source.changed_at} holds no timestamps")
    return found


def columns_of(source: TableSource) -> tuple[str, ...]:
    """Return the columns to ask for; none: all."""
    return tuple(dict.fromkeys((source.by, *source.fields))) if source.fields else ()


def not_readable(source: TableSource) -> RemoteRefused:
    """Return the error for a table that is not there, or not ours to read."""
    columns = ", ".join(dict.fromkeys((source.by, *source.fields, *filter(None, [source.changed_at]))))
    return RemoteRefused(
        f"The remote store refuses to read the table {source.full_name} ({columns}): see that the table, its "
        "columns and the right to SELECT are there"
    )
