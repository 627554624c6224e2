"""The three serializers. Only pickle gives back exactly what was stored.

``msgpack`` and ``json`` (both by msgspec) take what the format can say and give back plain values: a tuple
or a set comes back as a list, a model not at all; JSON also turns bytes and most other types into text, and
NaN and infinities into None. They nest at most 100 deep, which is checked when they are written.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from django_callcache.codec import blob

MAX_DEPTH = 100
"""Containers within containers, for msgpack and JSON."""


@dataclass(frozen=True, slots=True)
class Serializer:
    """A way to turn a value into bytes and back."""

    name: str
    format: int
    """Byte 0 of a blob."""
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


def _pickle_dumps(value: Any) -> bytes:
    return pickle.dumps(value, 5)


_msgpack_encode = msgspec.msgpack.Encoder().encode
_msgpack_decode = msgspec.msgpack.Decoder().decode
_json_encode = msgspec.json.Encoder().encode
_json_decode = msgspec.json.Decoder().decode


def _msgpack_dumps(value: Any) -> bytes:
    payload = _msgpack_encode(value)
    if _may_be_deep(payload, _NOT_OPENING_MSGPACK):
        _refuse_deep(value, payload, _msgpack_decode)
    return payload


def _json_dumps(value: Any) -> bytes:
    payload = _json_encode(value)
    if _may_be_deep(payload, _NOT_OPENING_JSON):
        _refuse_deep(value, payload, _json_decode)
    return payload


def _may_be_deep(payload: bytes, not_opening: bytes) -> bool:
    """Tell, cheaply, values that may nest too deep from those that cannot: too few bytes open a container."""
    return len(payload) > MAX_DEPTH and len(payload.translate(None, not_opening)) > MAX_DEPTH


def _refuse_deep(value: Any, payload: bytes, decode: Callable[[bytes], Any]) -> None:
    try:
        deep = _is_deep(value)
    except TypeError:
        # A dataclass, a Struct, an enum: what it was encoded to can be walked.
        deep = _is_deep(decode(payload))
    if deep:
        raise ValueError(f"the value nests deeper than {MAX_DEPTH} containers")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child for container in level for child in _children(container) if type(child) not in _SCALARS
        ]
        if not level:
            return False
    return True


def _children(container: Any) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


_SCALARS = frozenset((type(None), bool, int, float, str, bytes))
# The first byte of fixmap, fixarray, array 16 and 32, map 16 and 32 (msgpack specification, "Formats").
_NOT_OPENING_MSGPACK = bytes(set(range(256)) - set(range(0x80, 0xA0)) - set(range(0xDC, 0xE0)))
_NOT_OPENING_JSON = bytes(set(range(256)) - set(b"[{"))

SERIALIZERS = {
    serializer.name: serializer
    for serializer in (
        Serializer("pickle", blob.PICKLE, _pickle_dumps, pickle.loads),
        Serializer("msgpack", blob.MSGPACK, _msgpack_dumps, _msgpack_decode),
        Serializer("json", blob.JSON, _json_dumps, _json_decode),
    )
}
