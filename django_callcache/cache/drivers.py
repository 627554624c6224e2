"""How an operation reaches Redis: one round trip at a time.

An operation is a coroutine over `Io`. `BlockingIo` never suspends, so `running.run` carries
an operation to its end in one step; `multiplexer.AsyncIo` is the other driver. Retry, deadline
and breaker live here; what a reply means is the operations' affair.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from redis import Connection as RedisConnection
from redis import exceptions as redis_errors

from django_callcache.cache.breaker import Breaker
from django_callcache.cache.callers import BlockingCaller
from django_callcache.cache.commands import are_same_twice
from django_callcache.cache.connections import Connections
from django_callcache.cache.faults import is_demoted, may_repeat, noted_fault
from django_callcache.cache.tracking import KeyTracking
from django_callcache.interruptions import interruption_in
from django_callcache.signals import CacheSignal

IDLE_NS = 1_000_000_000
"""A connection unused for longer is checked before it is used: the server may have closed it."""


_READS_BY_DEADLINE = "timeout" in inspect.signature(RedisConnection.read_response).parameters


class Io(Protocol):
    """What an operation may ask of the world."""

    async def ask(self, command: bytes, started: int, *, reads: bool = False) -> Any:
        """Send one packed command and return its reply; an error reply is returned, not raised.

        Args:
            command: From `commands`.
            started: When the call began (nanoseconds, monotonic); its deadline counts from here.
            reads: Whether the command changes nothing. It may be sent twice then, as may some writes.

        Raises:
            RedisFault: There was no reply.
        """
        ...

    async def ask_many(self, commands: Sequence[bytes], started: int, *, reads: bool = False) -> list[Any]:
        """Send several commands in one round trip and return all their replies."""
        ...

    async def ask_tracked(
        self, commands: Sequence[bytes], started: int, tracking: KeyTracking
    ) -> tuple[list[Any], bool]:
        """The same for a read in the first command, of which Redis is to remember what was read.

        Returns:
            The replies, and whether changes of what was read will be heard of.
        """
        ...

    async def call(self, factory: Callable[[], Any]) -> Any:
        """Run the user's code."""
        ...

    async def tell(self, signal: CacheSignal, sender: str, **details: Any) -> None:
        """Send a signal to who listens."""
        ...

    blocks: bool
    """Whether waiting holds up the caller's whole thread."""

    async def pause(self, seconds: float) -> None:
        """Wait."""
        ...

    async def landed(self, done: Future[Any], seconds: float) -> bool:
        """Wait for another's computation; tell whether it has ended, rather than the time run out."""
        ...

    def detach(self, operation: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Carry an operation to its end while the caller goes on; tell whether there was room for it."""
        ...


class FirstThings(Protocol):
    """What has to be made good before a call is carried out. `recovery.Recovery` documents it."""

    is_pending: bool

    async def first(
        self,
        ask_many: Any,
        asked: Sequence[bytes],
        started: int,
        *,
        reads: bool,
        concerns: Callable[[bytes], bool] | None = None,
    ) -> list[Any]: ...


class BlockingIo(BlockingCaller):
    """Round trips over redis-py connections, in the caller's thread.

    Args:
        connections: Where connections come from.
        breaker: The server's breaker.
        deadline: Seconds that one round trip may take, connecting and waiting included.
        when_lost: Called when a connection was lost.
        recovery: What is made good before anything else; left out where this driver does just that.
    """

    def __init__(
        self,
        connections: Connections,
        breaker: Breaker,
        deadline: float,
        when_lost: Callable[[], None] | None = None,
        recovery: FirstThings | None = None,
    ) -> None:
        self._recovery = recovery
        self._first_of_all = (
            self if recovery is None else BlockingIo(connections, breaker, deadline, when_lost)
        )
        self._connections = connections
        self._when_lost = when_lost
        self._breaker = breaker
        self._deadline_ns = int(deadline * 1e9)

    async def ask(self, command: bytes, started: int, *, reads: bool = False) -> Any:
        """See `Io.ask`."""
        # The same as `ask_many` of one command, spelled out: this is what a cache hit costs.
        recovery = self._recovery
        if recovery is not None and recovery.is_pending:
            return (await recovery.first(self._first_of_all.ask_many, (command,), started, reads=reads))[0]
        breaker = self._breaker
        if breaker.is_open:
            breaker.check()
        expires_at = started + self._deadline_ns
        connection = self._connections.take(expires_at)
        sent = False
        try:
            if started - connection.used_at > IDLE_NS:
                _revive(connection, expires_at)
            socket = connection.deadline_socket
            if socket is None:
                connection.send_packed_command((command,), False)
                sent = True
                reply = _read(connection, expires_at)
            else:
                socket.expires_at = expires_at
                socket.sendall(command)
                sent = True
                reply = socket.read_reply()
            connection.used_at = started
            if isinstance(reply, redis_errors.ResponseError):
                self._refused(connection, reply)
        except BaseException as error:
            return self._failed(connection, error, sent, command, 1, expires_at, reads)[0]
        self._connections.give(connection)
        if breaker.is_troubled:
            breaker.succeeded()
        return reply

    async def ask_many(self, commands: Sequence[bytes], started: int, *, reads: bool = False) -> list[Any]:
        """See `Io.ask_many`."""
        recovery = self._recovery
        if recovery is not None and recovery.is_pending:
            return await recovery.first(self._first_of_all.ask_many, commands, started, reads=reads)
        breaker = self._breaker
        if breaker.is_open:
            breaker.check()
        expires_at = started + self._deadline_ns
        connection = self._connections.take(expires_at)
        command = b"".join(commands)
        sent = False
        try:
            _prepare(connection, expires_at)
            _send(connection, command)
            sent = True
            replies = self._receive(connection, len(commands), expires_at)
        except BaseException as error:
            return self._failed(connection, error, sent, command, len(commands), expires_at, reads)
        self._connections.give(connection)
        if breaker.is_troubled:
            breaker.succeeded()
        return replies

    async def ask_tracked(
        self, commands: Sequence[bytes], started: int, tracking: KeyTracking
    ) -> tuple[list[Any], bool]:
        """See `Io.ask_tracked`."""
        recovery = self._recovery
        if recovery is not None and recovery.is_pending:
            return await recovery.first(self._first_of_all.ask_many, commands, started, reads=True), False
        breaker = self._breaker
        if breaker.is_open:
            breaker.check()
        expires_at = started + self._deadline_ns
        connection = self._connections.take(expires_at)
        sent = False
        try:
            _prepare(connection, expires_at)
            prelude = tracking.prelude(connection)
            _send(connection, b"".join((*prelude.commands, *commands)))
            sent = True
            replies = self._receive(connection, len(prelude.commands) + len(commands), expires_at)
            own = len(prelude.commands)
            is_heard = tracking.is_heard(connection, prelude, replies[:own])
        except BaseException as error:
            command = b"".join(commands)  # another connection, which nobody hears for
            return self._failed(connection, error, sent, command, len(commands), expires_at, True), False
        self._connections.give(connection)
        if breaker.is_troubled:
            breaker.succeeded()
        return replies[own:], is_heard

    def send_many(self, commands: Sequence[bytes], started: int, *, reads: bool) -> Sent:
        """The first half of `ask_many`: the caller may send to other servers before it reads the replies.

        What is sent is to be received, or to be abandoned.

        Raises:
            RedisFault: Nothing was sent.
        """
        if self._breaker.is_open:
            self._breaker.check()
        expires_at = started + self._deadline_ns
        connection = self._connections.take(expires_at)
        sent = Sent(connection, b"".join(commands), len(commands), expires_at, reads)
        try:
            _prepare(connection, expires_at)
            _send(connection, sent.command)
        except BaseException as error:
            sent.replies = self._failed(connection, error, False, *sent.asked)
        return sent

    def receive_many(self, sent: Sent) -> list[Any]:
        """The second half of `ask_many`."""
        if sent.replies is not None:
            return sent.replies
        connection, sent.connection = sent.connection, None
        try:
            sent.replies = self._receive(connection, sent.number, sent.expires_at)
        except BaseException as error:
            return self._failed(connection, error, True, *sent.asked)
        self._connections.give(connection)
        if self._breaker.is_troubled:
            self._breaker.succeeded()
        return sent.replies

    def abandon(self, sent: Sent) -> None:
        """Close a connection whose replies nobody reads."""
        if sent.replies is None and sent.connection is not None:
            _drop(sent.connection)
            self._connections.give(sent.connection)

    def _failed(
        self,
        connection: Any,
        error: BaseException,
        sent: bool,
        command: bytes,
        replies: int,
        expires_at: int,
        reads: bool,
    ) -> list[Any]:
        """Drop the connection; if the server had merely closed it, send once more what may be sent twice."""
        try:
            _drop(connection)
            interruption = interruption_in(error)
            if interruption is not None:
                raise interruption
            if not isinstance(error, redis_errors.RedisError | OSError):
                raise error
            if self._when_lost is not None:
                self._when_lost()
            if not may_repeat(error):
                raise noted_fault(self._breaker, error, sent=sent and not reads) from error
            self._connections.distrust()
            if not reads and not are_same_twice(command):
                raise noted_fault(self._breaker, error, sent=sent) from error
            try:
                _prepare(connection, expires_at)
                _send(connection, command)
                sent = True
                return self._receive(connection, replies, expires_at)
            except (redis_errors.RedisError, OSError) as again:
                _drop(connection)
                raise noted_fault(self._breaker, again, sent=sent and not reads) from again
        finally:
            # Its traceback holds this frame: a cycle that would keep the connection alive when it is lost.
            del error, interruption
            self._connections.give(connection)

    def _receive(self, connection: Any, replies: int, expires_at: int) -> list[Any]:
        """All the replies to what was sent."""
        socket = connection.deadline_socket
        if socket is None:
            collected = [_read(connection, expires_at) for _ in range(replies)]
        else:
            read = socket.read_reply
            collected = [read() for _ in range(replies)]
        connection.used_at = time.monotonic_ns()
        for reply in collected:
            if isinstance(reply, redis_errors.ResponseError):
                self._refused(connection, reply)
        return collected

    def _refused(self, connection: Any, reply: redis_errors.ResponseError) -> None:
        """Make a connection anew at its next use whose server is no primary: another one may be by then."""
        if is_demoted(reply):
            connection.used_at = 0
            self._connections.renew()
            if self._when_lost is not None:
                self._when_lost()


class Sent:
    """What was sent over a connection, and the replies once they are there."""

    __slots__ = ("command", "connection", "expires_at", "number", "reads", "replies")

    def __init__(self, connection: Any, command: bytes, number: int, expires_at: int, reads: bool) -> None:
        self.connection = connection
        self.command = command
        self.number = number
        self.expires_at = expires_at
        self.reads = reads
        self.replies: list[Any] | None = None

    @property
    def asked(self) -> tuple[bytes, int, int, bool]:
        """What it takes to ask once more."""
        return self.command, self.number, self.expires_at, self.reads


def _prepare(connection: Any, expires_at: int) -> None:
    """Make ready to send, over a connection that may have to be made first."""
    if time.monotonic_ns() - connection.used_at > IDLE_NS:
        _revive(connection, expires_at)
    socket = connection.deadline_socket
    if socket is not None:
        socket.expires_at = expires_at


def _send(connection: Any, command: bytes) -> None:
    """Send packed commands."""
    socket = connection.deadline_socket
    if socket is None:
        connection.send_packed_command((command,), False)
    else:
        socket.sendall(command)


def _read(connection: Any, expires_at: int) -> Any:
    """One reply, read by redis-py; see `DeadlineSocket.read_reply`."""
    try:
        remaining = max((expires_at - time.monotonic_ns()) * 1e-9, 0.001)
        if _READS_BY_DEADLINE:
            return connection.read_response(timeout=remaining)
        # Before redis-py 8 only the wait for a reply's first bytes can be bounded anew for each call.
        if not connection.can_read(remaining):
            raise redis_errors.TimeoutError("Timeout reading from the server")
        return connection.read_response()
    except redis_errors.ResponseError as error:
        return error


def _revive(connection: Any, expires_at: int) -> None:
    """Connect, or connect again where the server has closed an idle connection."""
    if connection.used_at:
        try:
            if not connection.can_read(0):
                return
        except redis_errors.ConnectionError:
            pass
    _drop(connection)
    remaining = max((expires_at - time.monotonic_ns()) * 1e-9, 0.001)
    connection.socket_timeout = connection.socket_connect_timeout = remaining
    connection.expires_at = expires_at
    connection.connect()


def _drop(connection: Any) -> None:
    """Close a connection whose next bytes may belong to somebody else."""
    connection.disconnect()
    connection.used_at = 0
