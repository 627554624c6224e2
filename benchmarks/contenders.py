"""Who is measured: three cache backends of Django over one server, and a bare socket as the floor."""

from __future__ import annotations

import pickle
import socket
from itertools import count, repeat
from typing import Any, Self
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.cache import caches

from benchmarks.rounds import Block

OURS, DJANGO_REDIS, DJANGO, FLOOR = "django_callcache", "django-redis", "Django RedisCache", "bare socket"
BACKENDS = {
    OURS: "django_callcache.cache.CallCache",
    DJANGO_REDIS: "django_redis.cache.RedisCache",
    DJANGO: "django.core.cache.backends.redis.RedisCache",
}

TIMEOUT = 300
MANY = 100
COUNTER_START = 1_000_000
"""So large that the replies to INCR stay of one length."""

CAMPAIGN = {
    "id": 7,
    "name": "May 2008",
    "starts_on": "2008-05-01",
    "calls_made": 12784,
    "subscriptions": 886,
    "talk_seconds": 3402961,
    "status": "active",
    "owner": "north",
    "script": "term deposit, second call",
    "max_attempts": 5,
}
"""A small record, as the sample project caches them: about 220 bytes pickled."""


def configure(redis_url: str) -> None:
    """Set Django up with every backend on one server, all with their defaults."""
    settings.configure(
        SECRET_KEY="a benchmark has no secrets to keep",
        USE_TZ=True,
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
            **{
                name: {"BACKEND": path, "LOCATION": redis_url, "KEY_PREFIX": path.partition(".")[0]}
                for name, path in BACKENDS.items()
            },
        },
    )
    django.setup()


class CacheContender:
    """A cache backend of Django; every one of them runs the same lines.

    Args:
        name: Of the backend.
    """

    def __init__(self, name: str) -> None:
        self.cache: Any = caches[name]
        self._new = count()
        self.keys = [f"campaign:{number}" for number in range(MANY)]
        self.prepare()

    def prepare(self) -> None:
        """Write what the reads find."""
        self.cache.set_many(dict.fromkeys(self.keys, CAMPAIGN), TIMEOUT)
        self.cache.set("calls", COUNTER_START, TIMEOUT)
        for key in (self.keys[7], "calls"):
            if self.cache.get(key) is None:
                raise RuntimeError(f"{type(self.cache).__name__} does not find what it has just stored")

    def get_hit(self, calls: int) -> None:
        get = self.cache.get
        for _ in repeat(None, calls):
            get("campaign:7")

    def get_miss(self, calls: int) -> None:
        get = self.cache.get
        for _ in repeat(None, calls):
            get("campaign:none")

    def set(self, calls: int) -> None:
        set_ = self.cache.set
        for _ in repeat(None, calls):
            set_("campaign:7", CAMPAIGN, TIMEOUT)

    def add(self, calls: int) -> None:
        add, new = self.cache.add, self._new
        for _ in repeat(None, calls):
            add(f"campaign:new:{next(new):08}", CAMPAIGN, TIMEOUT)

    def incr(self, calls: int) -> None:
        incr = self.cache.incr
        for _ in repeat(None, calls):
            incr("calls")

    def touch(self, calls: int) -> None:
        touch = self.cache.touch
        for _ in repeat(None, calls):
            touch("campaign:7", TIMEOUT)

    def get_many(self, calls: int) -> None:
        get_many, keys = self.cache.get_many, self.keys
        for _ in repeat(None, calls):
            get_many(keys)


class BareSocket:
    """The same commands, packed beforehand, over one socket; replies are read but not parsed.

    Args:
        redis_url: Of the server.
    """

    def __init__(self, redis_url: str) -> None:
        self._socket = _connected(redis_url)
        self._blob = pickle.dumps(CAMPAIGN, pickle.HIGHEST_PROTOCOL)
        self._new = count()
        self.keys = [b"bare:1:campaign:%d" % number for number in range(MANY)]
        self.prepare()
        self.get_hit = self._repeating(b"GET", self.keys[7])
        self.get_miss = self._repeating(b"GET", b"bare:1:campaign:none")
        self.set = self._repeating(*self._set(self.keys[7]))
        self.incr = self._repeating(b"INCR", b"bare:1:calls")
        self.touch = self._repeating(b"PEXPIRE", self.keys[7], b"%d" % (TIMEOUT * 1000))
        self.get_many = self._repeating(b"MGET", *self.keys)
        self._add = _packed(*self._set(b"bare:1:campaign:new:%08d"), b"NX").replace(
            b"$%d" % len(b"bare:1:campaign:new:%08d"), b"$%d" % len(b"bare:1:campaign:new:00000000")
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def prepare(self) -> None:
        """Write what the reads find."""
        for key in self.keys:
            self._ask(_packed(*self._set(key)))
        self._ask(_packed(b"SET", b"bare:1:calls", b"%d" % COUNTER_START))

    def add(self, calls: int) -> None:
        send, receive = self._socket.sendall, self._socket.recv
        # A percent sign in the pickled record would be taken for a place to fill.
        before, after = self._add.split(b"%08d")
        new = self._new
        for _ in repeat(None, calls):
            send(b"%b%08d%b" % (before, next(new), after))
            receive(4096)

    def _set(self, key: bytes) -> tuple[bytes, ...]:
        return (b"SET", key, self._blob, b"PX", b"%d" % (TIMEOUT * 1000))

    def _repeating(self, *parts: bytes) -> Block:
        command = _packed(*parts)
        size = len(self._ask(command))
        send, receive = self._socket.sendall, self._socket.recv

        def block(calls: int) -> None:
            for _ in repeat(None, calls):
                send(command)
                missing = size - len(receive(65536))
                while missing:
                    missing -= len(receive(65536))

        return block

    def _ask(self, command: bytes) -> bytes:
        """One reply, whole: a PING behind the command ends it."""
        self._socket.sendall(command + _packed(b"PING"))
        reply = b""
        while not reply.endswith(b"+PONG\r\n"):
            reply += self._socket.recv(65536)
        return reply.removesuffix(b"+PONG\r\n")


def _connected(redis_url: str) -> socket.socket:
    address = urlsplit(redis_url)
    if address.scheme == "unix":
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(address.path)
        return connected
    connected = socket.create_connection((address.hostname, address.port))
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def _packed(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
