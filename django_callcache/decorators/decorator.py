"""The decorator itself: it reads its options and tells the kinds of functions apart."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from asgiref.sync import iscoroutinefunction
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.exceptions import ImproperlyConfigured

from django_callcache.cache.filling import FillOptions
from django_callcache.conf import UNSET, Unset
from django_callcache.decorators.call_keys import CallKeys, Tags
from django_callcache.decorators.members import CachedCoroutine, CachedFunction, OfClass, OfNobody
from django_callcache.decorators.storing import Storing

P = ParamSpec("P")
Result = TypeVar("Result")


class Decorator(Protocol):
    """Makes a cached function of a function, with the same signature."""

    # A coroutine function is a function too, and so is a static method: the first that fits is meant.

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: classmethod[Any, P, Coroutine[Any, Any, Result]], /
    ) -> OfClass[CachedCoroutine[P, Result]]: ...
    @overload
    def __call__(self, function: classmethod[Any, P, Result], /) -> OfClass[CachedFunction[P, Result]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: staticmethod[P, Coroutine[Any, Any, Result]], /
    ) -> OfNobody[CachedCoroutine[P, Result]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: staticmethod[P, Result], /
    ) -> OfNobody[CachedFunction[P, Result]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, Result]], /
    ) -> CachedCoroutine[P, Result]: ...
    @overload
    def __call__(self, function: Callable[P, Result], /) -> CachedFunction[P, Result]: ...


def cached(
    *,
    ttl: float | timedelta | Unset | None = UNSET,
    key: str | Callable[..., str] | None = None,
    exclude: Sequence[str] = (),
    tags: Tags = (),
    condition: Callable[[Any], bool] | None = None,
    alias: str = "default",
    version: int | None = None,
    grace: float | None = None,
    refresh_ahead: float | None = None,
    soft_timeout: float | None = None,
    hard_timeout: float | None = None,
    lock_timeout: float | None = None,
    jitter: float | None = None,
) -> Decorator:
    """Keep a function's results, by its arguments.

    Works on functions, coroutine functions and methods; stands above ``@classmethod`` and
    ``@staticmethod``. What it makes has the function's signature, and ``key()``, ``get()``,
    ``invalidate()`` and ``refresh()``, which take the function's arguments. A result of None is kept
    like any other; an exception is not kept.

    Args:
        ttl: Seconds that a result is kept, a timedelta, or None for ever. Left out, the rule of the
            key's prefix decides.
        key: Where a result is kept: a text with parameters in braces, ``"campaign:{campaign_id}"``,
            or a callable that takes the arguments. Left out, the function's name and its arguments.
        exclude: Parameters that the result does not depend on, such as a token or the object of a method.
        tags: What `delete_tags` drops results by: a list of texts with parameters in braces, or a callable
            that takes the arguments and returns one.
        condition: Takes a result and tells whether it is kept. Left out, all are.
        alias: Of the cache.
        version: Of the keys; left out, the alias's ``VERSION``.
        grace: Seconds after its end for which a result may be served stale. This and what follows is
            documented at `PrefixRule`, whose fields of the same names are the defaults.
        refresh_ahead: How eagerly a result is computed anew before its end.
        soft_timeout: Seconds to wait for the function where there is a stale result.
        hard_timeout: Seconds to wait for the function in any case.
        lock_timeout: Seconds after which the function is taken to hang.
        jitter: Part of the TTL that is taken off at random.

    Raises:
        ImproperlyConfigured: An option cannot be.
    """
    filling = {
        "grace": grace,
        "refresh_ahead": refresh_ahead,
        "soft_timeout": soft_timeout,
        "hard_timeout": hard_timeout,
        "lock_timeout": lock_timeout,
        "jitter": jitter,
    }
    storing = Storing(
        alias=alias,
        timeout=_timeout(ttl),
        version=version,
        condition=condition,
        filling=_checked({name: value for name, value in filling.items() if value is not None}),
    )

    def make(function: Any) -> Any:
        inner = getattr(function, "__func__", function)
        if not callable(inner):
            raise ImproperlyConfigured(
                f"cached() is given a {type(inner).__name__}: write @cached(), above the function."
            )
        kind = CachedCoroutine if iscoroutinefunction(inner) else CachedFunction
        made: Any = kind(inner, CallKeys(inner, key, exclude, tags), storing)
        if isinstance(function, classmethod):
            return OfClass(made)
        return OfNobody(made) if isinstance(function, staticmethod) else made

    return make


def _checked(filling: dict[str, float]) -> dict[str, float]:
    try:
        FillOptions().changed(**filling)
    except (ValueError, TypeError) as error:
        raise ImproperlyConfigured(f"cached(): {error}") from error
    return filling


def _timeout(ttl: object) -> Any:
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if seconds is UNSET:
        return DEFAULT_TIMEOUT
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and seconds > 0):  # type: ignore[operator]
        raise ImproperlyConfigured(f"cached(ttl={ttl!r}): give seconds above 0, a timedelta, or None.")
    return seconds
