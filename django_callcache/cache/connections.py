"""The connections of one process to one server: bounded, last in first out, handed over directly.

A connection is taken for one round trip. Whoever brings one back while others wait hands it
to the one who has waited longest: were it put back first, a newcomer could take it, and a few
threads would wait for ever on a healthy server.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from django_callcache.exceptions import RedisUnavailable

WAIT_SHARE = 0.8
"""How much of a call's time it may wait for a connection. The rest is for the round trip: one that got its
connection with no time left would time out on a server that is well, and lose the connection besides."""


class Connections:
    """A bounded free list.

    Args:
        make: Makes one connection object; it connects when it is first used.
        limit: How many connections there may be.
        max_wait: Seconds to wait for one at the most, whatever the caller's deadline.
        server: How the server is called in messages.
    """

    def __init__(self, make: Callable[[], Any], limit: int, max_wait: float, server: str) -> None:
        self._make = make
        self._limit = limit
        self._max_wait = max_wait
        self._server = server
        self.forget()

    def forget(self) -> None:
        """Drop everything without a word to the server, as a child process does."""
        self._lock = threading.Lock()
        self._free: deque[Any] = deque()
        self._waiters: deque[_Waiter] = deque()
        # Weak, so that a connection lost to an exception from a signal handler frees its place.
        self._made: weakref.WeakSet[Any] = weakref.WeakSet()

    def take(self, expires_at: int) -> Any:
        """A connection for one round trip.

        Args:
            expires_at: When the caller's call must be over (nanoseconds, monotonic).

        Raises:
            RedisUnavailable: None came free in time. This is no evidence against the server.
        """
        try:
            return self._free.pop()
        except IndexError:
            return self._make_or_wait(expires_at)

    def give(self, connection: Any) -> None:
        """Bring a connection back; one that failed too: it reconnects when it is next used."""
        if self._waiters and self._hand_over(connection):
            return
        self._free.append(connection)
        if self._waiters:  # somebody began to wait between the two lines above
            self._serve()

    def release_waiters(self) -> None:
        """Send everybody away who waits: the breaker has opened."""
        with self._lock:
            while self._waiters:
                self._waiters.popleft().arrived.release()

    def distrust(self) -> None:
        """Have free connections looked at before they are used: the server has closed another one."""
        for connection in tuple(self._free):
            connection.used_at = min(connection.used_at, 1)

    def renew(self) -> None:
        """Have free connections made anew before they are used: this server is not to be asked any more."""
        for connection in tuple(self._free):
            connection.used_at = 0

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._free:
            self._free.pop().disconnect()

    def __len__(self) -> int:
        return len(self._made)

    def _make_or_wait(self, expires_at: int) -> Any:
        with self._lock:
            if self._free:
                return self._free.pop()
            if len(self._made) < self._limit:
                connection = self._make()
                self._made.add(connection)
                return connection
            waiter = _Waiter()
            self._waiters.append(waiter)
        self._serve()  # one may have come back before the line above was seen
        return self._wait(waiter, expires_at)

    def _wait(self, waiter: _Waiter, expires_at: int) -> Any:
        try:
            self._await_arrival(waiter, expires_at)
        except BaseException:  # from a signal handler: the turn, or what has arrived, is the next one's
            self._leave(waiter)
            if waiter.connection is not None:
                self.give(waiter.connection)
            raise
        self._leave(waiter)
        if waiter.connection is None:
            raise RedisUnavailable(
                f"No connection to Redis at {self._server} came free in time: all {self._limit} are in use. "
                "Raise MAX_CONNECTIONS if this happens while Redis is healthy."
            )
        return waiter.connection

    def _await_arrival(self, waiter: _Waiter, expires_at: int) -> None:
        patience = min((expires_at - time.monotonic_ns()) * 1e-9 * WAIT_SHARE, self._max_wait)
        waiter.arrived.acquire(timeout=max(patience, 0))

    def _leave(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _hand_over(self, connection: Any) -> bool:
        with self._lock:
            if not self._waiters:
                return False
            self._waiters.popleft().receive(connection)
            return True

    def _serve(self) -> None:
        with self._lock:
            while self._waiters and self._free:
                self._waiters.popleft().receive(self._free.pop())


class _Waiter:
    """Somebody who waits for a connection."""

    __slots__ = ("arrived", "connection")

    def __init__(self) -> None:
        self.connection: Any = None
        self.arrived = threading.Lock()
        self.arrived.acquire()

    def receive(self, connection: Any) -> None:
        self.connection = connection
        self.arrived.release()
