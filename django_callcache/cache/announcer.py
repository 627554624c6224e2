"""Announces what this process writes, where the server itself does not tell listeners."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from django_callcache.cache import commands

PROBE_SECONDS = 2.0
"""A writer that nobody listens to publishes again after this, to see whether somebody does now."""

_unpack = msgspec.msgpack.Decoder(list[bytes]).decode


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
        message = self.message(redis_keys)
        return None if message is None else commands.command("PUBLISH", self.channel, message)

    def message(self, redis_keys: Iterable[bytes]) -> bytes | None:
        """What to publish of a write; None where nobody can hold a copy of these keys."""
        near = [key for key in redis_keys if key.startswith(self._prefixes)]
        return None if redis_keys and not near else msgspec.msgpack.encode(near)

    def announced(self, reply: Any, at: int) -> None:
        """Take note of how many listeners heard it, or that this client may not publish."""
        self._probe_at = at + int(PROBE_SECONDS * 1e9)
        if isinstance(reply, int):
            self.is_heard = reply > 0
        else:
            self._is_refused = True


def announced_keys(message: object) -> list[bytes] | None:
    """The keys that a message says were written; none stand for every key. None: it cannot be read."""
    try:
        return _unpack(message)  # type: ignore[arg-type]
    except (msgspec.DecodeError, TypeError):
        return None
