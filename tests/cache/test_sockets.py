from __future__ import annotations

import os
import socket
import threading
import time

import pytest
import redis

from django_callcache.cache import sockets
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

    def test_sendall__slow_reader(self, pair):
        """However little the other side takes at a time, a write is over at the deadline as a whole."""
        ours, theirs = pair
        ours.expires_at = in_seconds(0.2)
        taken, ended = [], threading.Event()

        def take():
            while not ended.wait(0.005):
                taken.append(len(theirs.recv(10_000)))

        taking = threading.Thread(target=take)
        taking.start()
        with pytest.raises(TimeoutError):
            ours.sendall(bytes(100_000_000))  # 50 s at this pace
        ended.set()
        taking.join()
        assert 0 < sum(taken) < 50_000_000

    def test_sendall__in_pieces(self, pair):
        """What the kernel's buffer does not hold follows as the other side reads."""
        ours, theirs = pair
        ours.expires_at = in_seconds(30)
        data, received = os.urandom(20_000_000), bytearray()

        def take():
            while len(received) < len(data):
                received.extend(theirs.recv(1 << 20))

        taking = threading.Thread(target=take)
        taking.start()
        ours.sendall(data)
        taking.join()
        assert received == data

    def test_closed_by_the_other_side(self, pair):
        """The end of the stream is no timeout."""
        ours, theirs = pair
        theirs.close()
        ours.expires_at = in_seconds(5)
        assert ours.recv_into(bytearray(1)) == 0


class TestReplies:
    def test_read_reply__in_pieces(self, pair):
        """Replies are told apart however the bytes of them arrive; error replies are returned."""
        ours, theirs = pair
        wire = b"$5\r\nhe\r\nl\r\n$-1\r\n:7\r\n-NOSCRIPT No script.\r\n*2\r\n$1\r\na\r\n-ERR no\r\n+OK\r\n"
        ours.expires_at = in_seconds(10)
        for size in (1, 7, len(wire)):
            replies = []
            for start in range(0, len(wire), size):
                theirs.sendall(wire[start : start + size])
            while len(replies) < 6:
                replies.append(ours.read_reply())
            text, nothing, number, unknown, several, fine = replies
            assert (text, nothing, number, fine) == (b"he\r\nl", None, 7, b"OK")
            assert type(unknown) is redis.exceptions.NoScriptError
            assert several[0] == b"a"
            assert isinstance(several[1], redis.ResponseError)

    def test_read_reply__larger_than_the_buffer(self, pair):
        """A reply may be larger than what is read at once."""
        ours, theirs = pair
        ours.expires_at = in_seconds(10)
        large = bytes(300_000)
        sending = threading.Thread(target=theirs.sendall, args=(b"$300000\r\n" + large + b"\r\n",))
        sending.start()
        assert ours.read_reply() == large
        sending.join()

    def test_read_reply__closed(self, pair):
        """A server that closes the connection in the middle of a reply gave none."""
        ours, theirs = pair
        theirs.sendall(b"$5\r\nhe")
        theirs.close()
        ours.expires_at = in_seconds(10)
        with pytest.raises(redis.ConnectionError):
            ours.read_reply()

    def test_read_reply__loading(self, pair):
        """A server that is starting up counts as one that is not there."""
        ours, theirs = pair
        theirs.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")
        ours.expires_at = in_seconds(10)
        with pytest.raises(redis.BusyLoadingError):
            ours.read_reply()


class TestTimed:
    async def test_timed__without_hiredis(self, face_of, make_cache, monkeypatch):
        """Where hiredis is missing, redis-py reads."""
        monkeypatch.setattr(sockets, "has_hiredis", False)
        timed.cache_clear()
        try:
            cache = make_cache()
            face = face_of(cache)
            assert await face.set("a", "b") is True
            assert await face.get_many(["a", "c"]) == {"a": "b"}
            assert timed(redis.Connection).deadline_socket is None
        finally:
            timed.cache_clear()

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
