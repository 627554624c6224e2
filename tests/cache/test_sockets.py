from __future__ import annotations

import socket
import time

import pytest
import redis

from django_callcache.cache.sockets import DeadlineSocket, timed
from testproject.parts.child import LOOPBACK


@pytest.fixture
def pair():
    """A connected TCP pair: ours with a deadline, theirs without."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    deadline_socket = DeadlineSocket(ours, in_seconds(10))
    yield deadline_socket, theirs
    deadline_socket.close()
    theirs.close()


def in_seconds(seconds):
    return time.monotonic_ns() + int(seconds * 1e9)


class TestDeadlineSocket:
    def test_recv_into__what_is_there(self, pair):
        """Data is read as from any socket, also with hardly any time left."""
        ours, theirs = pair
        buffer = bytearray(10)
        for seconds in (10, 0.02, 5):
            theirs.sendall(b"reply")
            ours.expires_at = in_seconds(seconds)
            assert ours.recv_into(buffer) == 5
            assert buffer[:5] == b"reply"

    def test_recv_into__deadline(self, pair):
        """A read ends when the call's time is over, again and again, longer or shorter than before."""
        ours, _ = pair
        for seconds in (0.05, 0.01, 0.1, 0.0, -1.0):
            ours.expires_at = in_seconds(seconds)
            with pytest.raises(TimeoutError):
                ours.recv_into(bytearray(1))
            assert time.monotonic_ns() >= ours.expires_at

    def test_recv_into__trickle(self, pair):
        """The deadline bounds a reply as a whole, not each piece of it."""
        ours, theirs = pair
        ours.expires_at = in_seconds(0.1)
        pieces = 0

        def read_pieces():
            nonlocal pieces
            while True:
                theirs.sendall(b"x")
                pieces += ours.recv_into(bytearray(1))
                time.sleep(0.005)

        with pytest.raises(TimeoutError):
            read_pieces()
        assert 1 <= pieces <= 21

    def test_sendall__nobody_reads(self, pair):
        """A write that the other side does not take ends, too."""
        ours, _ = pair
        ours.expires_at = in_seconds(0.05)
        with pytest.raises(TimeoutError):
            ours.recv_into(bytearray(1))  # arms the kernel's timeout
        with pytest.raises(TimeoutError):
            ours.sendall(bytes(100_000_000))

    def test_closed_by_the_other_side(self, pair):
        """The end of the stream is no timeout."""
        ours, theirs = pair
        theirs.close()
        ours.expires_at = in_seconds(5)
        assert ours.recv_into(bytearray(1)) == 0


class TestTimed:
    def test_timed__one_class_each(self):
        """Connection classes are made once, and are still what they were."""
        assert timed(redis.Connection) is timed(redis.Connection)
        assert issubclass(timed(redis.UnixDomainSocketConnection), redis.UnixDomainSocketConnection)
        assert timed(redis.SSLConnection).deadline_socket is None

    async def test_unix_socket(self, face_of, make_cache, start_redis):
        """A Unix socket serves as well as TCP."""
        face = face_of(make_cache(start_redis(unix_socket=True).url))
        assert await face.set("a", 1)
        assert await face.get("a") == 1
