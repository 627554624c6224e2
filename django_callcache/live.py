"""What Redis says now of a cache and of all its processes, mostly in one round trip with a deadline.

Nobody fails for want of it: every answer may be missing, with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import NoPermissionError, RedisError

from django_callcache.cache import CallCache
from django_callcache.cache.shared_overrides import read_overrides
from django_callcache.conf import CacheOptions, SyncSettings
from django_callcache.exceptions import CallCacheError
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.outbox.durability import read_info
from django_callcache.outbox.processes import ProcessReport, flat_pairs, read_reports
from django_callcache.sync.leader import SILENT_SECONDS, Heartbeat, last_sign, loops_of
from django_callcache.sync.pause import Pause
from django_callcache.sync.standing import Standing
from django_callcache.ttl import Overrides, Staleness

FAULTS = (RedisError, CallCacheError, OSError)
"""What a Redis that is down, refuses or was stopped in the middle raises."""

_CREDENTIALS = re.compile(r"//[^/\s@]*@")
_QUERY = re.compile(r"(?<=[\w/:])\?[\w.]+=[^\s'\",]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFacts:
    """One look at the server of a cache."""

    fault: str = ""
    """Why there is no answer; empty where there is one."""
    now: float = 0.0
    """Unix seconds by the server's clock."""
    product: str = "Redis"
    """"Redis" or "Valkey"."""
    version: str = ""
    """Of that product; Valkey says of itself, for old clients, that it is Redis 7.2.4 too."""
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
    backlog_bytes: int = 0
    """Bytes of their payloads."""
    oldest_at: float | None = None
    """Unix seconds since when the oldest of them has been due."""
    totals: Mapping[str, int] = field(default_factory=dict)
    """What all processes have counted since the first of them, by name, and moments of the loop."""
    last_minute: int | None = None
    """The last minute that has counts, from the epoch."""
    processes: tuple[ProcessReport, ...] = ()
    """What the processes that live say of themselves."""
    heartbeat: Heartbeat | None = None
    """Last sign of life of the loop."""
    loops: tuple[Heartbeat, ...] = ()
    """The loops that live, the oldest first."""
    standing: Standing | None = None
    """How the remote store answered last, as the loop found it."""
    staleness: Mapping[str, Staleness] = field(default_factory=dict)
    """What comparisons of hits with their origin have found, by prefix."""
    held: Pause | None = None
    """Who paused the sync, if it is paused."""
    overrides: Overrides = field(default_factory=Overrides)
    """What people have decided about TTLs, that holds now."""

    @property
    def is_reachable(self) -> bool:
        """Whether Redis answered."""
        return not self.fault

    @property
    def knows_server(self) -> bool:
        """Whether Redis said anything of itself: it answered, and lets this user ask."""
        return bool(self.version)

    @property
    def is_paused(self) -> bool:
        """Whether this Redis has lost what it held, so that nothing is pushed from it."""
        return self.backlog is not None and bool(self.totals.get("emptied"))

    @property
    def may_lose_writes(self) -> bool:
        """Whether what waits for the remote store would be lost with memory or power, where something is."""
        if self.backlog is None or not self.knows_server:
            return False
        evicts = bool(self.max_memory) and self.eviction_policy.startswith("allkeys")
        return evicts or not self.is_append_only

    def surprises(self, options: CacheOptions) -> dict[str, tuple[int | str, int | str]]:
        """Return where the server is set otherwise than expected: what was expected, and what is there."""
        pairs: dict[str, tuple[int | str | None, int | str]] = {
            "maxmemory": (options.expect_maxmemory, self.max_memory),
            "maxmemory-policy": (options.expect_eviction_policy, self.eviction_policy),
        }
        if not self.knows_server:
            return {}
        return {
            name: (expected, found)
            for name, (expected, found) in pairs.items()
            if expected is not None and expected != found
        }

    def backlog_share(self, sync: SyncSettings) -> float:
        """Return which part of the outbox's bounds is taken, in keys or bytes, whichever is more."""
        return max((self.backlog or 0) / sync.max_keys, self.backlog_bytes / sync.max_bytes)


def look(cache: CallCache, *, synced: bool | None = None) -> LiveFacts:
    """Ask the server of a cache.

    Args:
        cache: Whose.
        synced: Whether to look at its outbox; left out, as its rules say.
    """
    try:
        return _look(cache, is_synced(cache) if synced is None else synced)
    except FAULTS as error:
        return LiveFacts(fault=masked(error))


def is_synced(cache: CallCache) -> bool:
    """Tell whether entries of a cache are meant for a remote store."""
    return any(rule.sync for rule in cache.options.rules)


def masked(error: BaseException) -> str:
    """Return an error's kind and text without credentials, cut to a line."""
    return f"{type(error).__name__}: {without_credentials(str(error))}"[:300]


def without_credentials(text: str) -> str:
    """Return a text without the credentials of the addresses in it."""
    return _QUERY.sub("?***", _CREDENTIALS.sub("//***@", text))


def product_of(info: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a server is, "Redis" or "Valkey", and its version; empty where it tells none.

    Args:
        info: What INFO tells.
    """
    if "valkey_version" in info:
        return "Valkey", str(info["valkey_version"])
    return "Redis", str(info.get("redis_version", ""))


def _look(cache: CallCache, synced: bool) -> LiveFacts:
    names = cache.redis_keys
    replies = cache.ask_redis(
        ("TIME",),
        ("INFO",),
        ("HGETALL", names.stat_totals()),
        ("ZRANGE", names.stat_minutes(), -1, -1),
        ("HGETALL", names.processes()),
        ("HGETALL", names.heartbeat()),
        ("HGETALL", names.pause()),
        ("HGETALL", names.standing()),
        ("HGETALL", names.overrides()),
    )
    time, info_text, totals, minutes, processes, heartbeat, pause, standing, overrides = replies
    if isinstance(info_text, NoPermissionError):
        info_text = b""  # the user of the cache may do without
    for reply in (time, info_text, totals, minutes, processes, heartbeat, pause, standing, overrides):
        if isinstance(reply, RedisError):
            raise reply
    outbox = DirtyEntries(cache.redis_client(), names) if synced else None
    info = read_info(info_text)
    product, version = product_of(info)
    now = int(time[0]) + int(time[1]) / 1e6
    loops = loops_of(flat_pairs(heartbeat))
    return LiveFacts(
        now=now,
        product=product,
        version=version,
        uptime_seconds=int(info.get("uptime_in_seconds", 0)),
        used_memory=int(info["used_memory"]) if "used_memory" in info else None,
        max_memory=int(info.get("maxmemory", 0)),
        keys=_keys_of(info, cache),
        eviction_policy=info.get("maxmemory_policy", ""),
        evicted_keys=int(info.get("evicted_keys", 0)),
        is_append_only=info.get("aof_enabled") == "1",
        backlog=outbox.depth() if outbox else None,
        backlog_bytes=outbox.payload_bytes() if outbox else 0,
        oldest_at=outbox.oldest_at() if outbox else None,
        totals={name.decode(): int(count) for name, count in flat_pairs(totals).items()},
        last_minute=int(minutes[0]) if minutes else None,
        processes=read_reports(flat_pairs(processes), now),
        heartbeat=last_sign(loops),
        loops=tuple(loop for loop in loops if not loop.is_ended and now - loop.alive_at <= SILENT_SECONDS),
        standing=Standing.of(flat_pairs(standing)),
        staleness=cache.measured_staleness(),
        held=Pause.of(flat_pairs(pause)),
        overrides=read_overrides(flat_pairs(overrides)).at(now),
    )


def _keys_of(info: Mapping[str, str], cache: CallCache) -> int:
    database = cache.redis_client().get_connection_kwargs().get("db") or 0
    found = re.match(r"keys=(\d+)", info.get(f"db{database}", ""))
    return int(found[1]) if found else 0
