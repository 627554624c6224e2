"""Arguments as readable texts that are the same in every process, Python and release.

Two arguments have one text only if they are equal and of one kind: ``7`` and ``'7'`` differ.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from pathlib import PurePath
from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.db.models import Model
from django.utils.functional import Promise
from django.utils.safestring import SafeString

DIGEST_BYTES = 16
MARK = "~"
"""Stands before the digest of what was too long; no other text has one."""
READABLE = "!#$&()*+,-./:;<=>?@[]^_`{|}"
"""What a text shows as it is, beside letters and digits."""


def token_of(value: object) -> str:
    """The text of an argument.

    Raises:
        TypeError: It has none that is the same in every process.
    """
    make = TOKENS.get(type(value))
    if make is not None:
        return make(value)
    if isinstance(value, Promise):  # a translation: what it says now
        return _text(str(value))
    return _token_by_kind(value)


def shortened(text: str, limit: int) -> str:
    """A text of at most ``limit`` characters: its beginning and a digest where it is longer."""
    if len(text) <= limit:
        return text
    digest = blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()
    return f"{text[: limit - len(digest) - 1]}{MARK}{digest}"


def name_of(kind: Any) -> str:
    """Where a class or function is found."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _token_by_kind(value: Any) -> str:
    if isinstance(value, Enum):
        return f"{name_of(type(value))}.{value.name}"
    if isinstance(value, Model):
        if value.pk is None:
            raise TypeError("is not saved, so it has no primary key")
        # A proxy is the same row under another name.
        return f"{(value._meta.concrete_model or type(value))._meta.label}({token_of(value.pk)})"
    if isinstance(value, type):
        return name_of(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, PurePath):
        return f"Path({_text(value.as_posix())})"
    if is_dataclass(value):
        compared = (field.name for field in fields(value) if field.compare)
        return f"{name_of(type(value))}({_named((name, getattr(value, name)) for name in compared)})"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return f"{name_of(type(value))}{_sequence(value)}"
    raise TypeError(f"is a {type(value).__name__}, whose text is not the same in every process")


def _text(value: str) -> str:
    quoted = quote(value, safe=READABLE, errors="surrogatepass").replace(MARK, "%7E")
    return f"'{quoted}'"


def _sequence(values: Iterable[object]) -> str:
    return f"({','.join(map(token_of, values))})"


def _set(values: Iterable[object]) -> str:
    return f"{{{','.join(sorted(map(token_of, values)))}}}"


def _mapping(value: dict[Any, Any]) -> str:
    return f"{{{','.join(sorted(f'{token_of(key)}:{token_of(item)}' for key, item in value.items()))}}}"


def _named(items: Iterable[tuple[str, object]]) -> str:
    return ",".join(f"{name}={token_of(value)}" for name, value in items)


TOKENS: dict[type, Callable[[Any], str]] = {
    type(None): str,
    bool: str,
    int: str,
    float: repr,
    complex: repr,
    str: _text,
    SafeString: lambda value: _text(str(value)),
    bytes: lambda value: f"b{_text(value.hex())}",
    bytearray: lambda value: f"bytearray{_text(value.hex())}",
    Decimal: lambda value: f"Decimal({value})",
    UUID: str,
    timedelta: lambda value: f"{value // timedelta(microseconds=1)}us",
    tuple: _sequence,
    list: lambda value: f"[{','.join(map(token_of, value))}]",
    set: _set,
    frozenset: _set,
    dict: _mapping,
    OrderedDict: _mapping,
    defaultdict: _mapping,
}
