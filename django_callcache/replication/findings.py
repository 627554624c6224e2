"""What may be wrong with the sync of a cache, found by looking: for a command or a page that tells people.

Nothing is changed by looking, bar marks that nobody has left yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import redis

from django_callcache.cache.backend import CallCache
from django_callcache.conf import get_settings
from django_callcache.exceptions import SyncError
from django_callcache.models import SyncConflict, SyncRejection, SyncRun
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.replication.environments import ensure_own
from django_callcache.replication.remotes import namespace_of
from django_callcache.sync.leader import Heartbeat
from django_callcache.sync.remote import RemoteStore
from django_callcache.tables.following import needs_schema, sources_of

Level = Literal["ok", "warning", "error"]

SILENT_SECONDS = 60.0
"""A loop that has shown no sign of life for so long is taken for dead; it shows one a second."""

LATE_PASSES = 3
"""Intervals after which what waits is late."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    text: str
    cure: str = ""
    """What to do; empty where nothing is to be done."""


def findings(cache: CallCache, remote: RemoteStore | None) -> Iterator[Finding]:
    """Look at everything that the sync of a cache needs, worst causes first.

    Args:
        cache: Which.
        remote: Its remote store; None where there is none.
    """
    if remote is None:
        yield Finding("error", "remote store", "none is set", 'Set CALLCACHE["SYNC"]["REMOTE"].')
        return
    reachable = True
    for subject, ask in _questions(cache, remote):
        try:
            yield ask()
        except SyncError as error:
            reachable = False
            yield Finding("error", subject, str(error))
        if not reachable:
            break
    yield from _redis(cache)
    yield from _loop(cache)
    yield from _people(cache)


def _questions(cache: CallCache, remote: RemoteStore) -> Iterator[tuple[str, Callable[[], Finding]]]:
    """Yield what is asked of the remote store; each makes sense only if those before went well."""
    if not needs_schema(cache):
        return
    yield "schema", lambda: _schema(remote)
    yield "environment", lambda: _environment(cache, remote)
    yield "rights", lambda: _rights(cache, remote)
    yield "exposure", lambda: _exposure(remote)
    if any(each.source.changed_at is None for each in sources_of(cache)):
        yield "tables", lambda: _tables(cache, remote)


def _schema(remote: RemoteStore) -> Finding:
    began = time.monotonic()
    remote.check_schema()
    return Finding("ok", "schema", f"there, answered in {time.monotonic() - began:.3f} s")


def _environment(cache: CallCache, remote: RemoteStore) -> Finding:
    ensure_own(cache, remote)
    return Finding("ok", "environment", f"Redis and the namespace {namespace_of(cache)!r} are ours")


def _rights(cache: CallCache, remote: RemoteStore) -> Finding:
    namespace = namespace_of(cache)
    remote.pull(namespace, 0, 1, None)
    remote.push(namespace, DirtyEntries(cache.redis_client(), cache.redis_keys).origin(), [])
    return Finding("ok", "rights", "rows may be read and written")


def _exposure(remote: RemoteStore) -> Finding:
    exposed = remote.exposed()
    if not exposed:
        return Finding("ok", "exposure", "browsers reach none of the tables")
    return Finding("error", "exposure", exposed, "Run what `manage.py callcache_sql` prints again.")


def _tables(cache: CallCache, remote: Any) -> Finding:
    attached = remote.attached()
    needed = {
        (each.source.full_name, each.source.by)
        for each in sources_of(cache)
        if each.source.changed_at is None
    }
    silent = ", ".join(f"{table}.{column}" for table, column in sorted(needed - attached))
    if not silent:
        return Finding("ok", "tables", f"{len(needed)} tell of their changes")
    cure = "Run what `manage.py callcache_sql --attach` prints, or give the rule a changed_at."
    return Finding("error", "tables", f"{silent} tells of no changes", cure)


def _redis(cache: CallCache) -> Iterator[Finding]:
    try:
        facts: Any = cache.redis_client().info()
    except redis.RedisError as error:
        yield Finding("error", "Redis", f"does not answer ({type(error).__name__})")
        return
    policy = str(facts.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        yield Finding(
            "error", "eviction", f"maxmemory-policy is {policy}: Redis may evict what waits",
            "Use volatile-ttl, volatile-lru or noeviction.",
        )  # fmt: skip
    if not facts.get("aof_enabled"):
        is_required = get_settings().sync.require_durable
        yield Finding(
            "error" if is_required else "warning",
            "durability",
            "appendonly is off: "
            + ("synced writes are refused" if is_required else "a crash of Redis loses what waits"),
            "Set appendonly yes.",
        )


def _loop(cache: CallCache) -> Iterator[Finding]:
    interval = get_settings().sync.interval
    beat = Heartbeat.read(cache.redis_client(), cache.redis_keys)
    if beat is None or time.time() - beat.alive_at > SILENT_SECONDS:
        since = "ever" if beat is None else f"for {time.time() - beat.alive_at:.0f} s"
        yield Finding("error", "loop", f"no sign of life {since}", "Run `manage.py runcachesync`.")
    else:
        yield Finding("ok", "loop", f"alive on {beat.host}, process {beat.pid}")
    run = SyncRun.objects.latest_of(cache.alias)
    if run is not None and run.outcome != SyncRun.Outcome.OK:
        yield Finding("warning", "last pass", f"{run.outcome}: {run.error_class} {run.error}".rstrip(": "))
    outbox = DirtyEntries(cache.redis_client(), cache.redis_keys)
    oldest_at = outbox.oldest_at()
    waited = 0.0 if oldest_at is None else time.time() - oldest_at
    level: Level = "warning" if waited > LATE_PASSES * interval else "ok"
    yield Finding(level, "backlog", f"{outbox.depth()} entries, the oldest waits for {max(waited, 0):.0f} s")


def _people(cache: CallCache) -> Iterator[Finding]:
    for subject, count in (
        ("rejected entries", SyncRejection.objects.for_alias(cache.alias).count()),
        ("open conflicts", SyncConflict.objects.for_alias(cache.alias).open().count()),
    ):
        if count:
            yield Finding("warning", subject, f"{count} wait for a decision", "Decide them in the admin.")
