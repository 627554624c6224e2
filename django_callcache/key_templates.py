"""Keys, tags and prefixes with fields in braces: ``campaign:{campaign_id}``.

A value becomes the text that one would write by hand. What has no text that is the same in every
process is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time
from decimal import Decimal
from enum import Enum
from string import Formatter
from uuid import UUID


class KeyTemplate:
    """A text with fields.

    Args:
        text: Fields are names in braces, attributes after a dot; ``{{`` is a brace.

    Raises:
        ValueError: The braces do not match, or one holds no name.
    """

    __slots__ = ("fields", "parts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts = tuple(self._parsed())
        self.fields = tuple(dict.fromkeys(field for _, field in self.parts if field))
        """What stands in the braces, each once, in order."""

    def _parsed(self) -> list[tuple[str, str]]:
        parts = []
        for literal, field, form, conversion in Formatter().parse(self.text):
            if field is not None and not all(name.isidentifier() for name in field.split(".")):
                raise ValueError(f"{self.text!r} has {{{field}}}: give a name.")
            if form or conversion:
                raise ValueError(f"{self.text!r} formats {{{field}}}: give the name alone.")
            parts.append((literal, field or ""))
        return parts

    @property
    def literal(self) -> str:
        """What every text made of it begins with."""
        return self.parts[0][0] if self.parts else ""

    def render(self, value_of: Callable[[str], object]) -> str:
        """The text with the fields' values.

        Args:
            value_of: Gives the value of a field, by what stands in the braces.

        Raises:
            TypeError: A value has no text of its own.
        """
        return "".join(literal + (text_of(value_of(field)) if field else "") for literal, field in self.parts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyTemplate) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def text_of(value: object) -> str:
    """The text of a value within a key; a model's is that of its primary key.

    Raises:
        TypeError: It has none that is the same in every process.
    """
    if isinstance(value, Enum):
        value = value.value
    # A model, told by its looks: settings are read before models can be imported.
    if hasattr(value, "_meta") and getattr(value, "pk", None) is not None:
        return text_of(value.pk)  # type: ignore[attr-defined]
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or isinstance(value, bool | int | float | Decimal | UUID):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} has no text that could stand in a key")
