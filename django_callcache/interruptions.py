"""Exceptions that a signal handler has raised: they concern whoever is at work, not what is worked on.

Time limits are made so (Celery's soft limit, RQ's job timeout, a ``TimeoutError`` of one's own), and they may
strike anywhere, in the middle of a read from Redis or of loading a value too.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from functools import partial
from types import CodeType, TracebackType


def is_interruption(error: BaseException | None) -> bool:
    """Tell whether a signal handler raised an exception, or the one that it was made of."""
    return interruption_in(error) is not None


def interruption_in(error: BaseException | None) -> BaseException | None:
    """The exception that a signal handler raised, behind one made of it; None where there is none."""
    if threading.current_thread() is not threading.main_thread():
        return None  # no handler runs here
    codes = set(_handlers())
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if codes.intersection(_codes(error.__traceback__)):
            return error
        error = error.__cause__ or error.__context__
    return None


def _handlers() -> Iterator[CodeType]:
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        while isinstance(handler, partial):
            handler = handler.func
        code = getattr(getattr(handler, "__func__", handler), "__code__", None)
        if code is not None:
            yield code


def _codes(traceback: TracebackType | None) -> Iterator[CodeType]:
    while traceback is not None:
        yield traceback.tb_frame.f_code
        traceback = traceback.tb_next
