"""Looks at a cache without disturbing it: a sample in small steps, some pings, the slow log, one look at the
remote store. Nothing is written but this process's own counts."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError

from django_callcache.cache import CallCache
from django_callcache.conf import get_settings
from django_callcache.doctor.facts import Facts, PrefixFacts, SlowCommand
from django_callcache.exceptions import CallCacheError, RemoteRefused
from django_callcache.live import FAULTS, is_synced, look, masked
from django_callcache.models import SyncRun
from django_callcache.outbox.durability import read_info
from django_callcache.outbox.stat_buckets import StatBuckets
from django_callcache.replication.remotes import open_remote
from django_callcache.stats.series import Totals

SAMPLE_KEYS = 2000
"""Keys looked at, at most."""

SCAN_COUNT = 200

PINGS = 21

SLOW_LINES = 128
SLOW_SECONDS = 3600
"""How far back the slow log counts."""


def examine(cache: CallCache, *, remote: bool = True) -> Facts:
    """Gather the facts of a cache.

    Args:
        cache: Whose.
        remote: Whether to ask the remote store.
    """
    settings = get_settings()
    synced = is_synced(cache)
    with suppress(*FAULTS):  # the look will tell
        cache.flush_stats()
    live = look(cache, synced=synced)
    facts = Facts(
        alias=cache.alias,
        live=live,
        surprises=live.surprises(cache.options),
        is_synced=synced,
        requires_durable=settings.sync.require_durable,
        interval=settings.sync.interval,
        is_counting=cache.options.stats and settings.stats.enabled,
    )
    if synced and settings.sync.remote is not None:
        facts = replace(facts, last_failure=_last_failure(cache.alias))
        if remote:
            facts = _with_remote(facts)
    if not facts.live.is_reachable:
        return facts
    try:
        return _with_redis(cache, facts)
    except FAULTS as fault:
        return replace(facts, live=replace(facts.live, fault=masked(fault)))


def _with_redis(cache: CallCache, facts: Facts) -> Facts:
    round_trips = []
    for _ in range(PINGS):
        began = time.perf_counter()
        cache.ask_redis(("PING",))
        round_trips.append(time.perf_counter() - began)
    info_text, slow = cache.ask_redis(("INFO", "stats"), ("SLOWLOG", "GET", SLOW_LINES))
    info = read_info(info_text) if isinstance(info_text, bytes) else {}
    return replace(
        facts,
        round_trips=tuple(round_trips),
        expired_keys=int(info.get("expired_keys", 0)),
        slow_commands=_slow_commands(slow, facts.live.now),
        prefixes=_prefixes(cache, facts.live.now),
    )


def _slow_commands(reply: Any, now: float) -> tuple[SlowCommand, ...]:
    """Read the slow log; a server that keeps it from us has none."""
    if not isinstance(reply, list):
        return ()
    found = []
    for line in reply:
        _, at, microseconds, words = line[:4]
        if words and now - at <= SLOW_SECONDS:
            name = bytes(words[0]).decode(errors="replace").upper()
            found.append(SlowCommand(name=name, seconds=microseconds / 1e6))
    return tuple(found)


def _prefixes(cache: CallCache, now: float) -> dict[str, PrefixFacts]:
    """The prefixes of the busier of the last two hours, with what a sample of the keys shows of them."""
    buckets = StatBuckets(cache.redis_client(), cache.redis_keys)
    this_hour = int(now) // 3600
    minutes = buckets.minutes()
    hours = {
        hour: [minute for minute in minutes if minute // 60 == hour] for hour in (this_hour - 1, this_hour)
    }
    counted = {hour: buckets.read(some) for hour, some in hours.items()}
    hour = max(counted, key=lambda each: (sum(Totals.of(one).gets for one in counted[each].values()), each))
    counts = counted[hour]
    distinct = buckets.distinct_keys(hour, list(counts))
    found = {
        name: PrefixFacts(
            totals=Totals.of(amounts),
            distinct_keys=distinct.get(name, 0),
            seconds=max(len(hours[hour]), 1) * 60.0,
            policy_ttl=cache.explain_ttl(name).ttl_seconds,
        )
        for name, amounts in counts.items()
    }
    for name, sizes in _sample(cache).items():
        known = found.get(name) or PrefixFacts(policy_ttl=cache.explain_ttl(name).ttl_seconds)
        ends = [milliseconds for _, milliseconds in sizes]
        found[name] = replace(
            known,
            sampled=len(sizes),
            longest_ttl=None if min(ends) == -1 else max(ends) / 1000,
            total_bytes=sum(size for size, _ in sizes),
            largest_bytes=max(size for size, _ in sizes),
        )
    return found


def _sample(cache: CallCache) -> dict[str, list[tuple[int, int]]]:
    """Bytes and milliseconds left of some entries, by prefix."""
    found: dict[str, list[tuple[int, int]]] = {}
    cursor, seen = 0, 0
    while seen < SAMPLE_KEYS:
        ((position, names),) = cache.ask_redis(("SCAN", cursor, "MATCH", cache.glob, "COUNT", SCAN_COUNT))
        cursor = int(position)
        names = names[: SAMPLE_KEYS - seen]
        seen += len(names)
        if names:
            questions = [(word, name) for name in names for word in ("STRLEN", "PTTL")]
            replies = cache.ask_redis(*questions)
            for name, size, left in zip(names, replies[::2], replies[1::2], strict=True):
                # What is no string, or gone by now, is left out.
                if isinstance(size, int) and isinstance(left, int) and left != -2:
                    found.setdefault(cache.prefix_of(cache.caller_key(name)), []).append((size, left))
        if cursor == 0:
            break
    return found


def _last_failure(alias: str) -> str:
    try:
        run = SyncRun.objects.latest_of(alias)
    except DatabaseError:
        return ""
    failed = run is not None and run.outcome == SyncRun.Outcome.FAILED
    return run.error_class or "unknown" if run is not None and failed else ""


def _with_remote(facts: Facts) -> Facts:
    try:
        store = open_remote(get_settings().sync)
        if store is None:
            return facts
        try:
            store.check_schema()
        finally:
            store.close()
    except RemoteRefused as refusal:
        return replace(facts, remote_fault=masked(refusal), is_remote_refusing=True)
    except (CallCacheError, ImproperlyConfigured, DatabaseError, OSError) as error:
        return replace(facts, remote_fault=masked(error))
    return facts
