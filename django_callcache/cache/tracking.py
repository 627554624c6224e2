"""Per-key tracking: Redis remembers what this process has read, and tells the link when it changes.

A connection that is to be remembered says so once (``CLIENT TRACKING`` redirected to the listening
connection), and again before each read whose value is kept (``CLIENT CACHING``): what is read and not
kept costs the server nothing. Redis forgets everything about a connection that ends, without a word
to the listener. So a copy is trusted only on these terms:

* The connection it was read through was redirected to the listener of this moment, when the read was
  sent and when the copy was filled in. A new listener is a new epoch.
* When a connection that was redirected ends, all copies go.
* With each heartbeat the server is asked whether those connections are still there, and redirected:
  what ends on its side alone is seen in no other way.
* What is written is not read: Redis remembers nobody for it, and a write leaves no copy behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from redis import exceptions as redis_errors

from django_callcache.cache import commands

CACHING = commands.command("CLIENT", "CACHING", "YES")

_LISTED = re.compile(rb"^id=(\d+) .* redir=(-?\d+)", re.MULTILINE)
"""A line of CLIENT LIST: who it is, and who hears for it."""


class Prelude(NamedTuple):
    """What is sent before a read whose value will be kept."""

    epoch: Epoch | None
    commands: tuple[bytes, ...]


class Epoch:
    """The time from when a listener begins to hear until it ends.

    Args:
        listener_id: What the server calls the listening connection.
    """

    __slots__ = ("again", "first", "listener_id", "tracked")

    def __init__(self, listener_id: int) -> None:
        self.listener_id = listener_id
        redirect = commands.command("CLIENT", "TRACKING", "ON", "REDIRECT", listener_id, "OPTIN")
        self.first = Prelude(self, (commands.command("CLIENT", "ID"), redirect, CACHING))
        """Of a connection that is not redirected yet."""
        self.again = Prelude(self, (CACHING,))
        self.tracked: set[int] = set()
        """What the server calls the connections that are redirected."""


NO_PRELUDE = Prelude(None, ())


class Trackable(Protocol):
    """A connection, or whatever lives as long as one."""

    tracked: Tracked | None
    """Set while its reads may be remembered; it calls `Tracked.lost` when it ends."""


class KeyTracking:
    """The connections of one alias whose reads Redis remembers.

    Args:
        when_lost: Called when one of them has ended. It may be called by the garbage collector, so it
            must take no lock.
    """

    def __init__(self, when_lost: Callable[[], None]) -> None:
        self._when_lost = when_lost
        self.epoch: Epoch | None = None
        """None while nobody listens, or while writers announce what they write."""
        self.is_announced = False
        """Whether writers announce what they write: then nothing need be remembered."""

    def begin(self, listener_id: int) -> None:
        """Begin an epoch. Copies of the one before must be gone before one is confirmed."""
        self.is_announced = False
        self.epoch = Epoch(listener_id)

    def end(self, *, is_announced: bool = False) -> None:
        """Nobody hears from now on, or not in this way."""
        self.epoch = None
        self.is_announced = is_announced

    def prelude(self, connection: Trackable) -> Prelude:
        """What to send before a read over this connection."""
        epoch = self.epoch
        if epoch is None:
            return NO_PRELUDE
        tracked = connection.tracked
        return epoch.again if tracked is not None and tracked.epoch is epoch else epoch.first

    def is_heard(self, connection: Trackable, prelude: Prelude, replies: Sequence[Any]) -> bool:
        """Tell from the replies to a prelude whether changes of what was read behind it will be heard of."""
        epoch = prelude.epoch
        if epoch is None:
            return self.is_announced
        if epoch is not self.epoch or any(isinstance(each, redis_errors.ResponseError) for each in replies):
            return False
        if prelude is epoch.first:
            client_id = replies[0]
            epoch.tracked.add(client_id)
            connection.tracked = Tracked(self, epoch)
        return True

    def lost(self, epoch: Epoch) -> None:
        """Take note that a connection has ended that was redirected in an epoch."""
        if epoch is self.epoch:
            self._when_lost()

    def client_ids(self) -> list[int]:
        """What the server calls the connections that are redirected at this moment."""
        return [] if self.epoch is None else list(self.epoch.tracked)

    def check(self, client_ids: Iterable[int], redirected: Mapping[int, int]) -> None:
        """Compare some of them with what the server says of where they are redirected to."""
        epoch = self.epoch
        if epoch is not None and any(redirected.get(each) != epoch.listener_id for each in client_ids):
            self._when_lost()


class Tracked:
    """That the reads of one connection are remembered."""

    __slots__ = ("_tracking", "epoch")

    def __init__(self, tracking: KeyTracking, epoch: Epoch) -> None:
        self._tracking = tracking
        self.epoch = epoch

    def lost(self) -> None:
        """The connection has ended."""
        self._tracking.lost(self.epoch)


def redirections(client_list: bytes) -> dict[int, int]:
    """Whom each client of a CLIENT LIST is redirected to: -1 where it is not tracked."""
    return {int(client): int(listener) for client, listener in _LISTED.findall(client_list)}
