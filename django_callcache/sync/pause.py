"""A pause of sync, kept in the Redis of its outbox: the loop obeys it until somebody ends it.

Writes go on and wait in the outbox; statistics, clearing and pruning go on too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import redis

from django_callcache.redis_keys import RedisKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Who paused the sync of a cache, when and why."""

    by: str
    since: float
    """Unix seconds."""
    reason: str = ""

    @classmethod
    def read(cls, client: redis.Redis, keys: RedisKeys) -> Self | None:
        """Return the pause that holds, None where none does."""
        found: Any = client.hgetall(keys.pause())
        return cls.of(found)

    @classmethod
    def of(cls, found: Mapping[bytes, bytes]) -> Self | None:
        """Return the pause that a hash in Redis holds, None where it holds none."""
        if not found:
            return None
        values = {name.decode(): value.decode(errors="replace") for name, value in found.items()}
        try:
            since = float(values.get("since", ""))
        except ValueError:
            since = 0.0
        return cls(by=values.get("by", ""), since=since, reason=values.get("reason", ""))


def pause(client: redis.Redis, keys: RedisKeys, *, by: str, reason: str = "") -> bool:
    """Pause the sync of a cache; return whether it was not paused before, by whomever."""
    told: Any = {"since": str(time.time()), "by": by, "reason": reason}
    if not client.hsetnx(keys.pause(), "since", told["since"]):
        return False
    client.hset(keys.pause(), mapping=told)
    return True


def resume(client: redis.Redis, keys: RedisKeys) -> bool:
    """End the pause; return whether there was one."""
    return bool(client.unlink(keys.pause()))
