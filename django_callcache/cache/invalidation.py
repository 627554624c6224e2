"""Keeps near caches coherent: hears from Redis which keys have changed.

One listening connection a server and process, for all aliases that lie there. In broadcast mode Redis
announces every write, deletion and expiry under the prefixes that the near caches hold copies of,
whoever wrote; in per-key mode, of what was read (see `tracking`). A ping every half second confirms
that nothing is overdue: its answer comes behind every announcement of what was acknowledged before it
was sent. Where the confirmation stays away, the near caches stop to serve; where the connection ends,
they are emptied.

Where the server refuses tracking, writers announce what they write on a channel of each alias.
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
from contextlib import ExitStack
from itertools import chain
from typing import Any

from redis import exceptions as redis_errors

from django_callcache.cache.announcer import announced_keys
from django_callcache.cache.faults import refuses_command
from django_callcache.cache.tracking import redirections
from django_callcache.cache.watch import Hearer

logger = logging.getLogger(__name__)

CHANNEL = b"__redis__:invalidate"
"""Where Redis announces to listeners of RESP2 (Redis documentation, "Client-side caching")."""

PING_NS = 500_000_000
RECONNECT_SECONDS = (0.1, 1.0)
"""The pause before the next try is drawn from this range, so that processes do not come as one."""

HANG_UPS = 3
"""A server that ends the connection so often in reply to SUBSCRIBE does not have it; fakeredis's is one."""

BURST_NS = 1_000_000
"""Announcements that follow one another faster are taken together: waking up for each would cost writers
in this process as much again as their writes."""

DRAUGHT = 10_000
"""Announcements taken at once before a look at the clock."""


class InvalidationLink:
    """The listener of one server in this process; its thread starts with the first read that may use it.

    Args:
        make: Makes an unconnected redis-py connection that waits as many seconds as it is told.
        server: How the server is called in messages.
    """

    def __init__(self, make: Callable[[float], Any], server: str) -> None:
        self._make = make
        self._server = server
        self._connections: tuple[Any, ...] = ()
        self._watches: tuple[Hearer, ...] = ()
        self.forget()

    def forget(self) -> None:
        """Start anew in a forked child: the thread is the parent's, and so are the sockets."""
        for connection in self._connections:
            connection.disconnect()  # closes the child's descriptor, not the parent's connection
        self._connections = ()
        self._watches = ()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._is_suspect = False
        self._is_outgrown = False
        """Whether others want to hear than did when the connection was made."""
        self._hang_ups = 0

    def start(self, watch: Hearer) -> None:
        """Listen for this alias too, unless it was done."""
        if watch in self._watches:
            return
        with self._lock:
            if watch in self._watches:
                return
            self._is_outgrown = True
            self._watches = (*self._watches, watch)
            if self._thread is None and not self._started():
                self._watches = ()
                return
            watch.begin()

    def stop(self, watch: Hearer) -> None:
        """Listen no more for this alias; its near cache serves nothing until somebody reads again."""
        with self._lock:
            self._watches = tuple(each for each in self._watches if each is not watch)
            self._is_outgrown = True
            if not self._watches:
                self._stopped.set()
                self._stopped = threading.Event()
                self._thread = None
        watch.end()

    def suspect(self) -> None:
        """Begin anew: a connection that copies were read through was lost, perhaps with the server.

        The copies go when the listener begins anew, for this may be called where no lock can be
        taken. None is served, and none filled in, before.
        """
        if any(watch.is_confirmed for watch in self._watches):
            self._is_suspect = True
            for watch in self._watches:
                watch.distrust()

    def _started(self) -> bool:
        thread = threading.Thread(target=self._run, args=(self._stopped,), name="callcache-link", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or is out of threads
            return False
        self._thread = thread
        return True

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            self._is_suspect = self._is_outgrown = False
            watches = self._watches
            try:
                with ExitStack() as opened:
                    opened.callback(_deafen, watches, stopped)
                    if not self._hear(watches, opened, stopped) and self._gives_up():
                        return
            except (redis_errors.RedisError, OSError) as error:
                logger.debug("redis=%s link=lost error=%s", self._server, type(error).__name__)
            except Exception:
                logger.exception("redis=%s link=failed", self._server)
            if not self._is_outgrown:
                stopped.wait(random.uniform(*RECONNECT_SECONDS))  # noqa: S311

    def _gives_up(self) -> bool:
        """End for good where the server refuses, unless somebody has come who was not refused yet."""
        with self._lock:
            if not self._is_outgrown:
                self._thread = None
            return not self._is_outgrown

    def _hear(self, watches: tuple[Hearer, ...], opened: ExitStack, stopped: threading.Event) -> bool:
        """Listen until something ends it; return False at once where the server allows it in no way."""
        self._connections = ()
        patience = min((watch.max_staleness for watch in watches), default=1.0)
        listener = self._open(opened, patience)
        listener_id = _ask(listener, "CLIENT", "ID")
        per_key = [watch for watch in watches if watch.tracking is not None]
        broadcast = [watch for watch in watches if watch.tracking is None]
        tracked = broadcast if broadcast and _is_told(listener, listener_id, broadcast) else []
        inspector = None
        if per_key:
            inspector = self._open(opened, patience)
            if _may_remember(inspector, listener_id):
                tracked = [*tracked, *per_key]
        if tracked:
            _ask(listener, "SUBSCRIBE", CHANNEL)
        by_channel = self._announced_to(listener, [watch for watch in watches if watch not in tracked])
        for watch in tracked:
            watch.tracked(listener_id)
        heard = [*tracked, *chain.from_iterable(by_channel.values())]
        if not heard:
            return False
        for watch in heard:
            watch.silence()  # reads that began while nobody listened may fill nothing
        self._listen(listener, inspector, tracked, by_channel, int(patience * 1e9), stopped)
        return True

    def _open(self, opened: ExitStack, patience: float) -> Any:
        connection = self._make(patience)
        opened.callback(connection.disconnect)
        self._connections = (*self._connections, connection)
        connection.connect()
        return connection

    def _announced_to(self, connection: Any, watches: Iterable[Hearer]) -> dict[bytes, list[Hearer]]:
        """Let writers announce, where the server does not: who hears on which channel."""
        by_channel: dict[bytes, list[Hearer]] = {}
        for watch in watches:
            channel = watch.announcer.channel
            if self._may_subscribe(connection, channel):
                self._say_once(
                    watch,
                    "redis=%s near=announced: the server does not let this client track keys (CLIENT "
                    "TRACKING); writers announce their writes, and copies live %s s at most",
                    watch.max_staleness,
                )
                watch.announced()
                by_channel.setdefault(channel, []).append(watch)
            else:
                self._say_once(
                    watch,
                    "redis=%s near=off: the server lets this client neither track keys (CLIENT TRACKING) "
                    "nor subscribe to %s; reads go to Redis",
                    channel.decode(),
                )
                watch.refused()
        return by_channel

    def _may_subscribe(self, connection: Any, channel: bytes) -> bool:
        try:
            _ask(connection, "SUBSCRIBE", channel)
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

    def _say_once(self, watch: Hearer, text: str, value: object) -> None:
        if not watch.has_said:
            watch.has_said = True
            logger.warning(text, self._server, value)

    def _listen(
        self,
        connection: Any,
        inspector: Any,
        tracked: list[Hearer],
        by_channel: dict[bytes, list[Hearer]],
        patience_ns: int,
        stopped: threading.Event,
    ) -> None:
        watches = (*tracked, *chain.from_iterable(by_channel.values()))
        asked_at: int | None = None
        next_ping = woken_at = 0
        while not (stopped.is_set() or self._is_suspect or self._is_outgrown):
            at = time.monotonic_ns()
            if asked_at is None and at >= next_ping:
                asked_at = at
                next_ping = at + PING_NS
                connection.send_command("PING", check_health=False)
                if inspector is not None:
                    _inspect(inspector, tracked)
            elif asked_at is not None and at - asked_at > patience_ns:
                raise redis_errors.TimeoutError("the link is silent")
            if not connection.can_read(max(next_ping - at, PING_NS // 2) * 1e-9):
                continue
            if time.monotonic_ns() - woken_at < BURST_NS:
                time.sleep(BURST_NS * 1e-9)
            woken_at = time.monotonic_ns()
            for _ in range(DRAUGHT):
                message = connection.read_response()
                if message[0] == b"message":
                    _heard(message[1], message[2], tracked, by_channel)
                elif (
                    message[0] == b"pong"
                    and asked_at is not None
                    and not (self._is_suspect or stopped.is_set())
                ):
                    for watch in watches:
                        watch.confirm(asked_at)
                    asked_at = None
                if not connection.can_read(0):
                    break


def _is_told(listener: Any, listener_id: int, watches: Iterable[Hearer]) -> bool:
    """Let Redis announce all that changes under their prefixes; tell whether it may."""
    prefixes = outermost(prefix for watch in watches for prefix in watch.prefixes)
    words = [word for prefix in prefixes for word in (b"PREFIX", prefix)]
    return _is_granted(listener, ("CLIENT", "TRACKING", "ON", "REDIRECT", listener_id, "BCAST", *words))


def _may_remember(inspector: Any, listener_id: int) -> bool:
    """Tell whether Redis may be told to remember reads, by all that this takes."""
    return all(
        _is_granted(inspector, words)
        for words in (
            ("CLIENT", "TRACKING", "ON", "REDIRECT", listener_id, "OPTIN"),
            ("CLIENT", "CACHING", "YES"),
            ("CLIENT", "LIST", "ID", listener_id),
        )
    )


def _is_granted(connection: Any, words: Iterable[Any]) -> bool:
    try:
        _ask(connection, *words)
    except redis_errors.ResponseError as refusal:
        if not refuses_command(refusal):
            raise
        return False
    return True


def _inspect(inspector: Any, watches: Iterable[Hearer]) -> None:
    """See whether the connections are still there whose reads Redis remembers."""
    asked = [(each.tracking, each.tracking.client_ids()) for each in watches if each.tracking is not None]
    client_ids = [client_id for _, each in asked for client_id in each]
    if client_ids:
        redirected = redirections(_ask(inspector, "CLIENT", "LIST", "ID", *client_ids))
        for tracking, each in asked:
            tracking.check(each, redirected)


def _deafen(watches: Iterable[Hearer], stopped: threading.Event) -> None:
    if not stopped.is_set():  # otherwise it is done already, and another listener may be there by now
        for watch in watches:
            watch.deafen()


def _heard(
    channel: bytes, said: Any, tracked: Iterable[Hearer], by_channel: dict[bytes, list[Hearer]]
) -> None:
    """Drop what has changed: a list of keys, or None for a flushed database; ours come packed."""
    if channel != CHANNEL:
        keys = announced_keys(said)
        for watch in by_channel[channel]:
            watch.puzzled() if keys is None else watch.changed(keys)
    elif said is None or isinstance(said, list):  # whatever else arrives there was published by somebody
        for watch in tracked:
            watch.changed(said or ())


def outermost(prefixes: Iterable[bytes]) -> tuple[bytes, ...]:
    """The prefixes that no other one begins: Redis refuses overlapping ones."""
    kept: list[bytes] = []
    for prefix in sorted(set(prefixes)):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return tuple(kept)


def _ask(connection: Any, *words: Any) -> Any:
    connection.send_command(*words, check_health=False)
    return connection.read_response()
