"""The two faces of an operation: a blocking method and its asyncio twin, made of the one coroutine."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from django_callcache.cache.faults import bared
from django_callcache.cache.operations import Operations
from django_callcache.cache.running import run
from django_callcache.exceptions import CallCacheError, RedisFault, SyncError

P = ParamSpec("P")
Result = TypeVar("Result")
Item = TypeVar("Item")


class TwoFaced(Protocol):
    """What has operations for blocking callers and for asyncio callers."""

    @property
    def blocking(self) -> Operations:
        """Operations that block the calling thread."""
        ...

    @property
    def native(self) -> Operations:
        """Operations of the running event loop."""
        ...


def faces(
    operation: Callable[Concatenate[Operations, P], Coroutine[Any, Any, Result]],
) -> tuple[
    Callable[Concatenate[Any, P], Result],
    Callable[Concatenate[Any, P], Coroutine[Any, Any, Result]],
]:
    """The blocking and the asyncio method of an operation."""

    @functools.wraps(operation)
    def blocking(self: TwoFaced, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        try:
            return run(operation(self.blocking, *args, **kwargs))
        except CallCacheError:
            del args, kwargs  # error pages show what a frame holds
            raise

    @functools.wraps(operation)
    async def native(self: TwoFaced, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        try:
            return await operation(self.native, *args, **kwargs)
        except (RedisFault, SyncError) as error:
            del args, kwargs
            raise bared(error) from error.__cause__

    native.__name__ = f"a{operation.__name__}"
    native.__qualname__ = native.__qualname__.replace(operation.__name__, native.__name__)
    return blocking, native


def iterating_faces(
    operation: Callable[Concatenate[Operations, P], AsyncIterator[Item]],
) -> tuple[Callable[Concatenate[Any, P], Iterator[Item]], Callable[Concatenate[Any, P], AsyncIterator[Item]]]:
    """The same for an operation that yields."""

    @functools.wraps(operation)
    def blocking(self: TwoFaced, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Item]:
        return _iterate(operation(self.blocking, *args, **kwargs))

    @functools.wraps(operation)
    def native(self: TwoFaced, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Item]:
        return operation(self.native, *args, **kwargs)

    native.__name__ = f"a{operation.__name__}"
    return blocking, native


def _iterate(items: Any) -> Iterator[Any]:
    try:
        while True:
            try:
                yield run(items.__anext__())
            except StopAsyncIteration:
                return
    finally:
        run(items.aclose())
