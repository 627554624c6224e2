"""The asyncio driver: one connection of one event loop, shared by all its tasks.

Commands that tasks send in the same turn of the loop leave in one write; Redis answers in
order. A task that is cancelled leaves its place in the queue behind: its reply is read and
thrown away, never handed to the next. A reply that is late ends the connection.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis import exceptions as redis_errors

from django_callcache.cache.breaker import Breaker
from django_callcache.cache.callers import AsyncCaller
from django_callcache.cache.commands import are_same_twice
from django_callcache.cache.drivers import FirstThings
from django_callcache.cache.faults import fault_of, is_demoted, may_repeat, noted_fault
from django_callcache.cache.tracking import KeyTracking, Tracked
from django_callcache.exceptions import RedisFault

OpenConnection = Callable[[], Awaitable[Any]]


class AsyncIo(AsyncCaller):
    """Round trips of one event loop over one multiplexed connection.

    Args:
        connect: Returns a connected redis-py asyncio connection.
        breaker: The server's breaker.
        deadline: Seconds that one round trip may take, connecting included.
        when_lost: Called when a connection was lost.
        recovery: What is made good before anything else.
    """

    def __init__(
        self,
        connect: OpenConnection,
        breaker: Breaker,
        deadline: float,
        when_lost: Callable[[], None] | None = None,
        recovery: FirstThings | None = None,
    ) -> None:
        super().__init__()
        self._recovery = recovery
        self._connect = connect
        self._when_lost = when_lost
        self._breaker = breaker
        self._deadline = deadline
        self._session: Session | None = None
        self._opening: asyncio.Future[Session] | None = None

    async def ask(self, command: bytes, started: int, *, reads: bool = False) -> Any:
        """See `drivers.Io.ask`."""
        if self._recovery is not None and self._recovery.is_pending:
            return (await self._recovery.first(self._ask_many, (command,), started, reads=reads))[0]
        return (await self._exchange(command, 1, started, reads))[0]

    async def ask_many(self, commands: Sequence[bytes], started: int, *, reads: bool = False) -> list[Any]:
        """See `drivers.Io.ask_many`."""
        if self._recovery is not None and self._recovery.is_pending:
            return await self._recovery.first(self._ask_many, commands, started, reads=reads)
        return await self._ask_many(commands, started, reads=reads)

    async def _ask_many(self, commands: Sequence[bytes], started: int, *, reads: bool = False) -> list[Any]:
        return await self._exchange(b"".join(commands), len(commands), started, reads)

    async def ask_tracked(
        self, commands: Sequence[bytes], started: int, tracking: KeyTracking
    ) -> tuple[list[Any], bool]:
        """See `drivers.Io.ask_tracked`."""
        if self._recovery is not None and self._recovery.is_pending:
            return await self._recovery.first(self._ask_many, commands, started, reads=True), False
        if self._breaker.is_open:
            self._breaker.check()
        try:
            session = await self._live_session()
            prelude = tracking.prelude(session)
            asked = (*prelude.commands, *commands)
            replies = await session.submit(b"".join(asked), len(asked), started)
        except SessionLost as lost:
            return await self._again(lost, b"".join(commands), len(commands), started, True), False
        if self._breaker.is_troubled:
            self._breaker.succeeded()
        own = len(prelude.commands)
        return replies[own:], tracking.is_heard(session, prelude, replies[:own])

    async def close(self) -> None:
        """Close the connection; the next command opens another."""
        if self._session is not None:
            await self._session.close()

    async def _exchange(self, command: bytes, replies: int, started: int, reads: bool) -> list[Any]:
        breaker = self._breaker
        if breaker.is_open:
            breaker.check()
        try:
            answer = await (await self._live_session()).submit(command, replies, started)
        except SessionLost as lost:
            if not reads and not are_same_twice(command):
                raise lost.fault from lost.error
            answer = await self._again(lost, command, replies, started, reads)
        if breaker.is_troubled:
            breaker.succeeded()
        return answer

    async def _again(
        self, lost: SessionLost, command: bytes, replies: int, started: int, reads: bool
    ) -> list[Any]:
        """Send once more what may be sent twice, where the server had merely closed the connection."""
        lost.fault.sent = lost.fault.sent and not reads
        if not may_repeat(lost.error):
            raise lost.fault from lost.error
        try:
            return await (await self._live_session()).submit(command, replies, started)
        except SessionLost as again:
            again.fault.sent = (lost.fault.sent or again.fault.sent) and not reads
            raise again.fault from again.error

    async def _live_session(self) -> Session:
        session = self._session
        if session is not None and session.is_alive and not session.is_retired:
            return session
        if self._opening is None:
            loop = asyncio.get_running_loop()
            self._opening = loop.create_future()
            self._opening.add_done_callback(self._opened)
            task = loop.create_task(self._live(self._opening))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(self._opening)

    async def _live(self, opening: asyncio.Future[Session]) -> None:
        """Open a connection and read from it until it ends.

        One task does both: one that was cancelled before its first step could not close what the
        other had opened.
        """
        try:
            async with asyncio.timeout(self._deadline):
                connection = await self._connect()
        except (redis_errors.RedisError, OSError) as error:
            opening.set_exception(SessionLost(error, noted_fault(self._breaker, error, sent=False)))
            return
        except BaseException:
            opening.cancel()
            raise
        self._session = Session(connection, self._breaker, self._deadline, self._when_lost)
        opening.set_result(self._session)
        await self._session.read()

    def _opened(self, opening: asyncio.Future[Session]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # whoever waited has it; asyncio need not warn that nobody did


class SessionLost(Exception):
    """The connection ended before the reply came."""

    def __init__(self, error: BaseException, fault: RedisFault) -> None:
        super().__init__(fault.message)
        self.error = error
        self.fault = fault


class Session:
    """The life of one connection: what was sent on it, and who waits for which reply."""

    def __init__(
        self, connection: Any, breaker: Breaker, deadline: float, when_lost: Callable[[], None] | None = None
    ) -> None:
        self._ended_by: Exception | None = None
        self.is_retired = False
        """Whether the server is no primary: what was asked is answered, and nothing more is."""
        self.tracked: Tracked | None = None
        self._when_lost = when_lost
        self._connection = connection
        self._breaker = breaker
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._pending: deque[_Pending] = deque()
        self._outgoing: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._senders: set[asyncio.Task[None]] = set()
        self._reader = asyncio.current_task()

    @property
    def is_alive(self) -> bool:
        """Whether commands can be sent."""
        return self._ended_by is None

    def submit(self, command: bytes, replies: int, started: int) -> asyncio.Future[list[Any]]:
        """Queue packed commands; the future gets all their replies.

        Raises:
            SessionLost: The session has ended since it was looked at.
        """
        if self._ended_by is not None:
            raise SessionLost(self._ended_by, fault_of(self._ended_by, self._breaker.server, sent=False))
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._pending.append(_Pending(future, replies, started))
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(command)
        if self._watch is None:
            self._watch = self._loop.call_later(self._deadline, self._check_oldest)
        return future

    async def close(self) -> None:
        """End the session and wait until its connection is closed."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def read(self) -> None:
        """Hand replies to those who wait for them, until the connection ends."""
        connection, pending = self._connection, self._pending
        try:
            while True:
                try:
                    reply = await connection.read_response()
                except redis_errors.ResponseError as error:
                    reply = error
                    self.is_retired = self.is_retired or is_demoted(error)
                if pending[0].take(reply):
                    pending.popleft()
                if self.is_retired and not pending:
                    if self._when_lost is not None:
                        self._when_lost()
                    return  # the next connection may be another primary's
        except (redis_errors.RedisError, OSError) as error:
            self._end(error)
        except IndexError as error:
            self._end(redis_errors.InvalidResponse("a reply that nobody asked for"), cause=error)
        finally:
            self._end(redis_errors.ConnectionError("the event loop is closing"), is_fault=False)
            await connection.disconnect()  # TLS says goodbye; redis-py does not wait for it for long

    def _flush(self) -> None:
        batch, self._outgoing = self._outgoing, []
        if self.is_alive:
            sender = self._loop.create_task(self._send(batch))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)

    async def _send(self, batch: list[bytes]) -> None:
        if not self.is_alive:
            return  # a connection of redis-py that was closed would open again
        try:
            await self._connection.send_packed_command(batch, False)
        except (redis_errors.RedisError, OSError) as error:
            self._end(error)

    def _check_oldest(self) -> None:
        """End the session if the oldest reply is overdue; else look again when it would be."""
        self._watch = None
        if not self._pending:
            return
        remaining = self._deadline - (time.monotonic_ns() - self._pending[0].started) * 1e-9
        if remaining <= 0:
            self._end(TimeoutError("no reply in time"))
            if self._reader is not None:
                self._reader.cancel()
        else:
            self._watch = self._loop.call_later(remaining, self._check_oldest)

    def _end(self, error: Exception, *, is_fault: bool = True, cause: Exception | None = None) -> None:
        """Fail everybody who waits; the first reason given is the one that counts."""
        if not self.is_alive:
            return
        self._ended_by = error
        error.__cause__ = cause
        if self._watch is not None:
            self._watch.cancel()
        if self.tracked is not None:
            self.tracked.lost()
        if is_fault and self._when_lost is not None:
            self._when_lost()
        if is_fault and (self._pending or not may_repeat(error)):
            noted_fault(self._breaker, error, sent=True)
        for waiting in self._pending:
            waiting.fail(SessionLost(error, fault_of(error, self._breaker.server, sent=True)))
        self._pending.clear()
        self._outgoing.clear()


class _Pending:
    """A call that waits for its replies."""

    __slots__ = ("_collected", "_future", "_replies", "started")

    def __init__(self, future: asyncio.Future[list[Any]], replies: int, started: int) -> None:
        self._future = future
        self._replies = replies
        self._collected: list[Any] = []
        self.started = started

    def take(self, reply: Any) -> bool:
        """Take the next reply; tell whether it was the last. A cancelled call takes them too."""
        self._collected.append(reply)
        if len(self._collected) < self._replies:
            return False
        if not self._future.done():
            self._future.set_result(self._collected)
        return True

    def fail(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)
