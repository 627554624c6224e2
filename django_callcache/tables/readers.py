"""Who reads from the remote store for callers that wait: several at a time, and none for long.

A store is used by one thread at a time: a call takes one that is idle, or opens one. Where the remote store
keeps failing, it is not asked for a while, so that callers need not wait for it in vain.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from django_callcache.exceptions import RemoteUnavailable
from django_callcache.sync.tables import SourceTables

logger = logging.getLogger(__name__)

Found = TypeVar("Found")

MOST_IDLE = 8
"""Stores that are kept for the next calls."""
FAILURES = 3
"""Failures in a row after which the store is not asked for a while."""
PAUSE_SECONDS = 2.0
"""Pause between two attempts of a store that keeps failing; one caller makes them."""


class Readers:
    """Stores to read from, for every thread of this process.

    Args:
        open_store: Opens one more.
        clock: Monotonic seconds.
    """

    def __init__(
        self, open_store: Callable[[], SourceTables], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_store = open_store
        self._clock = clock
        self._begin()

    def ask(self, question: Callable[[SourceTables], Found]) -> Found:
        """Ask a store.

        Raises:
            RemoteUnavailable: It does not answer, or is not asked for now.
            ImproperlyConfigured: There is none to ask.
        """
        if self._pid != os.getpid():
            self._parents = self._idle  # never closed here: these connections are the parent's
            self._begin()
        self._require_patience()
        store = self._idle.pop() if self._idle else self._open_store()
        try:
            found = question(store)
        except RemoteUnavailable as error:
            self._failed(error)
            raise
        finally:
            if len(self._idle) < MOST_IDLE:
                self._idle.append(store)
            else:
                store.close()
        self._failures = 0
        return found

    def close(self) -> None:
        """Let go of connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._idle: deque[SourceTables] = deque()
        self._lock = threading.Lock()
        self._failures = 0
        self._resume_at = 0.0

    def _require_patience(self) -> None:
        """Let the call pass, or refuse it while the store is left alone."""
        with self._lock:
            now = self._clock()
            if self._failures < FAILURES:
                return
            if now >= self._resume_at:
                self._resume_at = now + PAUSE_SECONDS
                return
        raise RemoteUnavailable("The remote store keeps failing; it is not asked for now")

    def _failed(self, error: RemoteUnavailable) -> None:
        with self._lock:
            self._failures += 1
            pause = max(PAUSE_SECONDS, error.retry_after or 0.0)
            self._resume_at = self._clock() + pause
            if error.retry_after:
                self._failures = max(self._failures, FAILURES)
            has_paused = self._failures == FAILURES
        if has_paused:
            logger.warning("remote=paused seconds=%.1f error=%s", pause, error)
