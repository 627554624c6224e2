"""One way to stop: SIGTERM is Ctrl-C, and a second one does not disturb the clearing up after the first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 130
"""Exit code of who was stopped by Ctrl-C, as shells have it."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise KeyboardInterrupt inside for the first SIGINT or SIGTERM; ignore further ones.

    To be entered in the main thread, as Python's rule for signal handlers is.
    """
    previous = {number: signal.signal(number, _stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
