"""Values are checked before they are stored, where a rule says by what."""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, get_origin, is_typeddict

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_callcache.exceptions import InvalidValue
from django_callcache.interruptions import is_interruption

KEPT = (
    *(bytes, bytearray, decimal.Decimal, uuid.UUID),
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
)
"""Types that a schema sees as they are, not as JSON would write them."""

_QUOTED = re.compile(r"^(Invalid [a-z ]*value) .*?(?= - at `|$)", re.DOTALL)
"""The messages of msgspec that quote the value itself."""

_convert = msgspec.convert


class Validator:
    """Refuses values that are not what a rule says they must be.

    Args:
        wanted: A type that msgspec knows (Struct, dataclass, TypedDict, attrs class, ``list[...]`` of one),
            any other class, or a callable that takes the value and raises, or returns False, where it is
            wrong; or the dotted path of one.
        caller_key: Returns the key as its writer spelt it of the key that Redis holds.

    Raises:
        ImproperlyConfigured: The path leads nowhere, or to nothing that can check.
    """

    def __init__(self, wanted: object, caller_key: Callable[[bytes], str]) -> None:
        self._wanted = imported(wanted)
        self._name = wanted if isinstance(wanted, str) else _name_of(wanted)
        self._caller_key = caller_key
        self._check = _by_schema if is_schema(self._wanted) else _by_call
        if isinstance(self._wanted, type) and self._check is _by_call:
            self._check = _by_class

    def __call__(self, value: object, redis_key: bytes) -> None:
        """Let a value pass.

        Raises:
            InvalidValue: It is wrong; nothing was sent to Redis. The message names key and field.
        """
        try:
            problem = self._check(self._wanted, value)
        except Exception as error:
            if isinstance(error, MemoryError) or is_interruption(error):
                raise
            raise self._invalid(redis_key, f"it raised {type(error).__name__}") from error
        if problem is not None:
            raise self._invalid(redis_key, problem)

    def _invalid(self, redis_key: bytes, problem: str) -> InvalidValue:
        return InvalidValue(
            f"The value for {self._caller_key(redis_key)!r} is not what {self._name} takes: {problem}. "
            'Nothing was stored. Correct the value, or the rule\'s "validate".'
        )


def imported(wanted: object) -> Any:
    """What a rule's ``validate`` stands for.

    Raises:
        ImproperlyConfigured: The path leads nowhere, or to nothing that can check.
    """
    found: Any = wanted
    if isinstance(wanted, str):
        try:
            found = import_string(wanted)
        except ImportError as error:
            raise ImproperlyConfigured(f'"validate": {wanted!r} cannot be imported: {error}.') from error
    if not callable(found) and not is_schema(found):
        raise ImproperlyConfigured(
            f'"validate": {wanted!r} is a {type(found).__name__}: '
            "name a type, or a function that takes a value."
        )
    return found


def is_schema(wanted: Any) -> bool:
    """Tell a type whose fields msgspec checks from a class or a function."""
    if isinstance(wanted, type):
        is_known = issubclass(wanted, msgspec.Struct) or is_dataclass(wanted) or is_typeddict(wanted)
        return is_known or hasattr(wanted, "__attrs_attrs__") or get_origin(wanted) is not None
    return get_origin(wanted) is not None


def _by_schema(wanted: Any, value: object) -> str | None:
    try:
        plain = msgspec.to_builtins(value, builtin_types=KEPT)
        _convert(plain, wanted, builtin_types=KEPT)
    except msgspec.ValidationError as error:
        return _QUOTED.sub(r"\1", str(error))
    except TypeError:
        return f"a {type(value).__name__} with parts of types that no schema describes"
    return None


def _by_class(wanted: Any, value: object) -> str | None:
    return None if isinstance(value, wanted) else f"it is a {type(value).__name__}"


def _by_call(wanted: Any, value: object) -> str | None:
    return "it returned False" if wanted(value) is False else None


def _name_of(wanted: object) -> str:
    name = getattr(wanted, "__qualname__", None)
    return f"{getattr(wanted, '__module__', '')}.{name}" if name else repr(wanted)
