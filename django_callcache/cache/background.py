"""Work that no caller waits for: a few threads a process, none of which keeps the process alive.

What does not fit is refused, not queued: whoever asked goes on without, and a later caller asks again.
"""

from __future__ import annotations

import atexit
import contextvars
import logging
import os
import threading
from collections.abc import Callable

from django.db import connections

logger = logging.getLogger(__name__)

MAX_THREADS = 8


class Background:
    """Daemon threads, at most so many at a time.

    Args:
        max_threads: How many.
    """

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self._max_threads = max_threads
        self._is_closed = False
        self.forget()

    def forget(self) -> None:
        """Start anew, as a child process must: the threads are the parent's."""
        self._lock = threading.Lock()
        self._busy = 0

    def submit(self, work: Callable[[], object]) -> bool:
        """Run some work in a thread, in a copy of the caller's context; tell whether there was room."""
        with self._lock:
            if self._is_closed or self._busy >= self._max_threads:
                return False
            self._busy += 1
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=self._run, args=(context, work), name="callcache-background", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or is out of threads
            self._ended()
            return False
        return True

    def close(self) -> None:
        """Take no more work: the process ends."""
        self._is_closed = True

    def _run(self, context: contextvars.Context, work: Callable[[], object]) -> None:
        try:
            context.run(work)
        except Exception:
            logger.exception("background work failed")
        finally:
            connections.close_all()  # those that a loader has opened are this thread's own
            self._ended()

    def _ended(self) -> None:
        with self._lock:
            self._busy -= 1


background = Background()
atexit.register(background.close)
os.register_at_fork(after_in_child=background.forget)
