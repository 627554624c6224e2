"""What one alias asks of the invalidation link, and what becomes of its near cache by what is heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Protocol

from django_callcache.cache.announcer import Announcer
from django_callcache.cache.near import NearCache
from django_callcache.cache.tracking import KeyTracking

PUZZLED_NS = 1_000_000_000
"""So long nothing is kept after a message that cannot be read: whoever sends many costs hits, not work."""


class Hearer(Protocol):
    """What the link of one server tells what it hears."""

    has_said: bool

    @property
    def tracking(self) -> KeyTracking | None: ...
    @property
    def prefixes(self) -> tuple[bytes, ...]: ...
    @property
    def announcer(self) -> Announcer: ...
    @property
    def max_staleness(self) -> float: ...
    @property
    def is_confirmed(self) -> bool: ...
    def distrust(self) -> None: ...
    def begin(self) -> None: ...
    def end(self) -> None: ...
    def deafen(self) -> None: ...
    def silence(self) -> None: ...
    def confirm(self, asked_at: int) -> None: ...
    def tracked(self, listener_id: int) -> None: ...
    def announced(self) -> None: ...
    def refused(self) -> None: ...
    def changed(self, redis_keys: Collection[bytes]) -> None: ...
    def puzzled(self) -> None: ...


class Watch:
    """What one alias wants to hear of.

    Args:
        near: What to keep coherent.
        stem: What stands before the caller's key in a Redis key.
        prefixes: Redis keys that copies may be held of begin with one of these.
        announcer: Announces this process's own writes where the server does not.
        max_staleness: Seconds for which a confirmation holds.
        tag_epoch: The Redis key that changes when any tag is dropped.
        per_key: Whether Redis is to remember what is read, instead of announcing all under the prefixes.
        when_lost: Called when a connection ended whose reads Redis remembered.
    """

    def __init__(
        self,
        near: NearCache,
        stem: bytes,
        prefixes: tuple[bytes, ...],
        announcer: Announcer,
        max_staleness: float,
        tag_epoch: bytes,
        *,
        per_key: bool,
        when_lost: Callable[[], None],
    ) -> None:
        self.near = near
        self.announcer = announcer
        self.prefixes = prefixes
        self.max_staleness = max_staleness
        self.tracking = KeyTracking(when_lost) if per_key else None
        self._stem = stem
        self._tag_epoch = tag_epoch
        self._max_staleness_ns = int(max_staleness * 1e9)
        self.forget()

    def forget(self) -> None:
        """Start anew in a forked child."""
        self.has_said = False
        self.is_tracking = False
        """Whether Redis itself announces what changes; otherwise writers do."""
        self.is_refused = False
        """Whether the server lets us listen in no way; there is no near cache then."""
        self._confirmed_at: int | None = None
        self._puzzled_until = 0
        self.deafen()

    def lag_seconds(self) -> float | None:
        """Seconds since Redis last confirmed, or since we began to listen; None where nobody listens."""
        if self._confirmed_at is None or self.is_refused:
            return None
        return (time.monotonic_ns() - self._confirmed_at) / 1e9

    @property
    def is_confirmed(self) -> bool:
        """Whether copies may be served, as far as time does not forbid it."""
        return bool(self.near.confirmed_until)

    def distrust(self) -> None:
        """Serve nothing before the next confirmation. This takes no lock."""
        self.near.confirmed_until = 0

    def begin(self) -> None:
        """Somebody wants to hear from now on."""
        self._confirmed_at = time.monotonic_ns()

    def end(self) -> None:
        """Nobody does any more."""
        self._confirmed_at = None
        self.deafen()

    def deafen(self) -> None:
        """Nothing is heard from now on."""
        self.silence()
        if self.tracking is not None:
            self.tracking.end()

    def silence(self) -> None:
        """Serve nothing and hold nothing until the next confirmation."""
        self.near.confirmed_until = 0
        self.near.empty()

    def confirm(self, asked_at: int) -> None:
        """Serve copies, and keep new ones: nothing that was acknowledged before ``asked_at`` is overdue."""
        self._confirmed_at = asked_at
        if asked_at >= self._puzzled_until:
            self.near.confirmed_until = asked_at + self._max_staleness_ns

    def tracked(self, listener_id: int) -> None:
        """Redis tells of changes."""
        self.is_tracking = True
        self.is_refused = False
        self.near.limit_age(None)
        if self.tracking is not None:
            self.tracking.begin(listener_id)

    def announced(self) -> None:
        """Writers tell of changes."""
        self.is_tracking = self.is_refused = False
        self.announcer.is_heard = True
        self.near.limit_age(self.max_staleness)
        if self.tracking is not None:
            self.tracking.end(is_announced=True)

    def refused(self) -> None:
        """Nobody tells of changes."""
        self.is_tracking = False
        self.is_refused = True

    def changed(self, redis_keys: Collection[bytes]) -> None:
        """Drop the copies of these keys; no key at all stands for every key."""
        length = len(self._stem)
        keys = [key[length:].decode(errors="replace") for key in redis_keys if key.startswith(self._stem)]
        if redis_keys:
            self.near.invalidate(keys)
            if self._tag_epoch in redis_keys:
                self.near.drop_tagged()
        else:
            self.near.empty()

    def puzzled(self) -> None:
        """Drop everything, for anything may have changed, and hold nothing for a second."""
        at = time.monotonic_ns()
        if at >= self._puzzled_until:
            self._puzzled_until = at + PUZZLED_NS
            self.silence()
