"""What the callers of computed values say and get: options, the loader's context, tokens."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, NoReturn

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from django_callcache.conf import LONGEST_LOCK_TIMEOUT, PrefixRule
from django_callcache.exceptions import LoaderFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class FillOptions:
    """How a missing value is computed; see `PrefixRule`, where each of these is documented."""

    grace: float = 0.0
    refresh_ahead: float = 0.0
    soft_timeout: float | None = None
    hard_timeout: float | None = None
    lock_timeout: float = 30.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _require(self.grace >= 0, "grace", self.grace, "seconds, 0 or more")
        _require(self.refresh_ahead >= 0, "refresh_ahead", self.refresh_ahead, "a number, 0 (off) or more")
        for name in ("soft_timeout", "hard_timeout"):
            seconds = getattr(self, name)
            _require(seconds is None or seconds >= 0, name, seconds, "seconds, 0 or more, or None")
        expected = f"seconds above 0 and at most {LONGEST_LOCK_TIMEOUT:g}"
        is_held = 0 < self.lock_timeout <= LONGEST_LOCK_TIMEOUT
        _require(is_held, "lock_timeout", self.lock_timeout, expected)
        _require(0 <= self.jitter <= 0.9, "jitter", self.jitter, "a part of the timeout, from 0 to 0.9")

    @classmethod
    def of_rule(cls, rule: PrefixRule | None) -> FillOptions:
        """What a prefix's rule says."""
        return cls() if rule is None else cls(**{each.name: getattr(rule, each.name) for each in fields(cls)})

    def changed(
        self,
        grace: float | None = None,
        refresh_ahead: float | None = None,
        soft_timeout: float | None = None,
        hard_timeout: float | None = None,
        lock_timeout: float | None = None,
        jitter: float | None = None,
    ) -> FillOptions:
        """The same but for what a caller gives; None leaves a value as it is.

        Raises:
            ValueError: A value that cannot be.
        """
        return FillOptions(
            grace=self.grace if grace is None else grace,
            refresh_ahead=self.refresh_ahead if refresh_ahead is None else refresh_ahead,
            soft_timeout=self.soft_timeout if soft_timeout is None else soft_timeout,
            hard_timeout=self.hard_timeout if hard_timeout is None else hard_timeout,
            lock_timeout=self.lock_timeout if lock_timeout is None else lock_timeout,
            jitter=self.jitter if jitter is None else jitter,
        )


class FillContext:
    """What a loader that takes one positional argument is called with.

    Args:
        stale: The last known value; None where there is none.
        has_stale: Whether there is one.
    """

    def __init__(self, stale: Any, has_stale: bool, timeout: Any, options: FillOptions) -> None:
        self.stale = stale
        """The last known value: an expired one within its grace, or the one that is refreshed early."""
        self.has_stale = has_stale
        """Whether there is one: a stored None is a value."""
        self.timeout = timeout
        self.options = options
        self.is_skipped = False

    def set_options(
        self, *, timeout: Any = DEFAULT_TIMEOUT, grace: float | None = None, jitter: float | None = None
    ) -> None:
        """Decide by what was loaded how it is stored; what is left out stays.

        Args:
            timeout: Seconds; None for ever; 0 or less keeps nothing.
            grace: Seconds after its end for which the value may be served stale.
            jitter: Part of the timeout that is taken off at random.
        """
        if timeout is not DEFAULT_TIMEOUT:
            self.timeout = timeout
            jitter = jitter or 0.0
        self.options = self.options.changed(grace=grace, jitter=jitter)

    def skip(self) -> None:
        """Hand what the loader returns to those who wait, and store nothing."""
        self.is_skipped = True

    def fail(self, reason: str = "the loader gave up") -> NoReturn:
        """End the loader: callers get the stale value where there is one.

        Raises:
            LoaderFailed: What callers get otherwise.
        """
        raise LoaderFailed(reason)


class FillToken(NamedTuple):
    """The right to store one value, as long as nobody invalidates its key meanwhile."""

    redis_key: bytes
    lease: bytes
    """Empty where Redis failed: nothing can be stored."""
    seen: bytes
    expiry: bytes
    stamps: Sequence[bytes] = ()
    """Of the tags of the value."""


class ForFill(NamedTuple):
    """What `get_for_fill` found."""

    value: Any
    """The value; the caller's default where there is none."""
    token: FillToken | None
    """For `fill`, where there is no value; None where there is."""


def takes_context(loader: Callable[..., Any]) -> bool:
    """Tell whether a loader has exactly one required positional parameter."""
    try:
        parameters = inspect.signature(loader).parameters.values()
    except (TypeError, ValueError):  # some built-in functions tell nothing of themselves
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [each for each in parameters if each.kind in positional and each.default is each.empty]
    return len(required) == 1


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value!r}: give {expected}.")
