"""What an exception means that comes while a value is loaded."""

from __future__ import annotations

from django_callcache.exceptions import Undecodable
from django_callcache.interruptions import is_interruption


def unloadable(error: Exception) -> Undecodable:
    """The error to raise for a value that cannot be loaded.

    A class may raise anything when it is loaded, so every exception counts, but for those that are not the
    value's fault.

    Raises:
        Exception: This one, if memory ran out or a signal handler raised it.
    """
    if isinstance(error, MemoryError) or is_interruption(error):
        raise error
    return Undecodable("the value cannot be loaded")
