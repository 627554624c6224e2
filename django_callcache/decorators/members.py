"""What ``cached()`` makes of a function: callable as before, with the cache behind it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

from asgiref.sync import markcoroutinefunction

from django_callcache.decorators.call_keys import CallKeys
from django_callcache.decorators.storing import Call, Storing

P = ParamSpec("P")
Rest = ParamSpec("Rest")
Result = TypeVar("Result")
Bound = TypeVar("Bound")


class _Cached(Generic[P, Result]):
    """What both kinds of functions have.

    The arguments of every method are those of the function; a method's are without the object
    that it was looked up on.
    """

    def __init__(
        self, function: Callable[..., Any], keys: CallKeys, storing: Storing, bound: tuple[Any, ...] = ()
    ) -> None:
        functools.update_wrapper(self, function)  # type: ignore[arg-type]
        self._function = function
        self._keys = keys
        self._storing = storing
        self._bound = bound

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        return Call(self._function, self._keys, (*self._bound, *args), kwargs)

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key at which the result of a call is kept.

        Raises:
            TypeError: The function does not take these arguments, or no key can be made of one.
        """
        return self._call(args, kwargs).key

    def get(self, *args: P.args, **kwargs: P.kwargs) -> Result | None:
        """The result that is kept, or None: the function is not called."""
        return cast("Result | None", self._storing.get(self._call(args, kwargs)))

    async def aget(self, *args: P.args, **kwargs: P.kwargs) -> Result | None:
        """The same for asyncio."""
        return cast("Result | None", await self._storing.aget(self._call(args, kwargs)))

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Delete the result that is kept; tell whether there was one."""
        return self._storing.delete(self._call(args, kwargs))

    async def ainvalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """The same for asyncio."""
        return await self._storing.adelete(self._call(args, kwargs))

    def _bound_to(self, instance: Any) -> Self:
        return type(self)(self._function, self._keys, self._storing, (*self._bound, instance))

    def __reduce__(self) -> str:
        return str(self.__qualname__)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<cached {self._keys.name}>"


class CachedFunction(_Cached[P, Result]):
    """A function whose results are kept."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Result:
        return cast("Result", self._storing.result(self._call(args, kwargs)))

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Result:
        """Call the function, whatever is kept; keep its result and return it."""
        return cast("Result", self._storing.refreshed(self._call(args, kwargs)))

    @overload
    def __get__(self, instance: None, owner: type) -> CachedFunction[P, Result]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[Bound, Rest], Result], instance: Bound, owner: type | None = None
    ) -> CachedFunction[Rest, Result]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self._bound_to(instance)


class CachedCoroutine(_Cached[P, Result]):
    """A coroutine function whose results are kept."""

    def __init__(
        self, function: Callable[..., Any], keys: CallKeys, storing: Storing, bound: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(function, keys, storing, bound)
        markcoroutinefunction(self)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Result:
        return cast("Result", await self._storing.aresult(self._call(args, kwargs)))

    async def arefresh(self, *args: P.args, **kwargs: P.kwargs) -> Result:
        """Await the function, whatever is kept; keep its result and return it."""
        return cast("Result", await self._storing.arefreshed(self._call(args, kwargs)))

    @overload
    def __get__(self, instance: None, owner: type) -> CachedCoroutine[P, Result]: ...
    @overload
    def __get__(
        self: CachedCoroutine[Concatenate[Bound, Rest], Result], instance: Bound, owner: type | None = None
    ) -> CachedCoroutine[Rest, Result]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self._bound_to(instance)


Made = TypeVar("Made", bound="_Cached[..., Any]")


class OfClass(Generic[Made]):
    """A class method whose results are kept, by class."""

    def __init__(self, made: Made) -> None:
        self._made = made

    def __get__(self, instance: Any, owner: type) -> Made:
        return self._made._bound_to(owner)


class OfNobody(Generic[Made]):
    """A static method whose results are kept."""

    def __init__(self, made: Made) -> None:
        self._made = made

    def __get__(self, instance: Any, owner: type) -> Made:
        return self._made
