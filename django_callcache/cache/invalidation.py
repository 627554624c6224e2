"""Keeps a near cache coherent: hears from Redis which keys have changed.

One listening connection an alias and process. Redis announces every write, deletion and expiry
under the prefixes that the near cache holds copies of (``CLIENT TRACKING`` with ``BCAST``),
whoever wrote. A ping every half second confirms that nothing is overdue: its answer comes behind
every announcement of what was acknowledged before it was sent. Where the confirmation stays
away, the near cache stops to serve; where the connection ends, it is emptied.

Where the server refuses tracking, writers announce what they write on a channel of this alias.
Only writers of this package do, and each notices within `PROBE_SECONDS` that somebody listens,
so copies live no longer than `MAX_STALENESS` then: that bound needs no announcement at all.

The listener speaks RESP2 and hears by publish/subscribe, whose buffers Redis bounds: a process
that hangs cannot make the server grow.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from redis import exceptions as redis_errors

from django_callcache.cache import commands
from django_callcache.cache.faults import refuses_command
from django_callcache.cache.near import NearCache

logger = logging.getLogger(__name__)

CHANNEL = b"__redis__:invalidate"
"""Where Redis announces to listeners of RESP2 (Redis documentation, "Client-side caching")."""

PING_NS = 500_000_000
RECONNECT_SECONDS = (0.1, 1.0)
"""The pause before the next try is drawn from this range, so that processes do not come as one."""

HANG_UPS = 3
"""A server that ends the connection so often in reply to SUBSCRIBE does not have it; fakeredis's is one."""

PROBE_SECONDS = 2.0
"""A writer that nobody listens to publishes again after this, to see whether somebody does now."""

BURST_NS = 1_000_000
"""Announcements that follow one another faster are taken together: waking up for each would cost writers
in this process as much again as their writes."""

DRAUGHT = 10_000
"""Announcements taken at once before a look at the clock."""

_unpack = msgspec.msgpack.Decoder(list[bytes]).decode


class InvalidationLink:
    """The listener of one alias in this process; its thread starts with the first read that may use it.

    Args:
        make: Makes an unconnected redis-py connection that waits as long as it is told.
        near: What to keep coherent.
        stem: What stands before the caller's key in a Redis key.
        prefixes: Redis keys that copies may be held of begin with one of these.
        announcer: Announces this process's own writes where the server does not.
        max_staleness: Seconds for which a confirmation holds.
        server: How the server is called in messages.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        near: NearCache,
        stem: bytes,
        prefixes: tuple[bytes, ...],
        announcer: Announcer,
        max_staleness: float,
        server: str,
    ) -> None:
        self._make = make
        self._near = near
        self._stem = stem
        self._prefixes = outermost(prefixes)
        self._announcer = announcer
        self._max_staleness = max_staleness
        self._max_staleness_ns = int(max_staleness * 1e9)
        self._server = server
        self._connection: Any = None
        self.forget()

    def forget(self) -> None:
        """Start anew in a forked child: the thread is the parent's, and so is the socket."""
        if self._connection is not None:
            self._connection.disconnect()  # closes the child's descriptor, not the parent's connection
        self._connection = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._is_suspect = False
        self._has_said = False
        self._hang_ups = 0
        self._confirmed_at = time.monotonic_ns()
        self.is_tracking = False
        """Whether Redis itself announces what changes; otherwise writers do."""
        self.is_refused = False
        """Whether the server lets us listen in no way; there is no near cache then."""

    def start(self) -> None:
        """Start to listen, unless it was done."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(
                    target=self._run, args=(self._stopped,), name="callcache-link", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is shutting down, or is out of threads
                    return
                self._thread = thread
                self._confirmed_at = time.monotonic_ns()

    def stop(self) -> None:
        """Stop listening; the near cache serves nothing until somebody reads again."""
        with self._lock:
            self._stopped.set()
            self._stopped = threading.Event()
            self._thread = None
        self._silence()

    def lag_seconds(self) -> float | None:
        """Seconds since Redis last confirmed, or since we began to listen; None where nobody listens."""
        if self._thread is None or self.is_refused:
            return None
        return (time.monotonic_ns() - self._confirmed_at) / 1e9

    def suspect(self) -> None:
        """Begin anew: a connection that copies were read through was lost, perhaps with the server."""
        if self._near.confirmed_until:
            self._is_suspect = True
            self._silence()

    def _silence(self) -> None:
        self._near.confirmed_until = 0
        self._near.empty()

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            connection = self._connection = self._make()
            self._is_suspect = False
            try:
                connection.connect()
                if not self._subscribe(connection):
                    self.is_refused = True
                    return
                self._silence()  # reads that began while nobody listened may fill nothing
                self._listen(connection, stopped)
            except (redis_errors.RedisError, OSError) as error:
                logger.debug("redis=%s link=lost error=%s", self._server, type(error).__name__)
            except Exception:
                logger.exception("redis=%s link=failed", self._server)
            finally:
                self._silence()
                connection.disconnect()
            stopped.wait(random.uniform(*RECONNECT_SECONDS))  # noqa: S311

    def _subscribe(self, connection: Any) -> bool:
        """Let Redis announce changes, or else their writers; tell whether either can be had."""
        try:
            self._track(connection)
        except redis_errors.ResponseError as refusal:
            if not refuses_command(refusal):
                raise
        else:
            self.is_tracking = True
            self._near.limit_age(None)
            return True
        self.is_tracking = False
        if not self._may_subscribe(connection):
            self._say_once(
                "redis=%s near=off: the server lets this client neither track keys (CLIENT TRACKING) nor "
                "subscribe to %s; reads go to Redis",
                self._server,
                self._announcer.channel.decode(),
            )
            return False
        self._say_once(
            "redis=%s near=announced: the server does not let this client track keys (CLIENT TRACKING); "
            "writers announce their writes, and copies live %s s at most",
            self._server,
            self._max_staleness,
        )
        self._announcer.is_heard = True
        self._near.limit_age(self._max_staleness)
        return True

    def _may_subscribe(self, connection: Any) -> bool:
        try:
            _ask(connection, "SUBSCRIBE", self._announcer.channel)
        except redis_errors.ResponseError as refusal:
            if not refuses_command(refusal):
                raise
            return False
        except redis_errors.ConnectionError:
            self._hang_ups += 1
            if self._hang_ups < HANG_UPS:
                raise
            return False
        self._hang_ups = 0
        return True

    def _say_once(self, text: str, *values: object) -> None:
        if not self._has_said:
            self._has_said = True
            logger.warning(text, *values)

    def _track(self, connection: Any) -> None:
        own_id = _ask(connection, "CLIENT", "ID")
        tracked = [part for prefix in self._prefixes for part in ("PREFIX", prefix)]
        _ask(connection, "CLIENT", "TRACKING", "ON", "REDIRECT", own_id, "BCAST", *tracked)
        _ask(connection, "SUBSCRIBE", CHANNEL)

    def _listen(self, connection: Any, stopped: threading.Event) -> None:
        asked_at: int | None = None
        next_ping = woken_at = 0
        while not stopped.is_set() and not self._is_suspect:
            at = time.monotonic_ns()
            if asked_at is None and at >= next_ping:
                asked_at = at
                next_ping = at + PING_NS
                connection.send_command("PING", check_health=False)
            elif asked_at is not None and at - asked_at > self._max_staleness_ns:
                raise redis_errors.TimeoutError("the link is silent")
            if not connection.can_read(max(next_ping - at, PING_NS // 2) * 1e-9):
                continue
            if time.monotonic_ns() - woken_at < BURST_NS:
                time.sleep(BURST_NS * 1e-9)
            woken_at = time.monotonic_ns()
            for _ in range(DRAUGHT):
                message = connection.read_response()
                if message[0] == b"message":
                    self._heard(message[2])
                elif message[0] == b"pong" and asked_at is not None and not self._is_suspect:
                    self._near.confirmed_until = asked_at + self._max_staleness_ns
                    self._confirmed_at = asked_at
                    asked_at = None
                if not connection.can_read(0):
                    break

    def _heard(self, announced: Any) -> None:
        """Drop what has changed: a list of keys, or None for a flushed database; ours come packed."""
        if self.is_tracking:
            # Whatever else arrives on Redis's channel was published there by somebody.
            if announced is None:
                self._near.empty()
            elif isinstance(announced, list):
                self._near.invalidate(self._caller_keys(announced))
        else:
            try:
                keys = _unpack(announced)
            except (msgspec.DecodeError, TypeError):
                keys = []
            if keys:
                self._near.invalidate(self._caller_keys(keys))
            else:
                self._near.empty()

    def _caller_keys(self, redis_keys: Iterable[bytes]) -> list[str]:
        length = len(self._stem)
        return [key[length:].decode(errors="replace") for key in redis_keys if key.startswith(self._stem)]


class Announcer:
    """Tells listeners which keys a process writes, where the server does not tell them.

    An announcement is published in the write's own round trip, behind it. Its reply says how many
    heard it: as long as nobody does, only one write in `PROBE_SECONDS` is announced.

    Args:
        channel: Where to publish.
        prefixes: Redis keys that copies may be held of begin with one of these.
    """

    def __init__(self, channel: bytes, prefixes: tuple[bytes, ...]) -> None:
        self.channel = channel
        self._prefixes = prefixes
        self._probe_at = 0
        self._is_refused = False
        self.is_heard = False
        """Whether somebody listens, as far as this process knows."""

    def announcement(self, redis_keys: Iterable[bytes], at: int) -> bytes | None:
        """The command that announces a write at a time; None where none is due.

        No keys at all stand for every key.
        """
        if self._is_refused or (not self.is_heard and at < self._probe_at):
            return None
        near = [key for key in redis_keys if key.startswith(self._prefixes)]
        if redis_keys and not near:
            return None
        return commands.command("PUBLISH", self.channel, msgspec.msgpack.encode(near))

    def announced(self, reply: Any, at: int) -> None:
        """Take note of how many listeners heard it, or that this client may not publish."""
        self._probe_at = at + int(PROBE_SECONDS * 1e9)
        if isinstance(reply, int):
            self.is_heard = reply > 0
        else:
            self._is_refused = True


def outermost(prefixes: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The prefixes that no other one begins: Redis refuses overlapping ones."""
    kept: list[bytes] = []
    for prefix in sorted(set(prefixes)):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return tuple(kept)


def _ask(connection: Any, *parts: Any) -> Any:
    connection.send_command(*parts, check_health=False)
    return connection.read_response()
