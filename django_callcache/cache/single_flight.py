"""One computation of a key at a time in this process, whoever waits for it: threads or tasks of any loop.

Nobody polls: a flight ends in a future, which wakes blocking waiters and asyncio waiters alike. A caller
that is itself needed for a flight to end never waits for it: it computes on its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

_leading: ContextVar[tuple[Flight, ...]] = ContextVar("callcache_leading", default=())
"""Flights whose loader runs further up the stack, or started this task."""


class Landing(NamedTuple):
    """What a flight brought."""

    value: Any
    blob: bytes | None
    """The value as it is stored; None where it cannot be, and waiters share the object."""
    is_current: bool | None
    """Whether nothing had invalidated the value when Redis was asked; None where it did not answer."""
    asked_at: int = 0
    """When that was, at the earliest (nanoseconds): what happened later is not known of."""
    is_stored: bool = False
    """Whether it was computed here and lies in Redis now."""


class Flight:
    """One computation under way.

    Args:
        redis_key: What is computed.
        patience: Seconds after which the computation is taken to hang.
    """

    __slots__ = ("done", "is_watched", "overdue_at", "redis_key", "started_at", "thread", "waits_for")

    def __init__(self, redis_key: bytes, patience: float) -> None:
        self.redis_key = redis_key
        self.started_at = time.monotonic_ns()
        self.overdue_at = self.started_at + int(patience * 1e9)
        self.thread = threading.get_ident()
        self.is_watched = True
        """Whether a caller is there to be told of the leader's error."""
        self.waits_for: list[Flight] = []
        """Flights that this one's loader waits for."""
        self.done: Future[Landing | None] = Future()
        """Gets the landing, the loader's exception, or None where the leader has given up."""
        self.done.set_running_or_notify_cancel()  # a waiter that is cancelled cancels nobody else

    def serves(self, landing: Landing, came_at: int, unasked_ns: int = 0) -> bool:
        """Tell whether what this flight has brought is good for a caller who came at a time.

        It is if it was begun after that. If not, the key may have been invalidated before the caller came:
        Redis must have said later than that that it was not.

        Args:
            landing: What it has brought.
            came_at: In nanoseconds.
            unasked_ns: By how much it may have been begun earlier where Redis answers nobody here.
        """
        if self.started_at >= came_at:
            return True
        if landing.is_current is None:
            return came_at - self.started_at <= unasked_ns
        return landing.is_current and landing.asked_at >= came_at


class Flights:
    """The computations under way of one alias in this process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew in a forked child: the leaders are the parent's threads."""
        self._lock = threading.Lock()
        self._running: dict[bytes, Flight] = {}

    def join(self, redis_key: bytes, patience: float) -> tuple[Flight, bool]:
        """The flight of a key, and whether the caller leads it: because there was none, or it hangs."""
        with self._lock:
            flight = self._running.get(redis_key)
            if flight is not None and time.monotonic_ns() < flight.overdue_at:
                return flight, False
            flight = self._running[redis_key] = Flight(redis_key, patience)
            return flight, True

    def leave(self, redis_keys: Iterable[bytes] | None = None) -> None:
        """Let nobody join the flights of these keys any more, left out: of any; who waits goes on waiting."""
        with self._lock:
            for redis_key in list(self._running) if redis_keys is None else redis_keys:
                self._running.pop(redis_key, None)

    def land(self, flight: Flight, landing: Landing | None) -> None:
        """End a flight, unless it has ended; None: without a result, one of the waiters leads the next."""
        if self._end(flight):
            flight.done.set_result(landing)

    def fail(self, flight: Flight, error: Exception) -> None:
        """End a flight by its loader's error, which everybody gets who waits."""
        if self._end(flight):
            flight.done.set_exception(error)

    def _end(self, flight: Flight) -> bool:
        with self._lock:
            if self._running.get(flight.redis_key) is flight:
                del self._running[flight.redis_key]
        return not flight.done.done()

    @contextmanager
    def leading(self, *flights: Flight) -> Iterator[None]:
        """Run a loader: what it calls must not wait for its flights."""
        for flight in flights:
            flight.thread = threading.get_ident()
        before = _leading.set((*_leading.get(), *flights))
        try:
            yield
        finally:
            _leading.reset(before)

    @property
    def is_leading(self) -> bool:
        """Whether the caller is called by a loader."""
        return bool(_leading.get())

    @contextmanager
    def waiting(self, flight: Flight, *, blocks: bool) -> Iterator[bool]:
        """Wait for a flight inside; tell whether that is allowed: not where it would wait for the caller.

        Args:
            flight: Of another leader.
            blocks: Whether the caller's whole thread will wait.
        """
        own = _leading.get()
        with self._lock:
            may_wait = not (blocks and flight.thread == threading.get_ident()) and not _needs(flight, own)
            if may_wait:
                for each in own:
                    each.waits_for.append(flight)
        try:
            yield may_wait
        finally:
            if may_wait:
                with self._lock:
                    for each in own:
                        each.waits_for.remove(flight)


def _needs(flight: Flight, own: tuple[Flight, ...]) -> bool:
    """Whether a flight cannot end before one of the caller's own does."""
    seen: set[Flight] = set()
    reached = [flight]
    while reached:
        each = reached.pop()
        if each in own:
            return True
        if each not in seen:
            seen.add(each)
            reached += each.waits_for
    return False
