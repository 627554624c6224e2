"""What a remote store is: rows go up in batches, and the reply says what became of each; changes come down.

The words are those of the SQL functions in ``sql/001_callcache.sql``, which every store offers, in PostgreSQL
or in memory. A reply is believed only for the rows that it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from django_callcache.exceptions import RemoteRefused, RemoteUnavailable

SCHEMA_VERSION = 1
"""Version of the remote tables and functions that this release works with."""

HOW_TO_INSTALL = "run what `manage.py callcache_sql` prints in the remote database"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRow:
    """One entry on its way to the remote store."""

    key: str
    version: int
    """Order of the write: microseconds since the epoch, ascending for its Redis."""
    base: int = 0
    """Version of the remote row that the write builds on; 0: of none."""
    deleted: bool = False
    codec: str = "json"
    value: Any = field(default=None, repr=False)
    """The value itself, where ``codec`` is json."""
    payload: str | None = field(default=None, repr=False)
    """Base64 of the value's bytes, where ``codec`` is another."""
    checksum: str | None = None
    ttl_ms: int | None = None
    """Milliseconds that the value has left; None: it never expires."""
    size: int = 0
    """About how many bytes the value takes in a request."""

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``callcache_push`` takes."""
        row: dict[str, Any] = {"k": self.key, "h": order_text(self.version), "b": self.base}
        if self.ttl_ms is not None:
            row["ttl"] = self.ttl_ms
        if self.deleted:
            return row | {"d": True}
        row |= {"c": self.codec, "s": self.checksum}
        return row | ({"v": self.value} if self.codec == "json" else {"p": self.payload})


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRow:
    """A row as the remote store holds it."""

    key: str
    remote_version: int | None
    """Version to build on; None where the row is gone that a write was built on."""
    version: int = 0
    """Order of the remote write, as ``RemoteRow.version``."""
    origin: str = ""
    """Which Redis wrote it; "sql" for a write by hand."""
    deleted: bool = False
    codec: str = "json"
    value: Any = field(default=None, repr=False)
    payload: str | None = field(default=None, repr=False)
    ttl_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The place of one push in the order of changes; nobody else's change is within."""

    epoch: str
    """Of the store."""
    after: int
    """The cursor of who has read everything that came before it."""
    next: int
    """The cursor of who has also read what it wrote."""


@dataclass(frozen=True, slots=True)
class PushReply:
    """What became of the rows of one push."""

    applied: Mapping[str, int]
    """Keys that the store holds as pushed, with the version it gave them."""
    conflicts: Sequence[HeldRow]
    """The rows that stand where one was to be written."""
    rejected: Mapping[str, str]
    """Keys that the store refuses for what they are, with the reason."""
    now_ms: int
    """Unix milliseconds by the clock of the store."""
    span: Span | None = None
    """Where in the order of changes the rows were written; None where the store does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of the rows that changed after a cursor, in the order of their commits."""

    epoch: str
    """Of the store; another one where it was made anew, or restored by the book."""
    reset: bool
    """Whether the reader has to begin again at 0: it may have missed something that is gone now."""
    next: int
    """The cursor after this page."""
    more: bool
    rows: tuple[HeldRow, ...]


class RemoteStore(Protocol):
    """The other end of the sync. One object is used by one thread at a time."""

    def push(self, namespace: str, origin: str, rows: Sequence[RemoteRow]) -> PushReply:
        """Write rows, each only over the version that it builds on.

        Writing the same rows again changes nothing and is reported as applied.

        Raises:
            RemoteUnavailable: The store does not answer, or its reply proves nothing; try again.
            RemoteRefused: The store refuses us; a person has to act.
            RemoteRejected: The store refuses the batch for the data of one of its rows.
        """

    def pull(self, namespace: str, after: int, limit: int, epoch: str | None) -> Page:
        """Return rows that changed after a cursor, oldest change first; the store may return fewer at a time.

        Args:
            namespace: Whose rows.
            after: The cursor; 0 for all rows.
            limit: Rows at most.
            epoch: Of the store that the cursor is from; None where there is none.

        Raises:
            RemoteUnavailable: The store does not answer, or its reply makes no sense; try again.
            RemoteRefused: The store refuses us; a person has to act.
        """

    def fetch(self, namespace: str, keys: Sequence[str]) -> Sequence[HeldRow]:
        """Return some rows by their keys, those of them that are there.

        Raises:
            RemoteUnavailable: The store does not answer, or its reply makes no sense; try again.
            RemoteRefused: The store refuses us; a person has to act.
        """

    def collect_garbage(self) -> int:
        """Remove some tombstones and rows that expired more than a week ago; return how many."""

    def claim(self, namespace: str, marks: Sequence[str], *, take_over: bool = False) -> str:
        """Mark a namespace as this environment's, unless another one has; return whose it is.

        Args:
            namespace: Which.
            marks: By what this environment is known: the first is put there, the others are earlier ones.
            take_over: Whether to replace the mark of another environment.
        """

    def exposed(self) -> str:
        """Tell which tables browsers may reach, and by which role; empty: none."""

    def check_schema(self) -> None:
        """See that the store has the tables of this release.

        Raises:
            RemoteUnavailable: The store does not answer.
            RemoteRefused: They are missing, of another version, or not ours to read.
        """

    def close(self) -> None:
        """Let go of connections; the store may be used again afterwards."""


def order_text(version: int) -> str:
    """Return a version as the remote store orders it: 16 hex digits."""
    return f"{version:016x}"


def read_push_reply(data: object, rows: Sequence[RemoteRow]) -> PushReply:
    """Read the reply of ``callcache_push``, believing only what it says of the rows that were sent.

    Raises:
        RemoteUnavailable: It is not such a reply. Something between us and the store may have answered.
    """
    sent = {row.key: row for row in rows}
    try:
        if not isinstance(data, dict):
            raise TypeError
        applied = {
            key: int(version)
            for key, version, _, order in data["applied"]
            if key in sent and order == order_text(sent[key].version)
        }
        conflicts = tuple(read_row(row) for row in data["conflicts"] if row["k"] in sent)
        rejected = {str(key): str(reason) for key, reason in data["rejected"] if key in sent}
        return PushReply(applied, conflicts, rejected, int(data["now_ms"]), _span_in(data))
    except (KeyError, TypeError, ValueError):
        pass
    raise RemoteUnavailable("The remote store's reply to a push is not one; nothing is taken as written")


def _span_in(data: Mapping[str, Any]) -> Span | None:
    if data.get("after") is None:
        return None
    return Span(epoch=str(data["epoch"]), after=int(data["after"]), next=int(data["next"]))


def read_page(data: object) -> Page:
    """Read the reply of ``callcache_pull``.

    Raises:
        RemoteUnavailable: It is not such a reply.
    """
    try:
        if not isinstance(data, dict):
            raise TypeError
        rows = tuple(read_row(row) for row in data["rows"])
        if any(row.remote_version is None for row in rows):
            raise ValueError
        return Page(
            epoch=str(data["epoch"]),
            reset=bool(data["reset"]),
            next=int(data["next"]),
            more=bool(data["more"]),
            rows=rows,
        )
    except (KeyError, TypeError, ValueError):
        pass
    raise RemoteUnavailable("The remote store's reply to a pull is not one")


def read_held(data: object, keys: Sequence[str]) -> list[HeldRow]:
    """Read the reply of ``callcache_fetch``, believing only rows that were asked for.

    Raises:
        RemoteUnavailable: It is not such a reply.
    """
    wanted = frozenset(keys)
    try:
        if not isinstance(data, list):
            raise TypeError
        return [read_row(row) for row in data if row["k"] in wanted]
    except (KeyError, TypeError, ValueError):
        pass
    raise RemoteUnavailable("The remote store's reply has no rows")


def read_text(data: object) -> str:
    """Read a reply that is a text."""
    if isinstance(data, str):
        return data
    raise RemoteUnavailable("The remote store's reply makes no sense")


def read_count(data: object) -> int:
    """Read a reply that is a number."""
    if isinstance(data, int):
        return data
    raise RemoteUnavailable("The remote store's reply makes no sense")


def read_row(row: Mapping[str, Any]) -> HeldRow:
    """Read one row as the SQL functions give it."""
    if row["ver"] is None:
        return HeldRow(key=row["k"], remote_version=None)
    ttl_ms = row["ttl"]
    return HeldRow(
        key=row["k"],
        remote_version=int(row["ver"]),
        version=int(row["h"], 16),
        origin=str(row["o"]),
        deleted=bool(row["d"]),
        codec=str(row["c"]),
        value=row["v"],
        payload=row["p"],
        ttl_ms=None if ttl_ms is None else int(ttl_ms),
    )


def ensure_schema_version(found: object) -> None:
    """Refuse a store that lacks our tables or has those of a later release."""
    if found == SCHEMA_VERSION:
        return
    what = f"has schema version {found}" if isinstance(found, int) else "says no schema version"
    raise RemoteRefused(
        f"The remote store {what}, this release needs {SCHEMA_VERSION}: {HOW_TO_INSTALL}, "
        "or upgrade this app",
        lacks_schema=True,
    )
