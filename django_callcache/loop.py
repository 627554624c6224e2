"""A loop that does one thing again and again: it waits on an event, backs off on failure, stops gracefully.

It knows nothing of what it does; time, chance and waiting are arguments.
"""

from __future__ import annotations

import logging
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from django_callcache.exceptions import SyncError

logger = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 60.0

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class StopNow(BaseException):
    """The turn under way ends here: by a second signal, or because the first one's grace is over.

    Args:
        was_asked: Whether somebody insisted.
    """

    def __init__(self, *, was_asked: bool) -> None:
        super().__init__("stopped")
        self.was_asked = was_asked


class Event(Protocol):
    """What the loop waits on: ``threading.Event``, or a test's own."""

    def set(self) -> None:
        """End the wait."""

    def clear(self) -> None:
        """Let the next wait last."""

    def wait(self, timeout: float) -> bool:
        """Wait until it is set, or for some seconds."""


class Loop:
    """Calls ``turn`` until it is told to stop.

    After a turn the loop pauses for the interval, or for as long as the turn returned. After a turn that
    raised it pauses for a random time below a bound that doubles with each failure in a row, and at least
    for the error's ``retry_after`` ("full jitter": M. Brooker, Exponential Backoff And Jitter, 2015).

    Args:
        turn: Does the work; returns None, or the seconds to pause.
        interval_seconds: Pause between two turns.
        beat: Called while the loop waits, so that others see it alive.
        beat_seconds: Longest time between two beats.
        plan: Called before each pause, with its seconds.
        event: What the loop waits on.
        chance: Returns a number from 0 to 1.
    """

    def __init__(
        self,
        turn: Callable[[], float | None],
        *,
        interval_seconds: float,
        beat: Callable[[], object] = lambda: None,
        beat_seconds: float = 10.0,
        plan: Callable[[float], object] = lambda seconds: None,
        event: Event | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._turn = turn
        self._interval = interval_seconds
        self._beat = beat
        self._beat_seconds = beat_seconds
        self._plan = plan
        self._event = event or threading.Event()
        self._chance = chance
        self._failures = 0
        self._stopping = False

    @property
    def is_stopping(self) -> bool:
        """Whether the loop ends after the turn under way."""
        return self._stopping

    def stop(self) -> None:
        """End the loop after the turn under way."""
        self._stopping = True
        self._event.set()

    def wake(self) -> None:
        """End the pause: begin the next turn now."""
        self._event.set()

    def run(self, max_turns: int | None = None) -> bool:
        """Turn until told to stop, or so many times.

        Returns:
            Whether the last turn went well.
        """
        turns = 0
        while not self._stopping:
            pause = self._turn_once()
            turns += 1
            if max_turns is not None and turns >= max_turns:
                break
            self._wait(pause)
        return not self._failures

    @contextmanager
    def signals(self, *, grace_seconds: float = 6.0) -> Iterator[None]:
        """Stop on the first signal; on the second, or when the grace is over, stop in the middle of a turn.

        Handlers are as before afterwards. In any thread but the main one signals are left alone.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self._stopping:
                raise StopNow(was_asked=number != signal.SIGALRM)
            logger.info("stopping signal=%s", signal.Signals(number).name)
            self.stop()
            signal.setitimer(signal.ITIMER_REAL, grace_seconds)

        before = {number: signal.signal(number, on_signal) for number in (*STOP_SIGNALS, signal.SIGALRM)}
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _turn_once(self) -> float:
        """Run one turn; return the seconds to pause."""
        try:
            pause = self._turn()
        except SyncError as error:
            # Expected of a remote store, and told by its words.
            logger.warning("failed error=%s message=%s", type(error).__name__, error)
            return self._backoff(getattr(error, "retry_after", None))
        except Exception:
            logger.exception("failed")
            return self._backoff(None)
        self._failures = 0
        return self._interval if pause is None else pause

    def _backoff(self, retry_after: float | None) -> float:
        bound = min(FIRST_BACKOFF_SECONDS * 2.0**self._failures, LONGEST_BACKOFF_SECONDS)
        # Beyond the longest pause more failures change nothing, and the power would overflow.
        self._failures = min(self._failures + 1, 32)
        return (retry_after or 0.0) + self._chance() * bound

    def _wait(self, seconds: float) -> None:
        """Wait, with a beat now and then, until it is time, or the loop is woken or stopped."""
        self._plan(seconds)
        while seconds > 0 and not self._stopping:
            slice_seconds = min(seconds, self._beat_seconds)
            if self._event.wait(slice_seconds):
                break
            seconds -= slice_seconds
            self._beat_quietly()
        self._event.clear()

    def _beat_quietly(self) -> None:
        try:
            self._beat()
        except Exception:
            logger.exception("no sign of life")
