"""Carries an operation to its end where nobody waits for it but the calling thread."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from django_callcache.cache.faults import bared
from django_callcache.exceptions import RedisFault, SyncError

Result = TypeVar("Result")


def run(operation: Coroutine[Any, Any, Result]) -> Result:
    """Carry a blocking operation to its end."""
    try:
        operation.send(None)
    except StopIteration as done:
        result: Result = done.value
        return result
    except (RedisFault, SyncError) as error:
        raise bared(error) from error.__cause__
    operation.close()
    raise RuntimeError("a blocking operation suspended")
