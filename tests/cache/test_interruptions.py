"""Time limits that a signal handler raises: they end the work, and are no fault of Redis or of a value."""

from __future__ import annotations

import functools
import pickle
import signal
import socket
import threading
import time

import pytest

from django_callcache.codec import Codec, Encoding, KeyRing
from django_callcache.exceptions import Undecodable
from django_callcache.interruptions import interruption_in
from tests.cache.proxy import Proxy


class Limit(Exception):
    """A soft time limit, as task queues raise it."""


class Job:
    """Somebody whose method is a handler."""

    def handle(self, number, frame):
        raise Limit("over")


def raise_limit(number, frame):
    raise Limit("over")


def raise_timeout(number, frame):
    raise TimeoutError("over")


def raise_for(what, number, frame):
    raise what("over")


HANDLERS = {
    "function": (raise_limit, Limit),
    "timeout": (raise_timeout, TimeoutError),
    "method": (Job().handle, Limit),
    "partial": (functools.partial(raise_for, Limit), Limit),
}


@pytest.fixture(params=HANDLERS)
def limit(request):
    """The exception that a handler of SIGALRM raises."""
    handler, kind = HANDLERS[request.param]
    before = signal.signal(signal.SIGALRM, handler)
    yield kind
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class Slow:
    """A value during whose loading the limit strikes."""

    def __reduce__(self):
        return signal.raise_signal, (signal.SIGALRM,)


class Broken:
    """A value whose class has changed since it was stored."""

    def __reduce__(self):
        return int, ("no number",)


def stored(value):
    codec = Codec("default", KeyRing(["secret"]), Encoding())
    return codec, codec.encode(value, b"k")


class TestLoading:
    def test_interrupted__raised(self, limit):
        """A limit that strikes while a value is loaded is raised, not taken for a miss."""
        codec, blob = stored(Slow())
        with pytest.raises(limit, match="over"):
            codec.decode(blob, b"k")

    def test_broken__undecodable(self, limit):
        """A value that cannot be loaded is undecodable, also where handlers are set."""
        codec, blob = stored(Broken())
        with pytest.raises(Undecodable):
            codec.decode(blob, b"k")

    def test_memory__raised(self, monkeypatch):
        """Memory that ran out is no fault of the value."""
        codec, blob = stored(pickle.loads(pickle.dumps("x")))

        def loads(payload):
            raise MemoryError

        for header, (hasher, _) in list(codec._openings.items()):
            codec._openings[header] = hasher, loads
        with pytest.raises(MemoryError):
            codec.decode(blob, b"k")


class TestRoundTrip:
    def test_interrupted__raised(self, limit, make_cache, start_redis):
        """A limit that strikes while Redis is waited for is raised as it is; the breaker hears of nothing."""
        with Proxy(start_redis().port) as proxy:
            cache = make_cache(proxy.url, DEADLINE=60)
            cache.set("a", "x")
            proxy.is_silent = True
            for call in (lambda: cache.get("a"), lambda: cache.set("a", 1), lambda: cache.get_many(["a"])):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                with pytest.raises(limit, match="over"):
                    call()
            assert not cache._runtime.breaker.is_troubled
            proxy.is_silent = False
            proxy.drop_connections()
            assert cache.get("a") == "x"
            assert cache.counted()["other"]["errors"] == 0


class TestInterruptionIn:
    def test_other_thread(self, limit):
        """Handlers run in the main thread alone."""
        found = []

        def look():
            try:
                raise_limit(1, None)
            except Limit as error:
                found.append(interruption_in(error))

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert found == [None]

    def test_chained(self, limit):
        """The handler's exception is found behind one that was made of it."""
        wrapped = None
        try:
            try:
                signal.raise_signal(signal.SIGALRM)
                time.sleep(0)
            except limit as error:
                raise ConnectionError("made of it") from error
        except ConnectionError as error:
            wrapped = error
        assert isinstance(interruption_in(wrapped), limit)

    def test_timeout__of_a_socket(self, limit):
        """A time-out that no handler raised is none."""
        one, other = socket.socketpair()
        one.settimeout(0.001)
        with one, other, pytest.raises(TimeoutError) as raised:
            one.recv(1)
        assert interruption_in(raised.value) is None
