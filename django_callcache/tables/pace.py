"""How often tables are looked at: every few seconds, and less often while they cannot be."""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_SECONDS = 60.0
"""Pause that failures in a row lead to, unless the usual one is longer."""


class Pace:
    """When the next look is due.

    Args:
        seconds: Usual pause between two looks.
        clock: Monotonic seconds.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._pause = seconds
        self._due_at = clock() + seconds

    @property
    def is_due(self) -> bool:
        """Whether it is time to look."""
        return self._clock() >= self._due_at

    def done(self) -> None:
        """Take note of a look."""
        self._pause = self._seconds
        self._due_at = self._clock() + self._pause

    def failed(self) -> None:
        """Take note of a look that failed: the next pause is twice as long, up to a bound."""
        self._pause = max(self._seconds, min(self._pause * 2, LONGEST_SECONDS))
        self._due_at = self._clock() + self._pause
