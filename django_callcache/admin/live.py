"""What Redis says now. A page never fails for want of it: every answer may be missing, with a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from django_callcache.cache import CallCache
from django_callcache.exceptions import CallCacheError
from django_callcache.outbox.dirty import DirtyEntries

FAULTS = (RedisError, CallCacheError, OSError)
"""What a Redis that is down, refuses or was stopped in the middle raises."""

_CREDENTIALS = re.compile(r"//[^/\s@]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFacts:
    """One look at the server of a cache."""

    fault: str = ""
    """Why there is no answer; empty where there is one."""
    version: str = ""
    uptime_seconds: int = 0
    used_memory: int | None = None
    """Bytes."""
    max_memory: int = 0
    """Bytes; 0 where there is no limit."""
    keys: int | None = None
    """Keys in the Redis database, other applications' included."""
    eviction_policy: str = ""
    evicted_keys: int = 0
    is_append_only: bool = False
    """Whether Redis keeps a log of every write on disk."""
    backlog: int | None = None
    """Entries that wait for the remote store; None where nothing is synced."""
    oldest_at: float | None = None
    """Unix seconds since when the oldest of them has been due."""

    @property
    def is_reachable(self) -> bool:
        """Whether Redis answered."""
        return not self.fault


def look(cache: CallCache, *, synced: bool) -> LiveFacts:
    """Ask the server of a cache, in three round trips at most."""
    try:
        client = cache.redis_client()
        info: Mapping[str, Any] = client.info()
        database = client.connection_pool.connection_kwargs.get("db") or 0
        outbox = DirtyEntries(client, cache.redis_keys) if synced else None
        return LiveFacts(
            version=str(info.get("redis_version", "")),
            uptime_seconds=int(info.get("uptime_in_seconds", 0)),
            used_memory=info.get("used_memory"),
            max_memory=int(info.get("maxmemory", 0)),
            keys=info.get(f"db{database}", {}).get("keys", 0),
            eviction_policy=str(info.get("maxmemory_policy", "")),
            evicted_keys=int(info.get("evicted_keys", 0)),
            is_append_only=bool(info.get("aof_enabled")),
            backlog=outbox.depth() if outbox else None,
            oldest_at=outbox.oldest_at() if outbox else None,
        )
    except FAULTS as error:
        return LiveFacts(fault=masked(error))


def masked(error: BaseException) -> str:
    """Return an error's kind and text without credentials, cut to a line."""
    text = _CREDENTIALS.sub("//***@", str(error))
    return f"{type(error).__name__}: {text}"[:300]
