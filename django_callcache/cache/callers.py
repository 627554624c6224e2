"""What an operation asks of whoever calls it: to run the user's code, to tell, to wait, to go on apart."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from django_callcache.cache.background import background
from django_callcache.cache.running import run
from django_callcache.signals import CacheSignal


class BlockingCaller:
    """A thread, which waits for all it asks for."""

    blocks = True

    async def call(self, factory: Callable[[], Any]) -> Any:
        """Run the user's code.

        Raises:
            TypeError: It is asynchronous, and there is no event loop here to run it.
        """
        result = factory()
        if inspect.isawaitable(result):
            _discard(result)
            raise TypeError("The factory returned an awaitable; use the a… method of the same name.")
        return result

    async def tell(self, signal: CacheSignal, sender: str, **details: Any) -> None:
        """See `drivers.Io.tell`."""
        signal.tell(sender, **details)

    async def pause(self, seconds: float) -> None:
        """See `drivers.Io.pause`."""
        time.sleep(seconds)  # noqa: ASYNC251 (this caller never suspends)

    async def landed(self, done: Future[Any], seconds: float) -> bool:
        """See `drivers.Io.landed`."""
        try:
            done.exception(max(seconds, 0))
        except TimeoutError:  # of the wait: what the computation raised is returned
            return False
        return True

    def detach(self, operation: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """See `drivers.Io.detach`: in one of few threads."""
        return background.submit(lambda: run(operation()))


class AsyncCaller:
    """A task of an event loop."""

    blocks = False

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def call(self, factory: Callable[[], Any]) -> Any:
        """Run the user's code, plain or asynchronous."""
        result = factory()
        return await result if inspect.isawaitable(result) else result

    async def tell(self, signal: CacheSignal, sender: str, **details: Any) -> None:
        """See `drivers.Io.tell`."""
        await signal.atell(sender, **details)

    async def pause(self, seconds: float) -> None:
        """See `drivers.Io.pause`."""
        await asyncio.sleep(seconds)

    async def landed(self, done: Future[Any], seconds: float) -> bool:
        """See `drivers.Io.landed`."""
        waiting = asyncio.wrap_future(done)
        try:
            await asyncio.wait((waiting,), timeout=max(seconds, 0))
        finally:
            if not waiting.cancel() and not waiting.cancelled():
                waiting.exception()  # the caller asks `done`; asyncio need not warn that nobody asked
        return done.done()

    def detach(self, operation: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """See `drivers.Io.detach`: as a task of this loop."""
        task = asyncio.get_running_loop().create_task(operation())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True


def _discard(awaitable: Awaitable[Any]) -> None:
    close = getattr(awaitable, "close", None)
    if close is not None:
        close()
