"""From what people write in settings to frozen dataclasses.

One reader for every dataclass of this package: the type annotations say what a value may be.
Texts such as ``"60"`` and ``"off"`` are accepted, since URLs and environments carry nothing else.
Whatever is wrong becomes ``ImproperlyConfigured``, which names the setting, the value and the cure;
the value of a secret is never named.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from django.core.exceptions import ImproperlyConfigured

Parsed = TypeVar("Parsed")

TRUE = frozenset({"true", "on", "yes", "y", "1"})
FALSE = frozenset({"false", "off", "no", "n", "0"})


class Unset(Enum):
    """The type of ``UNSET``: nothing was said, where ``None`` says something."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return self.value


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number, the length of a list, or the length in bytes of a text may be."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def hold(self, number: float) -> bool:
        """Tell whether a number lies within."""
        return (
            (self.above is None or number > self.above)
            and (self.at_least is None or number >= self.at_least)
            and (self.at_most is None or number <= self.at_most)
        )

    def __str__(self) -> str:
        bounds = {"above": self.above, "at least": self.at_least, "at most": self.at_most}
        return " and ".join(f"{words} {bound:,}" for words, bound in bounds.items() if bound is not None)


@dataclass(frozen=True, slots=True)
class ReadBy:
    """A reader for what no type annotation can say."""

    read: Callable[[object, str], Any]


class Hidden(Enum):
    """The type of ``HIDDEN``: marks a value that no message may show."""

    HIDDEN = "HIDDEN"


HIDDEN: Final = Hidden.HIDDEN


class Derived(Enum):
    """The type of ``DERIVED``: marks a field that is filled from elsewhere and is no setting."""

    DERIVED = "DERIVED"


DERIVED: Final = Derived.DERIVED

Seconds = Annotated[float, Bounds(above=0)]
Amount = Annotated[float, Bounds(at_least=0)]
Count = Annotated[int, Bounds(at_least=1)]


def parse(kind: type[Parsed], stated: object, where: str) -> Parsed:
    """Read a mapping of setting names into a dataclass.

    A dataclass whose defaults depend on more than itself has a class method ``left_out``, which takes
    the values that were stated and gives those defaults.

    Args:
        kind: The dataclass; its fields are the known names, in lower case.
        stated: What the settings hold; names in any case.
        where: The setting's own path, for messages.

    Raises:
        ImproperlyConfigured: For an unknown name or a value that cannot be.
    """
    values = read_fields(kind, stated, where)
    left_out = getattr(kind, "left_out", None)
    return kind(**{**(left_out(values) if left_out else {}), **values})


def read_fields(kind: type[Any], stated: object, where: str) -> dict[str, Any]:
    """Read the values that a mapping states for a dataclass, by field."""
    hints = setting_types(kind)
    found = by_field(hints, stated, where)
    # A section that was left out is read all the same: its defaults may depend on other settings.
    for name, hint in hints.items():
        if is_dataclass(hint):
            found.setdefault(name, (name.upper(), {}))
    return {name: read(hints[name], value, item(where, written)) for name, (written, value) in found.items()}


def setting_types(kind: type[Any]) -> dict[str, Any]:
    """Annotations of the fields that users may state."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint for name, hint in hints.items() if DERIVED not in getattr(hint, "__metadata__", ())}


def by_field(known: Collection[str], stated: object, where: str) -> dict[str, tuple[str, Any]]:
    """Match stated names with fields; each comes with the name as it was written."""
    if not isinstance(stated, Mapping):
        raise ImproperlyConfigured(f"{where} is of type {type(stated).__name__}: give a dict.")
    found: dict[str, tuple[str, Any]] = {}
    for written, value in stated.items():
        if not isinstance(written, str) or written.lower() not in known:
            raise unknown(written, [name.upper() for name in known], where)
        name = written.lower()
        if name in found:
            raise ImproperlyConfigured(f"{where} has {found[name][0]!r} and {written!r}: keep one of them.")
        found[name] = (written, value)
    return found


def unknown(written: object, known: Collection[str], where: str) -> ImproperlyConfigured:
    """An error that names the nearest known name in place of an unknown one."""
    hint = did_you_mean(str(written), known)
    names = ", ".join(sorted(known))
    return ImproperlyConfigured(f"{where} has no setting {written!r}.{hint} Known: {names}.")


def did_you_mean(written: str, known: Collection[str]) -> str:
    """A sentence naming the nearest of the known names, or nothing."""
    folded = {name.lower(): name for name in known}
    nearest = get_close_matches(written.lower(), folded, n=1, cutoff=0.5)
    return f" Did you mean {folded[nearest[0]]!r}?" if nearest else ""


def item(where: str, name: str) -> str:
    """The path of a setting inside another."""
    return f'{where}["{name}"]'


def read(kind: Any, value: object, where: str) -> Any:
    """Read one value as the type that an annotation asks for."""
    if get_origin(kind) is Annotated:
        return _read_annotated(kind, value, where)
    if get_origin(kind) in (Union, UnionType):
        return _read_union(kind, value, where)
    if is_dataclass(kind):
        return parse(kind, value, where)  # type: ignore[arg-type]
    if get_origin(kind) is Literal:
        return read_choice(get_args(kind), value, where)
    if get_origin(kind) is tuple:
        return read_texts(value, where)
    return READERS[kind](value, where)


def wrong(where: str, value: object, expected: str) -> ImproperlyConfigured:
    """An error that says what is wrong, with which value, and what would be right."""
    ending = "" if expected.endswith(("?", ".")) else "."
    return ImproperlyConfigured(f"{where} is {reprlib.repr(value)}: give {expected}{ending}")


def _read_annotated(kind: Any, value: object, where: str) -> Any:
    base, *marks = get_args(kind)
    if HIDDEN not in marks:
        return _read_marked(base, marks, value, where)
    try:
        return _read_marked(base, marks, value, where)
    except ImproperlyConfigured:
        wanted = "a text" if base is str else "a list of one text or more, none empty"
    # Raised outside the handler, so that no chained message carries the value.
    raise ImproperlyConfigured(f"{where} cannot be used (it is a secret, not shown here): give {wanted}.")


def _read_marked(base: Any, marks: list[Any], value: object, where: str) -> Any:
    for mark in marks:
        if isinstance(mark, ReadBy):
            return mark.read(value, where)
    result = read(base, value, where)
    what, size = _measure(result)
    for mark in marks:
        if isinstance(mark, Bounds) and not mark.hold(size):
            raise wrong(where, value, f"{what} {mark}")
    return result


def _measure(value: Any) -> tuple[str, Any]:
    if isinstance(value, str):
        return "a text whose length in bytes is", len(value.encode())
    if isinstance(value, tuple):
        return "a list whose length is", len(value)
    return "a number that is", value


def _read_union(kind: Any, value: object, where: str) -> Any:
    others = [member for member in get_args(kind) if member is not NoneType]
    if value is None and len(others) < len(get_args(kind)):
        return None
    (other,) = others
    return read(other, value, where)


def read_choice(choices: Collection[str], value: object, where: str) -> str:
    """Read one of a few words, in any case."""
    if isinstance(value, str) and value.lower() in choices:
        return value.lower()
    hint = did_you_mean(value, choices) if isinstance(value, str) else ""
    words = ", ".join(repr(choice) for choice in choices)
    raise ImproperlyConfigured(f"{where} is {reprlib.repr(value)}: give one of {words}.{hint}")


def read_texts(value: object, where: str) -> tuple[str, ...]:
    """Read a list of texts."""
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text for text in value):
        raise wrong(where, value, "a list of texts that are not empty")
    return tuple(value)


def read_bool(value: object, where: str) -> bool:
    word = str(value).lower()
    if isinstance(value, bool | int | str) and word in TRUE | FALSE:
        return word in TRUE
    raise wrong(where, value, "True or False")


def _read_int(value: object, where: str) -> int:
    number = read_float(value, where, expected="a whole number")
    if not number.is_integer():
        raise wrong(where, value, "a whole number")
    return int(number)


def read_float(value: object, where: str, expected: str = "a number") -> float:
    """Read a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong(where, value, expected)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise wrong(where, value, expected)
    return number


def _read_str(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise wrong(where, value, "a text")
    return value


READERS: dict[Any, Callable[[object, str], Any]] = {
    bool: read_bool,
    int: _read_int,
    float: read_float,
    str: _read_str,
}
