"""Prolongs the leases of computations that take longer than a lease lasts.

A lease is short, so that others need not wait long for a process that was killed; the thread here
renews those of this process's own loaders until they end or are taken to hang.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

LEASE_SECONDS = 3.0
"""How long a lease lasts that nobody renews."""

BEAT_SECONDS = 1.0
IDLE_BEATS = 10
"""Beats without a lease after which the thread ends."""


class HeldLease:
    """A lease that is to be renewed until some time."""

    __slots__ = ("renew", "since", "until")

    def __init__(self, renew: Callable[[], object], seconds: float) -> None:
        self.renew = renew
        self.since = time.monotonic()
        self.until = self.since + seconds


class LeaseKeeper:
    """One daemon thread a process, there while loaders run."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew, as a child process must: the loaders are the parent's."""
        self._lock = threading.Lock()
        self._held: dict[int, HeldLease] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, renew: Callable[[], object], seconds: float) -> Iterator[None]:
        """Renew a lease while the block runs, for some seconds at most.

        Args:
            renew: Makes the lease last `LEASE_SECONDS` from now on; it may raise, and is called again.
            seconds: From now; after them the lease is left to end.
        """
        lease = HeldLease(renew, seconds)
        with self._lock:
            self._held[id(lease)] = lease
            if self._thread is None:
                self._thread = self._started()
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(id(lease), None)

    def _started(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._run, name="callcache-leases", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or is out of threads
            return None
        return thread

    def _run(self) -> None:
        idle = 0
        while True:
            time.sleep(BEAT_SECONDS)
            with self._lock:
                now = time.monotonic()
                due = [
                    lease
                    for lease in self._held.values()
                    if lease.since + BEAT_SECONDS / 2 < now < lease.until
                ]
                idle = 0 if self._held else idle + 1
                if idle >= IDLE_BEATS:
                    self._thread = None
                    return
            for lease in due:
                _renew(lease)


def _renew(lease: HeldLease) -> None:
    try:
        lease.renew()
    except Exception as error:
        logger.debug("lease=late error=%s", type(error).__name__)


keeper = LeaseKeeper()
os.register_at_fork(after_in_child=keeper.forget)
