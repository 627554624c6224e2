"""Integers as Redis writes them, so that it can count with them; they have no seal."""

from __future__ import annotations

from django_callcache.exceptions import Undecodable

INTEGER_STARTS = frozenset(b"-0123456789")
"""What a stored value begins with that is an integer."""


def integer(blob: bytes) -> int:
    """Read an integer.

    Raises:
        Undecodable: It is none, or not in the one spelling that Redis has for it.
    """
    try:
        number = int(blob)
        canonical = b"%d" % number
    except ValueError as error:
        raise Undecodable("the text is not an integer") from error
    if canonical != blob:
        raise Undecodable("the integer is not written the way Redis writes it")
    return number
