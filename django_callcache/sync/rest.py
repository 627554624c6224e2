"""The rest that a remote store has asked for (``Retry-After``), kept in the Redis of the outbox.

Whoever works on that outbox obeys, in whichever process: nobody asks the remote store before it is over.
"""

from __future__ import annotations

from typing import Any

import redis

from django_callcache.exceptions import RemoteUnavailable
from django_callcache.redis_keys import RedisKeys

LIMITED = b"limited"
"""Why it rests, where it wants fewer requests."""


def ensure_rested(client: redis.Redis, keys: RedisKeys) -> None:
    """See that the remote store may be asked now.

    Raises:
        RemoteUnavailable: It has asked for a rest, which is not over.
    """
    left: Any = client.pttl(keys.rest())
    if left > 0:
        raise still_resting(left / 1000, is_limited=client.get(keys.rest()) == LIMITED)


def rest(client: redis.Redis, keys: RedisKeys, error: Exception | None) -> None:
    """Let the remote store rest where an error says that it asked for it."""
    if isinstance(error, RemoteUnavailable) and error.retry_after:
        # One that is under way is no new wish, but what somebody was told who came too early.
        reason = LIMITED if error.is_limited else b"busy"
        client.set(keys.rest(), reason, px=max(1, round(error.retry_after * 1000)), nx=True)


def still_resting(seconds: float, *, is_limited: bool) -> RemoteUnavailable:
    """Return what to raise for who comes too early.

    Args:
        seconds: How long the rest still lasts.
        is_limited: Whether the remote store wants fewer requests, rather than being busy or down.
    """
    return RemoteUnavailable(
        f"The remote store has asked for a rest; {seconds:.1f} s of it are left",
        retry_after=seconds,
        is_limited=is_limited,
    )
