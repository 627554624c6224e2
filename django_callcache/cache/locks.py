"""The locks that callers get: redis-py's methods, over connections that keep the cache's deadline."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from types import SimpleNamespace, TracebackType
from typing import Any, Self

from redis.exceptions import LockError

from django_callcache.cache.drivers import Io
from django_callcache.cache.operations.locks import LockOperations
from django_callcache.cache.running import run
from django_callcache.cache.runtime import Runtime
from django_callcache.cache.value_keys import Key, ValueKeys


class _LockSteps:
    """What both faces of a lock do, each as a coroutine.

    Args:
        operations: Returns what reaches Redis.
        redis_key: Of the lock.
        timeout: Seconds after which the lock is free again, whatever its holder does; None for never.
        sleep: Seconds between two tries to take it.
        blocking: Whether to wait for it.
        blocking_timeout: Seconds to wait at the most; None for ever.
        thread_local: Whether a thread can give back only what it took itself.
    """

    def __init__(
        self,
        operations: Callable[[], LockOperations],
        redis_key: bytes,
        timeout: float | None,
        sleep: float,
        blocking: bool,
        blocking_timeout: float | None,
        thread_local: bool,
    ) -> None:
        if timeout is not None and timeout <= 0:
            raise ValueError(f"timeout is {timeout!r}: give seconds above 0, or None")
        self._operations = operations
        self._redis_key = redis_key
        self._timeout = timeout
        self._sleep = sleep
        self._blocking = blocking
        self._blocking_timeout = blocking_timeout
        self._held: Any = threading.local() if thread_local else SimpleNamespace()
        self._held.token = None

    @property
    def name(self) -> str:
        """The lock's key in Redis."""
        return self._redis_key.decode(errors="replace")

    @property
    def _token(self) -> bytes | None:
        return getattr(self._held, "token", None)

    async def _acquire(self, blocking: bool | None, blocking_timeout: float | None) -> bool:
        blocking = self._blocking if blocking is None else blocking
        patience = self._blocking_timeout if blocking_timeout is None else blocking_timeout
        until = None if patience is None else time.monotonic() + patience
        token = uuid.uuid4().hex.encode()
        px = b"" if self._timeout is None else b"%d" % max(self._timeout * 1000, 1)
        operations = self._operations()
        while not (is_taken := await operations.take_lock(self._redis_key, token, px)):
            is_late = until is not None and time.monotonic() + self._sleep > until
            if not blocking or is_late or is_taken is None:
                return False
            await self._pause(self._sleep)
        self._held.token = token
        return True

    async def _release(self) -> None:
        token = self._required()
        self._held.token = None
        await self._operations().give_lock(self._redis_key, token)

    async def _extend(self, seconds: float, *, anew: bool) -> bool:
        if self._timeout is None:
            raise LockError("A lock without a timeout cannot be extended.")
        return await self._operations().extend_lock(
            self._redis_key, self._required(), int(seconds * 1000), anew=anew
        )

    async def _is_owned(self) -> bool:
        token = self._token
        return token is not None and await self._operations().lock_token(self._redis_key) == token

    async def _is_locked(self) -> bool:
        return await self._operations().lock_token(self._redis_key) is not None

    def _required(self) -> bytes:
        token = self._token
        if token is None:
            raise LockError("The lock is not held, so it cannot be released or extended.")
        return token

    async def _pause(self, seconds: float) -> None:
        raise NotImplementedError

    def _refuse(self) -> LockError:
        return LockError("The lock was not acquired: somebody holds it, or Redis did not answer.")


class Lock(_LockSteps):
    """A lock for blocking callers; as a context manager it raises ``LockError`` where it cannot be had."""

    async def _pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 (blocking callers' coroutines never suspend)

    def acquire(self, blocking: bool | None = None, blocking_timeout: float | None = None) -> bool:
        """Take the lock; tell whether it was taken. A Redis that fails is not waited for."""
        return run(self._acquire(blocking, blocking_timeout))

    def release(self) -> None:
        """Give the lock back."""
        run(self._release())

    def extend(self, additional_time: float, replace_ttl: bool = False) -> bool:
        """Hold the lock for so many more seconds; with ``replace_ttl`` counted from now."""
        return run(self._extend(additional_time, anew=replace_ttl))

    def reacquire(self) -> bool:
        """Hold the lock for its whole timeout from now on."""
        return run(self._extend(self._timeout or 0, anew=True))

    def owned(self) -> bool:
        """Tell whether this object holds the lock."""
        return run(self._is_owned())

    def locked(self) -> bool:
        """Tell whether anybody holds the lock."""
        return run(self._is_locked())

    def __enter__(self) -> Self:
        if not self.acquire():
            raise self._refuse()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class AsyncLock(_LockSteps):
    """The same for asyncio callers."""

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def acquire(self, blocking: bool | None = None, blocking_timeout: float | None = None) -> bool:
        """See `Lock.acquire`."""
        return await self._acquire(blocking, blocking_timeout)

    async def release(self) -> None:
        """See `Lock.release`."""
        await self._release()

    async def extend(self, additional_time: float, replace_ttl: bool = False) -> bool:
        """See `Lock.extend`."""
        return await self._extend(additional_time, anew=replace_ttl)

    async def reacquire(self) -> bool:
        """See `Lock.reacquire`."""
        return await self._extend(self._timeout or 0, anew=True)

    async def owned(self) -> bool:
        """See `Lock.owned`."""
        return await self._is_owned()

    async def locked(self) -> bool:
        """See `Lock.locked`."""
        return await self._is_locked()

    async def __aenter__(self) -> Self:
        if not await self.acquire():
            raise self._refuse()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.release()


class LockingCache:
    """The part of a cache that makes locks."""

    @property
    def _runtime(self) -> Runtime:
        raise NotImplementedError

    @property
    def _value_keys(self) -> ValueKeys:
        raise NotImplementedError

    def lock(
        self,
        key: Key,
        version: int | None = None,
        timeout: float | None = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
        thread_local: bool = True,
    ) -> Lock:
        """A lock that all processes share, with redis-py's methods; a failing Redis is not waited for.

        Args:
            key: Names the lock.
            version: Left out, the alias's ``VERSION``.
            timeout: Seconds after which it is free again, whatever its holder does. Left out, a holder that
                dies holds it for ever.
            sleep: Seconds between two tries to take it.
            blocking: Whether to wait for it.
            blocking_timeout: Seconds to wait at the most.
            thread_local: Whether a thread can give back only what it took itself.
        """
        name = self._value_keys.redis_key(key, version)
        return Lock(
            lambda: self._lock_operations(self._runtime.blocking_io),
            name,
            timeout,
            sleep,
            blocking,
            blocking_timeout,
            thread_local,
        )

    def alock(
        self,
        key: Key,
        version: int | None = None,
        timeout: float | None = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
        thread_local: bool = True,
    ) -> AsyncLock:
        """The same for asyncio callers: its methods are awaited, and it is used by ``async with``."""
        name = self._value_keys.redis_key(key, version)
        return AsyncLock(
            lambda: self._lock_operations(self._runtime.async_io()),
            name,
            timeout,
            sleep,
            blocking,
            blocking_timeout,
            thread_local,
        )

    def _lock_operations(self, io: Io) -> LockOperations:
        return LockOperations(self._runtime, io, self._value_keys)
