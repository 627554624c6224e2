"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, Self

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 5.0


class Stream(Protocol):
    """A file, or what Django makes of one."""

    def write(self, text: str, /) -> Any: ...

    def flush(self) -> Any: ...

    def isatty(self) -> bool: ...


class Progress(Protocol):
    """What both forms have in common."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *ignored: object) -> None: ...

    def update(self, n: int = 1) -> object:
        """Count `n` more as done."""


def progress(what: str, total: int, stream: Stream) -> Progress:
    """Return what shows progress on this stream.

    Args:
        what: The work, as its line begins.
        total: How much there is to do.
        stream: Where people look.
    """
    if stream.isatty():
        bar: Progress = tqdm(total=total, desc=what, file=stream, mininterval=0.2)
        return bar
    return Lines(what, total, stream)


class Lines:
    """One line now and then, and one at the end."""

    def __init__(
        self, what: str, total: int, stream: Stream, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._total = total
        self._stream = stream
        self._clock = clock
        self._done = 0
        self._due_at = clock() + SECONDS_BETWEEN_LINES

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ignored: object) -> None:
        self._say()

    def update(self, n: int = 1) -> None:
        """Count `n` more as done."""
        self._done += n
        if self._clock() >= self._due_at:
            self._say()
            self._due_at = self._clock() + SECONDS_BETWEEN_LINES

    def _say(self) -> None:
        share = f" ({self._done / self._total:.0%})" if self._total else ""
        self._stream.write(f"{self._what}: {self._done:,} of {self._total:,}{share}\n")
        self._stream.flush()
