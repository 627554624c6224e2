"""Numbers as people read them, in the language of the request."""

from __future__ import annotations

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

NOTHING = "\N{EN DASH}"
"""Stands where a number is not known."""

SPANS = (
    (86400, gettext_noop("%(n)s d")),
    (3600, gettext_noop("%(n)s h")),
    (60, gettext_noop("%(n)s min")),
    (1, gettext_noop("%(n)s s")),
)
"""Units of a lifetime, in seconds."""

SHORT = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def percent(share: float | None) -> str:
    """A share as a percentage with one digit; never 100 % for what is not all."""
    if share is None:
        return NOTHING
    value = min(round(share * 100, 1), 99.9) if share < 1 else 100
    return _("%(number)s %%") % {"number": _written(value, 0 if value in {0, 100} else 1)}


def signed(value: float | None) -> str:
    """A difference with its sign and one digit."""
    if value is None:
        return NOTHING
    rounded = round(value, 1)
    sign = "+" if rounded > 0 else "\N{MINUS SIGN}" if rounded < 0 else "\N{PLUS-MINUS SIGN}"
    return sign + _written(abs(rounded), 1)


def number(value: float | None) -> str:
    """A count, in groups of three digits."""
    return NOTHING if value is None else _written(value, 0)


def short(value: float | None) -> str:
    """A count in few characters: 12.3 k."""
    if value is None:
        return NOTHING
    for size, letter in SHORT:
        if value >= size:
            scaled = value / size
            return _written(scaled, 0 if scaled >= 100 or scaled == int(scaled) else 1) + letter
    return _written(value, 0 if value == int(value) else 1)


def rate(value: float | None) -> str:
    """Events a second, with as many digits as say something."""
    if value is None:
        return NOTHING
    digits = 0 if value >= 100 or value == 0 else 1 if value >= 1 else 2
    return _written(value, digits)


def duration(seconds: float | None) -> str:
    """The time that a call took."""
    if seconds is None:
        return NOTHING
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= size:
            return _amount(seconds / size, unit)
    return _amount(seconds * 1e6, "\N{MICRO SIGN}s")


def lifetime(seconds: float | None) -> str:
    """How long something lives or has lasted, by its two largest units."""
    if seconds is None:
        return _("never expires")
    left = round(seconds)
    words: list[str] = []
    for size, unit in SPANS:
        count, left = divmod(left, size)
        if count:
            words.append(_(unit) % {"n": _written(count, 0)})
        elif words:
            break
    return " ".join(words[:2]) or _("%(n)s s") % {"n": 0}


def _amount(value: float, unit: str) -> str:
    return f"{_written(value, 0 if value >= 100 else 1 if value >= 10 else 2)} {unit}"


def _written(value: float, digits: int) -> str:
    # Django cuts what it should round.
    return number_format(round(value, digits), digits, force_grouping=True)
