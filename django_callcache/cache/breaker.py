"""A circuit breaker: when a server keeps failing, calls stop waiting for it.

One breaker a server and process, shared by every alias, thread and task that talks to it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable

from django_callcache.exceptions import RedisUnavailable

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 10.0
MAX_TIMEOUTS = 3
MAX_ERRORS = 5
PROBE_SECONDS = (1.0, 2.0)
"""A probe is let through after a pause drawn from this range, so that processes do not probe as one."""


class Breaker:
    """Closed: calls pass. Open: calls fail at once, bar one probe every one to two seconds.

    Args:
        server: How the server is called in messages; never a password.
        clock: Seconds, monotonic.
    """

    def __init__(self, server: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.server = server
        self.is_open = False
        self.is_troubled = False
        """Whether there is a failure to forget: a success is only worth reporting then."""
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: deque[tuple[float, bool]] = deque()
        self._probe_at = 0.0
        self._opened_at = 0.0
        self._on_open: list[Callable[[], None]] = []

    def when_opened(self, release: Callable[[], None]) -> None:
        """Call ``release`` each time the breaker opens: whoever waits for a connection waits in vain."""
        self._on_open.append(release)

    def check(self) -> None:
        """Let the call pass or refuse it; to be called where `is_open` is true.

        Raises:
            RedisUnavailable: The breaker is open and it is not yet time for a probe.
        """
        with self._lock:
            now = self._clock()
            if not self.is_open:
                return
            if now >= self._probe_at:
                self._probe_at = now + random.uniform(*PROBE_SECONDS)  # noqa: S311
                return
        raise RedisUnavailable(f"Redis at {self.server} is not answering; calls are not sent for now.")

    def failed(self, *, timed_out: bool) -> None:
        """Take note of a call that got no answer."""
        with self._lock:
            now = self._clock()
            self._failures.append((now, timed_out))
            while self._failures[0][0] < now - WINDOW_SECONDS:
                self._failures.popleft()
            self.is_troubled = True
            if self.is_open:
                self._probe_at = now + random.uniform(*PROBE_SECONDS)  # noqa: S311
                return
            timeouts = sum(1 for _, was_timeout in self._failures if was_timeout)
            if timeouts < MAX_TIMEOUTS and len(self._failures) < MAX_ERRORS:
                return
            self.is_open = True
            self._opened_at = now
            self._probe_at = now + random.uniform(*PROBE_SECONDS)  # noqa: S311
        logger.warning("redis=%s state=open failures=%d", self.server, len(self._failures))
        for release in self._on_open:
            release()

    def succeeded(self) -> None:
        """Take note of an answer; to be called where `is_troubled` is true."""
        with self._lock:
            was_open, self.is_open, self.is_troubled = self.is_open, False, False
            self._failures.clear()
            lasted = self._clock() - self._opened_at
        if was_open:
            logger.warning("redis=%s state=closed open_seconds=%.1f", self.server, lasted)

    def forget(self) -> None:
        """Start anew, as a child process does: its parent may have held the lock."""
        self._lock = threading.Lock()
        self._failures.clear()
        self.is_open = self.is_troubled = False
