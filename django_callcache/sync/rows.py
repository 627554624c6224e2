"""A cache entry as a row of the remote store, and back.

A value that JSON keeps exactly travels as JSON, so that people and SQL can read it; every other one
travels as the sealed bytes that the cache holds, which only this project's secrets open.
"""

from __future__ import annotations

import base64
import math
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Protocol

from django_callcache.exceptions import RemoteRejected, Undecodable, UnknownDictionary, ValueTooLarge
from django_callcache.outbox.dirty import DirtyEntry
from django_callcache.sync.remote import Conflict, RemoteRow

SEALED = "callcache1"
"""Name of the codec of rows that hold the cache's own bytes."""

MAX_KEY_BYTES = 512
"""Longest key that the remote table takes."""

MAX_EXACT_INTEGER = 2**53
"""Beyond it a reader that knows only floats rounds (RFC 8259, section 6)."""

MAX_DEPTH = 100
"""Deeper values are not walked, but sent as they are."""


class Values(Protocol):
    """What a push asks of the cache that the entries come from."""

    def decode(self, entry: DirtyEntry, blob: bytes) -> object:
        """Return the value that an entry's key has in some bytes; raise ``Undecodable`` for others."""

    def encode(self, entry: DirtyEntry, value: object) -> bytes:
        """Return a value as the cache holds it under an entry's key."""

    def is_sensitive(self, entry: DirtyEntry) -> bool:
        """Tell whether nobody but this project may read an entry's value."""

    def independent(self, entry: DirtyEntry, blob: bytes) -> bytes:
        """Return the same value in bytes that no dictionary of this deployment is needed for."""


def row_of(entry: DirtyEntry, values: Values, now_ms: int) -> RemoteRow:
    """Return the row of an entry.

    Args:
        entry: What the outbox holds.
        values: The cache that it comes from.
        now_ms: The clock of Redis, by which the entry expires.

    Raises:
        RemoteRejected: No remote store can take the entry's key, or the value needs a zstd dictionary that
            is not known here: it waits.
    """
    ensure_key(entry.remote_key)
    row = RemoteRow(
        key=entry.remote_key,
        version=entry.version,
        base=entry.remote_version,
        deleted=entry.deleted,
        ttl_ms=None if entry.expires_at_ms is None else entry.expires_at_ms - now_ms,
    )
    if entry.deleted:
        return row
    row = replace(row, checksum=blake2b(entry.blob, digest_size=16).hexdigest())
    try:
        value = values.decode(entry, entry.blob)
        if not values.is_sensitive(entry):
            return replace(row, value=value, size=json_size(value))
        blob = _independent(values, entry)
    except UnknownDictionary as error:
        # Sent as it is, nobody could ever read it.
        raise RemoteRejected(f"the value cannot be read here: {error}") from error
    except NotExact:
        blob = _independent(values, entry)
    except Undecodable:
        blob = entry.blob
    payload = base64.b64encode(blob).decode()
    return replace(row, codec=SEALED, payload=payload, size=len(payload))


def _independent(values: Values, entry: DirtyEntry) -> bytes:
    try:
        return values.independent(entry, entry.blob)
    except ValueTooLarge as error:
        raise RemoteRejected(f"without its zstd dictionary the value is too large: {error}") from error


def blob_of(conflict: Conflict, entry: DirtyEntry, values: Values) -> bytes | None:
    """Return a remote value as the cache holds values; None where this cache cannot read it."""
    if conflict.deleted:
        return None
    try:
        if conflict.codec == "json":
            return values.encode(entry, conflict.value)
        if conflict.codec != SEALED or conflict.payload is None:
            return None
        blob = base64.b64decode(conflict.payload, validate=True)
        values.decode(entry, blob)
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
    if value is None or kind is bool:
        return 5
    if kind is str and is_text(value):
        return len(value) + 2
    if kind is int and -MAX_EXACT_INTEGER <= value <= MAX_EXACT_INTEGER:
        return 8
    # What is integral comes back as an int from some readers.
    if kind is float and math.isfinite(value) and not value.is_integer():
        return 16
    if kind is list and depth < MAX_DEPTH:
        return sum(json_size(item, depth + 1) + 2 for item in value) + 2
    if kind is dict and depth < MAX_DEPTH and all(type(key) is str for key in value):
        return sum(json_size(k, depth + 1) + json_size(item, depth + 1) + 4 for k, item in value.items()) + 2
    raise NotExact


def is_text(text: str) -> bool:
    """Tell whether PostgreSQL can store a string: no NUL, no lone surrogate."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
