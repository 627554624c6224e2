"""Pins of TTLs and the pause of what adapts, with their trace: for the pages and for the commands.

Each act leaves one `CacheOperation`, one entry in the admin's log and one line for the log files, whatever
came of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django_callcache import audit
from django_callcache.cache import CallCache
from django_callcache.exceptions import PinRefused
from django_callcache.live import FAULTS, masked
from django_callcache.models import PATTERN_LENGTH, CacheOperation
from django_callcache.ttl import Pin

Kind = CacheOperation.Kind
Scope = CacheOperation.Scope
Outcome = CacheOperation.Outcome

REASON_LENGTH = 500


def pin(
    cache: CallCache,
    alias: str,
    prefix: str,
    seconds: float,
    *,
    by: str,
    user: Any = None,
    reason: str = "",
    lasts: float | None = None,
) -> Pin:
    """Give all entries of a prefix one TTL; see `CallCache.pin_ttl`.

    Args:
        cache: Whose.
        alias: Its key in ``CACHES``.
        prefix: Of the keys.
        seconds: To live.
        by: Who does it, for the audit and for whoever meets the pin.
        user: The same as a user of the site, where it is one.
        reason: Why.
        lasts: Seconds after which the pin ends by itself; None: when somebody takes it away.

    Raises:
        PinRefused: It cannot be; the message says why.
        RedisFault: Redis did not take it.
    """
    what = stated(seconds, lasts, reason)
    with _traced(Kind.PIN, alias, by, user, what, prefix) as operation:
        pinned = cache.pin_ttl(prefix, seconds, by=by, reason=reason, lasts=lasts)
        audit.end(operation, Outcome.OK)
        return pinned


def unpin(cache: CallCache, alias: str, prefix: str, *, by: str, user: Any = None, reason: str = "") -> bool:
    """Let the policy of a prefix decide again; tell whether it was pinned. As for `pin`."""
    with _traced(Kind.UNPIN, alias, by, user, reason, prefix) as operation:
        done = cache.unpin_ttl(prefix)
        _end(operation, done)
        return done


def pause(
    cache: CallCache, alias: str, *, by: str, user: Any = None, reason: str = "", lasts: float | None = None
) -> bool:
    """Let the default TTL hold wherever a policy adapts; tell whether it did not already. As for `pin`."""
    with _traced(Kind.PAUSE_TTL, alias, by, user, stated(None, lasts, reason)) as operation:
        done = cache.pause_ttl(by=by, reason=reason, lasts=lasts)
        _end(operation, done)
        return done


def resume(cache: CallCache, alias: str, *, by: str, user: Any = None, reason: str = "") -> bool:
    """Let the policies decide again that adapt; tell whether they were paused. As for `pin`."""
    with _traced(Kind.RESUME_TTL, alias, by, user, reason) as operation:
        done = cache.resume_ttl()
        _end(operation, done)
        return done


def stated(seconds: float | None, lasts: float | None, reason: str) -> str:
    """What the audit holds of a pin or a pause: how long entries live, how long it lasts, and why."""
    numbers = [
        *([] if seconds is None else [f"{seconds:g} s"]),
        *([] if lasts is None else [f"for {lasts:g} s"]),
    ]
    return ": ".join(filter(None, (" ".join(numbers), reason)))[:REASON_LENGTH]


@contextmanager
def _traced(
    kind: str, alias: str, by: str, user: Any, reason: str, prefix: str | None = None
) -> Iterator[CacheOperation]:
    """Write the row of an attempt before it, and what went wrong."""
    operation = CacheOperation.objects.create(
        user=user,
        username=by,
        kind=kind,
        scope=Scope.ALIAS if prefix is None else Scope.PREFIX,
        alias=alias,
        pattern=(prefix or "")[:PATTERN_LENGTH],
        reason=reason[:REASON_LENGTH],
    )
    try:
        yield operation
    except PinRefused as refusal:
        audit.end(operation, Outcome.FAILED, error_class="PinRefused", error=str(refusal))
        raise
    except FAULTS as fault:
        audit.end(operation, Outcome.FAILED, error_class=type(fault).__name__, error=masked(fault))
        raise


def _end(operation: CacheOperation, done: bool) -> None:
    if done:
        audit.end(operation, Outcome.OK)
    else:
        audit.end(operation, Outcome.FAILED, error_class="DecidedMeanwhile")
