"""One key: how it is stored, how long it lives, and its value in a form that is safe to show.

A value that was pickled is not loaded unless the site says so (``ADMIN["VALUE_DECODE"]``): what it
names is read from its opcodes.
"""

from __future__ import annotations

import datetime
import json
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from django.utils import timezone

from django_callcache.admin.browsing import names_of
from django_callcache.cache import CallCache
from django_callcache.codec import blob as layout
from django_callcache.conf import get_settings
from django_callcache.exceptions import CallCacheError, Undecodable
from django_callcache.ttl import Decision

SHOWN_BYTES = 65_536
"""Bytes of a value that are shown."""
SHOWN_ITEMS = 100
"""Items of a collection that are shown."""

FORMATS = {layout.PICKLE: "pickle", layout.MSGPACK: "msgpack", layout.JSON: "JSON"}


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What is known of a key without its value."""

    key: str
    redis_key: str
    kind: str
    """Redis's type."""
    expires_at: datetime.datetime | None
    ttl_seconds: float | None
    idle_seconds: int | None
    """Since it was last read or written; None where Redis does not keep it."""
    memory: int | None
    """Bytes that Redis needs for it."""
    stored_bytes: int | None
    raw_bytes: int | None
    """Bytes before compression."""
    encoding: str
    """How the value was written: "pickle", "msgpack", "JSON" or "integer"; empty for no value of ours."""
    is_compressed: bool
    by_dictionary: str
    """Id of the zstd dictionary, if one was used."""
    is_encrypted: bool
    tags: int
    """Number of its tags."""
    is_synced: bool
    waits_for_sync: bool
    is_near: bool
    """Whether this process holds a copy."""
    prefix: str
    """Of the rule that it falls under; empty without one."""
    decision: Decision
    """What a write without a timeout would get now."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A value, or as much of it as may and can be shown."""

    form: str
    """"text" (its own, or JSON), "names" (what a pickle names), "items" (of a collection), "encrypted" or
    "undecodable"."""
    text: str
    is_cut: bool = False


def facts_of(cache: CallCache, key: str) -> KeyFacts | None:
    """Return what is known of a key; None if it does not exist.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    redis_key = names_of(cache).redis_key(key)
    pipeline = cache.redis_client().pipeline(transaction=False)
    pipeline.type(redis_key)
    pipeline.pttl(redis_key)
    pipeline.object("idletime", redis_key)
    pipeline.memory_usage(redis_key)
    pipeline.strlen(redis_key)
    pipeline.getrange(redis_key, 0, 4095)
    kind, left, idle, memory, length, start = pipeline.execute(raise_on_error=False)
    if kind == b"none" or left == -2:
        return None
    milliseconds = left if isinstance(left, int) and left >= 0 else None
    rule = cache.rule_for(key)
    near = cache.blocking.near
    synced = rule is not None and bool(rule.sync)
    stored = _header(start, length) if isinstance(start, bytes) else None
    return KeyFacts(
        key=key,
        redis_key=redis_key.decode(errors="backslashreplace"),
        kind=kind.decode() if isinstance(kind, bytes) else "",
        expires_at=None
        if milliseconds is None
        else timezone.now() + datetime.timedelta(milliseconds=milliseconds),
        ttl_seconds=None if milliseconds is None else milliseconds / 1000,
        idle_seconds=idle if isinstance(idle, int) else None,
        memory=memory if isinstance(memory, int) else None,
        stored_bytes=length if isinstance(length, int) else None,
        raw_bytes=stored.raw_length if stored else None,
        encoding=FORMATS[stored.format] if stored else ("integer" if _is_integer(start) else ""),
        is_compressed=bool(stored and stored.raw_length is not None),
        by_dictionary=stored.dictionary_id.hex() if stored and stored.dictionary_id else "",
        is_encrypted=bool(stored and start[1] & layout.AEAD),
        tags=len(stored.stamps) if stored else 0,
        is_synced=synced,
        waits_for_sync=synced and _waits(cache, redis_key),
        is_near=near is not None and near.find(key) is not None,
        prefix=rule.prefix if rule else "",
        decision=cache.explain_ttl(key),
    )


def show(cache: CallCache, key: str) -> Shown | None:
    """Return a value as text; None if there is none.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    client: Any = cache.redis_client()  # its stubs know nothing of replies left as bytes
    redis_key = names_of(cache).redis_key(key)
    kind = client.type(redis_key)
    if kind == b"none":
        return None
    if kind != b"string":
        items = [repr(item) for item in _items(client, kind, redis_key)]
        return _cut("items", "\n".join(items[:SHOWN_ITEMS]), is_cut=len(items) > SHOWN_ITEMS)
    stored = client.get(redis_key)
    if stored is None:
        return None
    if (header := _header(stored, len(stored))) is not None and header.header[1] & layout.AEAD:
        return Shown("encrypted", "")
    try:
        return _shown(cache, key, stored, redis_key)
    except CallCacheError as error:
        return Shown("undecodable", f"{error}\n\n{stored[:256].hex(' ')}", len(stored) > 256)


def _shown(cache: CallCache, key: str, stored: bytes, redis_key: bytes) -> Shown:
    codec = cache.codec_for(key)
    raw = codec.serialized(stored, redis_key)
    if raw is None:
        return _cut("text", stored.decode())
    if stored[0] == layout.PICKLE:
        if get_settings().admin.value_decode == "safe":
            return _cut("names", "\n".join(_named(raw)))
        return _cut("text", _written(codec.decode(stored, redis_key)))
    return _cut(
        "text", _written(msgspec.msgpack.decode(raw) if stored[0] == layout.MSGPACK else json.loads(raw))
    )


def _written(value: Any) -> str:
    try:
        return json.dumps(value, indent=2, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def _named(raw: bytes) -> Iterator[str]:
    """Texts, numbers and names in a pickle, in order, without running any of it."""
    for opcode, argument, _ in pickletools.genops(raw):
        if isinstance(argument, str | int | float) and opcode.name not in _BOOKKEEPING:
            yield str(argument)


_BOOKKEEPING = frozenset(
    {"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "PUT", "GET"}
)
"""Opcodes whose argument is no part of the value."""


def _items(client: Any, kind: bytes, redis_key: bytes) -> list[Any]:
    """Return up to one more item of a collection than are shown."""
    if kind == b"list":
        return list(client.lrange(redis_key, 0, SHOWN_ITEMS))
    if kind == b"zset":
        return list(client.zrange(redis_key, 0, SHOWN_ITEMS, withscores=True))
    if kind == b"hash":
        return list(client.hscan(redis_key, count=SHOWN_ITEMS)[1].items())
    if kind == b"set":
        return list(client.sscan(redis_key, count=SHOWN_ITEMS)[1])
    return [f"a {kind.decode()}, which redis-cli can show"]


def _waits(cache: CallCache, redis_key: bytes) -> bool:
    """Tell whether a write of a key is still to reach the remote store."""
    due = cache.redis_keys.outbox(redis_key).due
    return cache.redis_client().zscore(due, redis_key) is not None


def _header(start: bytes, length: Any) -> layout.Blob | None:
    """Return the header of a stored value; of a long one only its beginning is known."""
    if not isinstance(length, int):
        return None
    try:
        return layout.parse(start if length <= len(start) else start + bytes(layout.SEAL_BYTES))
    except Undecodable:
        return None


def _is_integer(start: Any) -> bool:
    return isinstance(start, bytes) and start.lstrip(b"-").isdigit()


def _cut(form: str, text: str, *, is_cut: bool = False) -> Shown:
    return Shown(form, text[:SHOWN_BYTES], is_cut or len(text) > SHOWN_BYTES)
