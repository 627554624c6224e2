"""Sockets that keep a deadline without polling, and the redis-py connections that use them.

redis-py connects, negotiates TLS and the protocol, and authenticates; from then on the drivers write to
these sockets and read replies from them, which takes half the time of asking redis-py to. Where the
socket cannot be replaced (TLS), or hiredis is missing, redis-py reads and writes.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
import time
from importlib.util import find_spec
from typing import Any

import redis
from redis import exceptions as redis_errors
from redis.connection import DefaultParser

from django_callcache.cache.tracking import Tracked

CLOSE_ENOUGH = 0.8
"""The kernel's timeout is set anew when less than this share of it remains."""

BUFFER_BYTES = 65_536

if has_hiredis := find_spec("hiredis") is not None:
    import hiredis


class DeadlineSocket(socket.socket):
    """A connected socket whose reads and writes end by a deadline.

    The kernel keeps the time (SO_RCVTIMEO, SO_SNDTIMEO): ``settimeout`` would add a poll
    before every send and every read. A reply that trickles in is bounded as a whole.
    """

    __slots__ = ("_armed", "_buffer", "_reader", "expires_at")

    def __init__(self, connected: socket.socket, expires_at: int) -> None:
        super().__init__(fileno=connected.detach())
        self.settimeout(None)
        self.expires_at = expires_at
        """When the call under way must be over, in nanoseconds of the monotonic clock."""
        self._buffer = bytearray(BUFFER_BYTES)
        self._reader = hiredis.Reader(replyError=DefaultParser.parse_error)
        self._arm(max((expires_at - time.monotonic_ns()) * 1e-9, 0.001))

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Read what is there, or wait for it until the deadline.

        Raises:
            TimeoutError: The deadline passed.
        """
        remaining = (self.expires_at - time.monotonic_ns()) * 1e-9
        if remaining < self._armed * CLOSE_ENOUGH or remaining * CLOSE_ENOUGH > self._armed:
            if remaining <= 0:
                raise TimeoutError("timed out")
            self._arm(remaining)
        try:
            return super().recv_into(buffer, nbytes, flags)
        except BlockingIOError:
            raise TimeoutError("timed out") from None

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Write everything, until the deadline.

        Raises:
            TimeoutError: The deadline passed, and not everything is on its way.
        """
        try:
            sent = super().send(data, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        if sent < len(data):  # the kernel's buffer is full: the other side is slow, or the data is large
            self._send_rest(memoryview(data)[sent:], flags)

    def _send_rest(self, rest: memoryview, flags: int) -> None:
        while rest:
            remaining = (self.expires_at - time.monotonic_ns()) * 1e-9
            if remaining <= 0:
                raise TimeoutError("timed out")
            self._arm(remaining)
            with contextlib.suppress(BlockingIOError):
                rest = rest[super().send(rest, flags) :]

    def read_reply(self) -> Any:
        """The next reply. An error reply is returned, so that the replies behind it are read too.

        Nothing else may have read from the socket since the last reply.

        Raises:
            TimeoutError: The deadline passed.
            redis.exceptions.ConnectionError: The server has closed the connection, or is starting up.
        """
        reader = self._reader
        reply = reader.gets()
        while reply is False:  # not all of it is here; no reply of RESP2 is False itself
            received = self.recv_into(self._buffer)
            if not received:
                raise redis_errors.ConnectionError("Connection closed by server.")
            reader.feed(self._buffer, 0, received)  # type: ignore[arg-type]  # it takes any buffer
            reply = reader.gets()
        if isinstance(reply, redis_errors.ConnectionError):
            raise reply
        return reply

    def _arm(self, seconds: float) -> None:
        self._armed = seconds
        # timeval's fields are C longs; zero in both would mean "wait for ever".
        value = struct.pack("ll", int(seconds), max(int(seconds % 1 * 1e6), 1))
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


class PatientConnection:
    """Mixed into a redis-py connection class: what the drivers keep of a connection."""

    used_at: int = 0
    """When the last reply was read, in nanoseconds of the monotonic clock."""
    expires_at: int = 0
    """When a connection under way must be made, handshake included, in nanoseconds of the monotonic clock."""
    deadline_socket: DeadlineSocket | None = None
    """None where redis-py's socket cannot be replaced."""
    tracked: Tracked | None = None
    """That Redis remembers what is read over it."""

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Close the connection; whoever relies on it hears of it. The garbage collector calls this too."""
        super().disconnect(*args, **kwargs)  # type: ignore[misc]
        tracked, self.tracked = self.tracked, None
        if tracked is not None:
            tracked.lost()


class TimedConnection(PatientConnection):
    """The same with a socket that keeps deadlines by itself.

    ``_connect`` is the abstract method that redis-py asks its connection classes for.
    """

    def _connect(self) -> DeadlineSocket:
        connected = super()._connect()  # type: ignore[misc]
        self.deadline_socket = DeadlineSocket(connected, self.expires_at)
        return self.deadline_socket


@functools.cache
def timed(connection_class: type[redis.Connection]) -> type[redis.Connection]:
    """The same connection class, keeping deadlines."""
    is_replaceable = has_hiredis and not issubclass(connection_class, redis.SSLConnection)
    mixin = TimedConnection if is_replaceable else PatientConnection
    return type(f"{mixin.__name__}{connection_class.__name__}", (mixin, connection_class), {})
