"""A cache entry as a row of the remote store, and back.

A value that JSON keeps exactly travels as JSON, so that people and SQL can read it; every other one
travels as the sealed bytes that the cache holds, which only this project's secrets open.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

from django_callcache.exceptions import RemoteRejected, Undecodable, UnknownDictionary, ValueTooLarge
from django_callcache.outbox.dirty import DirtyEntry
from django_callcache.sync.remote import HeldRow, RemoteRow

SEALED = "callcache1"
"""Name of the codec of rows that hold the cache's own bytes."""

MAX_KEY_BYTES = 512
"""Longest key that the remote table takes."""

MAX_EXACT_INTEGER = 2**53
"""Beyond it a reader that knows only floats rounds (RFC 8259, section 6)."""

MAX_DEPTH = 100
"""Deeper values are not walked, but sent as they are."""


class Place(Protocol):
    """Where a value lies on both sides; a ``DirtyEntry`` is one."""

    @property
    def redis_key(self) -> bytes:
        """Name of the value in Redis."""

    @property
    def remote_key(self) -> str:
        """Name of the value in the remote store."""


@dataclass(frozen=True, slots=True)
class PlaceOf:
    """The place of a key, where nothing is known of it but its names."""

    redis_key: bytes
    remote_key: str


Merge = Callable[[str, object, object], object]
"""Makes one value of a key's local and remote ones; see ``conflicts``."""


class Values(Protocol):
    """What a pass asks of the cache that the entries come from."""

    def decode(self, place: Place, blob: bytes) -> object:
        """Return the value that a key has in some bytes; raise ``Undecodable`` for others."""

    def encode(self, place: Place, value: object) -> bytes:
        """Return a value as the cache holds it under a key; raise ``ValueTooLarge`` for a large one."""

    def is_sensitive(self, place: Place) -> bool:
        """Tell whether nobody but this project may read the value of a key."""

    def independent(self, place: Place, blob: bytes) -> bytes:
        """Return the same value in bytes that no dictionary of this deployment is needed for."""

    def place_of(self, remote_key: str) -> Place | None:
        """Return where a row of the remote store belongs; None where this cache syncs no such key."""

    def place_at(self, redis_key: bytes) -> Place | None:
        """Return the place of a value in Redis; None where its remote name cannot be told."""

    def strategy(self, place: Place) -> str | Merge:
        """Return how a conflict over a key is decided: the name of a strategy, or what merges."""

    def announce(self, redis_keys: Sequence[bytes]) -> None:
        """Tell other processes' near caches of changed values, where the server itself does not."""


def row_of(entry: DirtyEntry, values: Values, now_ms: int) -> RemoteRow:
    """Return the row of an entry.

    Args:
        entry: What the outbox holds.
        values: The cache that it comes from.
        now_ms: The clock of Redis, by which the entry expires.

    Raises:
        RemoteRejected: No remote store can take the entry's key or value.
        UnknownDictionary: The value needs a zstd dictionary that is not known here.
    """
    ensure_key(entry.remote_key)
    return RemoteRow(
        key=entry.remote_key,
        version=entry.version,
        base=entry.remote_version,
        deleted=entry.deleted,
        ttl_ms=None if entry.expires_at_ms is None else entry.expires_at_ms - now_ms,
        **({} if entry.deleted else _content(entry, values)),
    )


def _content(entry: DirtyEntry, values: Values) -> dict[str, Any]:
    """Return the fields of a row that hold its value."""
    checksum = blake2b(entry.blob, digest_size=16).hexdigest()
    try:
        value = values.decode(entry, entry.blob)
        if not values.is_sensitive(entry):
            return {"value": value, "size": json_size(value), "checksum": checksum}
        blob = _independent(values, entry)
    except UnknownDictionary:
        raise
    except NotExact:
        blob = _independent(values, entry)
    except Undecodable:
        blob = entry.blob
    payload = base64.b64encode(blob).decode()
    return {"codec": SEALED, "payload": payload, "size": len(payload), "checksum": checksum}


def _independent(values: Values, entry: DirtyEntry) -> bytes:
    try:
        return values.independent(entry, entry.blob)
    except ValueTooLarge as error:
        raise RemoteRejected(f"without its zstd dictionary the value is too large: {error}") from error


def blob_of(row: HeldRow, place: Place, values: Values) -> bytes | None:
    """Return a remote value as the cache holds values; None where this cache cannot read it."""
    if row.deleted:
        return None
    try:
        if row.codec == "json":
            return values.encode(place, row.value)
        if row.codec != SEALED or row.payload is None:
            return None
        blob = base64.b64decode(row.payload, validate=True)
        values.decode(place, blob)
    except (ValueError, Undecodable):
        # Too large for this cache, not base64, or sealed by another project.
        return None
    return blob


def ensure_key(key: str) -> None:
    """Refuse a key that the remote table cannot hold.

    Raises:
        RemoteRejected: With the reason.
    """
    if not is_text(key):
        raise RemoteRejected("the key has a NUL or is not UTF-8")
    if not 0 < len(key.encode()) <= MAX_KEY_BYTES:
        raise RemoteRejected(f"the key is longer than {MAX_KEY_BYTES} bytes")


class NotExact(Exception):
    """A value would not come back from PostgreSQL's jsonb as it went, type and all."""


def json_size(value: Any, depth: int = 0) -> int:
    """Return about how many characters a value takes as JSON.

    Raises:
        NotExact: The value needs the other codec.
    """
    kind = type(value)
    if kind is str and is_text(value):
        return len(value) + 2
    if kind is int and -MAX_EXACT_INTEGER <= value <= MAX_EXACT_INTEGER:
        return 8
    if value is None or kind is bool:
        return 5
    # What is integral comes back as an int from some readers.
    if kind is float and math.isfinite(value) and not value.is_integer():
        return 16
    if kind is list and depth < MAX_DEPTH:
        return 2 + sum([2 + json_size(item, depth + 1) for item in value])
    if kind is dict and depth < MAX_DEPTH:
        return 2 + sum([_name_size(name) + json_size(item, depth + 1) for name, item in value.items()])
    raise NotExact


def _name_size(name: Any) -> int:
    if type(name) is str and is_text(name):
        return len(name) + 6
    raise NotExact


def is_text(text: str) -> bool:
    """Tell whether PostgreSQL can store a string: no NUL, no lone surrogate."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
