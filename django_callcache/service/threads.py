"""Blocking work of asynchronous code: in a thread, never in the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

P = ParamSpec("P")
Result = TypeVar("Result")


async def in_thread(work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Run what blocks in a thread, and let go of its database connections.

    A thread cannot be cancelled: who cancels this waits for its end.
    """

    def run() -> Result:
        close_old_connections()
        try:
            return work(*args, **kwargs)
        finally:
            close_old_connections()

    thread = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait({thread})
        raise
