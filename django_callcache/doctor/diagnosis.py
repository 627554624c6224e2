"""From facts to findings: the likeliest cause first. No server, no clock."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from django_callcache.doctor.facts import Facts, PrefixFacts

Level = Literal["error", "warning"]

MIN_READS = 200
"""Reads, or writes, of a prefix below which nothing is said of it."""

MANY_MISSES = 0.3
"""Part of the reads that must miss for the misses to be worth a word."""

READ_AGAIN, READ_ONCE = 2.0, 1.5
"""Reads a key from which on, and up to which, keys are read again or are not."""

LARGE_BYTES, HUGE_BYTES = 100_000, 500_000
"""Bytes of a value: on average, and of a single one."""

FAR_SECONDS = 0.003
"""A round trip that is never faster is one over a slow network."""

SLOW_COMMAND_SECONDS, VERY_SLOW_SECONDS = 0.01, 0.1
SLOW_TIMES = 3
"""So many slow commands are more than a hiccup; a very slow one is so alone."""

MEMORY_FULL = 0.9
LOOP_LATE_SECONDS = 120.0
BACKLOG_LATE_SECONDS = 900.0
ERRORS = 0.01
"""Part of the calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    name: str
    level: Level
    cause: str
    cure: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All of it by name."""
        return asdict(self)


def diagnose(facts: Facts) -> list[Finding]:
    """Return what is wrong, what explains the rest first; nothing where nothing is."""
    if not facts.live.is_reachable:
        return [*_unreachable(facts), *_remote(facts)]
    return [finding for judge in _JUDGES for finding in judge(facts)]


def _unreachable(facts: Facts) -> Iterator[Finding]:
    is_ours = "RedisMisconfigured" in facts.live.fault
    yield Finding(
        name="redis-unreachable",
        level="error",
        evidence={"fault": facts.live.fault},
        cause="Redis refuses this client." if is_ours else "Redis does not answer.",
        cure="Check password, user, ACL and TLS."
        if is_ours
        else "Start Redis; check LOCATION and the network.",
    )


def _emptied(facts: Facts) -> Iterator[Finding]:
    if facts.live.is_paused:
        yield Finding(
            name="redis-emptied",
            level="error",
            evidence={"waiting": facts.live.backlog},
            cause="Redis has lost what it held; nothing is pushed, lest the remote store loses it too.",
            cure="See why; then `manage.py runcachesync --once --after-loss restore`, or `go-on`.",
        )


def _remote(facts: Facts) -> Iterator[Finding]:
    if facts.is_remote_refusing or facts.last_failure == "RemoteRefused":
        yield Finding(
            name="remote-refuses",
            level="error",
            evidence={"fault": facts.remote_fault, "last_pass": facts.last_failure},
            cause="The remote store refuses the key, its permissions or the schema.",
            cure="Give runcachesync the right SUPABASE_KEY; run what `manage.py callcache_sql` prints.",
        )
    elif facts.remote_fault or facts.last_failure not in ("", "RedisEmptied"):
        yield Finding(
            name="sync-fails",
            level="error",
            evidence={"fault": facts.remote_fault, "last_pass": facts.last_failure},
            cause="The remote store cannot be reached, or a pass ended with an error.",
            cure="Check SUPABASE_URL and the network; the log of runcachesync has the whole error.",
        )


def _eviction(facts: Facts) -> Iterator[Finding]:
    live = facts.live
    if not live.max_memory:
        return
    share = (live.used_memory or 0) / live.max_memory
    evidence = {
        "policy": live.eviction_policy,
        "memory_share": round(share, 3),
        "evicted_keys": live.evicted_keys,
        "waiting": live.backlog,
    }
    if facts.is_synced and live.eviction_policy.startswith("allkeys"):
        yield Finding(
            name="evicts-unsynced",
            level="error",
            evidence=evidence,
            cause="Redis has a memory limit and may evict any key, also what waits for the remote store.",
            cure="Set maxmemory-policy volatile-lru or noeviction, and raise maxmemory.",
        )
    elif share >= MEMORY_FULL:
        yield Finding(
            name="memory-full",
            level="warning",
            evidence=evidence,
            cause="Redis is close to its memory limit.",
            cure="Raise maxmemory, shorten TTLs, or compress: `manage.py callcache_train`.",
        )


def _surprises(facts: Facts) -> Iterator[Finding]:
    if facts.surprises:
        yield Finding(
            name="memory-unexpected",
            level="warning",
            evidence={
                name: f"{found} instead of {expected}" for name, (expected, found) in facts.surprises.items()
            },
            cause="Redis's memory limit or eviction policy is not what the settings expect.",
            cure="Set it in redis.conf; or correct EXPECT_MAXMEMORY, EXPECT_EVICTION_POLICY.",
        )


def _slow_commands(facts: Facts) -> Iterator[Finding]:
    slow = [each for each in facts.slow_commands if each.seconds >= SLOW_COMMAND_SECONDS]
    longest: dict[str, float] = defaultdict(float)
    for each in slow:
        longest[each.name] = max(longest[each.name], each.seconds)
    if len(slow) < SLOW_TIMES and max(longest.values(), default=0.0) < VERY_SLOW_SECONDS:
        return
    yield Finding(
        name="slow-command",
        level="warning",
        evidence={
            "times": len(slow),
            "seconds": dict(sorted(longest.items(), key=lambda item: -item[1])[:5]),
        },
        cause="Commands that take long hold up everybody on this Redis.",
        cure="See `redis-cli SLOWLOG GET`: SCAN instead of KEYS, short scripts, smaller values.",
    )


def _network(facts: Facts) -> Iterator[Finding]:
    if not facts.round_trips or min(facts.round_trips) < FAR_SECONDS:
        return
    yield Finding(
        name="slow-network",
        level="warning",
        evidence={
            "fastest_ms": round(min(facts.round_trips) * 1000, 2),
            "median_ms": round(statistics.median(facts.round_trips) * 1000, 2),
        },
        cause="Every round trip to Redis takes long, also the fastest: it is the way there.",
        cure="Put Redis nearer; get_many instead of many gets; rules, so that copies are kept near.",
    )


def _large(facts: Facts) -> Iterator[Finding]:
    for name, each in _by_bytes(facts):
        average = each.total_bytes / each.sampled
        if average < LARGE_BYTES and each.largest_bytes < HUGE_BYTES:
            continue
        yield Finding(
            name="large-values",
            level="warning",
            evidence={
                "prefix": name,
                "sampled": each.sampled,
                "average_bytes": round(average),
                "largest_bytes": each.largest_bytes,
            },
            cause="Values are so large that sending and decoding them takes most of a call.",
            cure="Store less in a value, or split it; COMPRESS, or `manage.py callcache_train`.",
        )


def _misses(facts: Facts) -> Iterator[Finding]:
    """Why reads miss: deleted too broadly, gone too soon, or never asked for again."""
    ranked = sorted(facts.prefixes.items(), key=lambda item: -item[1].totals.misses)
    for name, each in ranked:
        totals = each.totals
        evidence = {
            "prefix": name,
            "reads": totals.gets,
            "misses": totals.misses,
            "sets": totals.sets,
            "deletes": totals.deletes,
            "reads_a_key": round(each.reads_a_key, 1),
        }
        if totals.sets >= MIN_READS and totals.found < 0.1 * totals.sets and _reads_once(each):
            yield Finding(
                name="never-read-again",
                level="warning",
                evidence=evidence,
                cause="Entries are written that nobody reads a second time.",
                cure="Do not cache these, or only what is asked for twice; give them a short TTL.",
            )
        elif (
            totals.gets >= MIN_READS
            and totals.misses >= MANY_MISSES * totals.gets
            and each.reads_a_key >= READ_AGAIN
        ):
            yield _gone(facts, each, evidence)


def _gone(facts: Facts, each: PrefixFacts, evidence: dict[str, Any]) -> Finding:
    """Keys are read again and again, and often are not there any more."""
    life = each.longest_ttl if each.sampled else each.policy_ttl
    pause = each.pause_between_reads
    ends_soon = life is not None and life < 2 * pause
    expires = facts.expired_keys >= 0.5 * facts.live.totals.get("misses", 0)
    evidence |= {
        "ttl_seconds": None if life is None else round(life, 1),
        "seconds_between_reads": round(pause, 1),
        "expired_keys": facts.expired_keys,
    }
    if each.totals.deletes < MANY_MISSES * each.totals.misses and (ends_soon or expires):
        return Finding(
            name="ttl-too-short",
            level="warning",
            evidence=evidence,
            cause="Entries end before they are read again.",
            cure='Give the prefix a longer "ttl" in RULES, or the calls a longer timeout.',
        )
    return Finding(
        name="deleted-too-broadly",
        level="warning",
        evidence=evidence,
        cause="Entries are deleted, not expired, before they are read again.",
        cure="Delete single keys, or by tags, instead of prefixes, patterns or clear().",
    )


def _calls(facts: Facts) -> Iterator[Finding]:
    for name, each in facts.prefixes.items():
        totals = each.totals
        calls = totals.gets + totals.sets + totals.errors
        if calls < MIN_READS:
            continue
        if totals.errors > ERRORS * calls:
            yield Finding(
                name="errors",
                level="warning",
                evidence={"prefix": name, "errors": totals.errors, "calls": calls},
                cause="Redis does not answer in time, or refuses.",
                cure="Look at Redis's log and load; DEADLINE may be too short for this network.",
            )
        if totals.undecodable > ERRORS * calls:
            yield Finding(
                name="undecodable",
                level="warning",
                evidence={"prefix": name, "undecodable": totals.undecodable, "reads": totals.gets},
                cause="Values cannot be verified or decoded: another secret, another writer.",
                cure="Keep the old secret in SECRETS or SECRET_KEY_FALLBACKS; one KEY_PREFIX a writer.",
            )


def _backlog(facts: Facts) -> Iterator[Finding]:
    live = facts.live
    waited = 0.0 if live.oldest_at is None else live.now - live.oldest_at
    if facts.is_synced and live.backlog and waited > BACKLOG_LATE_SECONDS + facts.interval:
        yield Finding(
            name="backlog",
            level="warning",
            evidence={"waiting": live.backlog, "oldest_seconds": round(waited)},
            cause="Entries have waited long for the remote store.",
            cure="See that `manage.py runcachesync` runs; shorten SYNC.INTERVAL or raise SYNC.BATCH.",
        )


def _durability(facts: Facts) -> Iterator[Finding]:
    is_required = facts.requires_durable
    if facts.is_synced and facts.live.knows_server and not facts.live.is_append_only:
        yield Finding(
            name="not-durable",
            level="error" if is_required else "warning",
            evidence={"appendonly": False, "require_durable": is_required},
            cause="Redis keeps no log on disk: "
            + (
                "writes of synced prefixes are refused, since SYNC.REQUIRE_DURABLE is on."
                if is_required
                else "what waits for the remote store is lost with the server."
            ),
            cure="Set appendonly yes.",
        )


def _loop(facts: Facts) -> Iterator[Finding]:
    if not (facts.is_counting or facts.is_synced):
        return
    beat = facts.live.heartbeat
    age = None if beat is None else facts.live.now - beat.alive_at
    if age is None or age > LOOP_LATE_SECONDS:
        yield Finding(
            name="loop-missing",
            level="warning",
            evidence={"last_seen_seconds": None if age is None else round(age)},
            cause="The loop behind the cache does not run: no statistics, no sync, no alerts.",
            cure="Start `manage.py runcachesync`, and have it restarted when it ends.",
        )


def _by_bytes(facts: Facts) -> list[tuple[str, PrefixFacts]]:
    sampled = [(name, each) for name, each in facts.prefixes.items() if each.sampled]
    return sorted(sampled, key=lambda item: -item[1].total_bytes)


def _reads_once(each: PrefixFacts) -> bool:
    return each.reads_a_key <= READ_ONCE or each.totals.gets < 0.2 * each.totals.sets


_JUDGES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _emptied,
    _remote,
    _eviction,
    _surprises,
    _slow_commands,
    _network,
    _large,
    _misses,
    _calls,
    _backlog,
    _loop,
    _durability,
)
"""In the order in which one explains the other."""
