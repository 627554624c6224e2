"""A made-up month of a call-automation site, for pictures and tests of the admin pages.

The same rows every time, but for the time of day. Keys and rows of others are left alone.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator

from django.contrib.auth.models import User
from django.core.cache import caches
from django.utils import timezone

from django_callcache.models import (
    COUNTERS,
    CacheAlert,
    CacheHour,
    CacheOperation,
    CacheStat,
    CompressionDictionary,
    SyncConflict,
    SyncRejection,
    SyncRun,
)
from django_callcache.outbox.stat_buckets import HOUR_DAYS, TTL_BANDS
from django_callcache.replication.keeper import digest_of
from django_callcache.stats.series import add_lists
from django_callcache.ttl.profile import HOUR

ALIAS = "default"
NAME = PASSWORD = "operator"  # noqa: S105  # a sample's, on the loopback interface
STRANGER = "stranger"
"""Staff without any of our permissions; the password is the same."""

DAYS = 31
WORKING_DAY = (1, 1, 0, 0, 0, 1, 2, 5, 14, 30, 38, 35, 28, 33, 36, 31, 24, 15, 8, 6, 4, 3, 2, 1)
"""How busy each hour is; weekends have a fifth of it."""

SHARES = {"campaign:": (400, 0.62, 0.33), "contact:": (1200, 0.35, 0.48), "call:": (900, 0.2, 0.55),
          "stats:": (160, 0.0, 0.9), "script:": (220, 0.7, 0.28)}  # fmt: skip
"""Gets in a working hour of weight one, and how many of them are near hits and hits in Redis."""

FAST, SLOW = 6, 9
"""Slots of latency: 64 us, where most calls are, and half a millisecond."""

LIFETIMES = {3: 3, 5: 30, 6: 52, 8: 14, TTL_BANDS - 1: 1}
"""Of a hundred writes, by the band of their time to live."""

OUTAGE = datetime.timedelta(minutes=380)
"""How long ago the remote store did not answer."""


def fill(seed: int = 4) -> None:
    """Put people, rows and keys in place; what an earlier call left is replaced."""
    rng = random.Random(seed)  # noqa: S311  # of pictures, not of secrets
    now = timezone.now()
    _people()
    for model in (CacheStat, CacheHour, SyncRun, SyncRejection, SyncConflict, CacheAlert, CacheOperation):
        model.objects.filter(alias=ALIAS).delete()
    CompressionDictionary.objects.filter(alias=ALIAS).delete()
    stats = CacheStat.objects.bulk_create(_hours(rng, now), batch_size=500)
    CacheHour.objects.bulk_create(_wholes(stats, now))
    _profile(stats)
    SyncRun.objects.bulk_create(_passes(rng, now))
    _keys(rng)
    caches[ALIAS].pin_ttl("stats:", 300, by="maria", reason="Reports run until Friday.")
    _waiting(now)
    _alerts(now)
    _operations(now)
    CompressionDictionary.objects.create(
        alias=ALIAS, prefix="call:", dictionary_id="463f16a5", record=b"-", size=16384, samples=2250,
        bytes_before=412_000, bytes_after=108_000, trained_at=now - datetime.timedelta(days=3),
    )  # fmt: skip


def _people() -> None:
    for name in (NAME, STRANGER):
        person, _ = User.objects.get_or_create(username=name)
        person.is_staff, person.is_superuser = True, name == NAME
        person.set_password(PASSWORD)
        person.save()


def _hours(rng: random.Random, now: datetime.datetime) -> Iterator[CacheStat]:
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    for back in range(1, DAYS * 24):
        hour = this_hour - datetime.timedelta(hours=back)
        local = timezone.localtime(hour)
        weight = WORKING_DAY[local.hour] * (1 if local.weekday() < 5 else 0.2)
        for prefix, (share, near, redis) in SHARES.items():
            gets = int(weight * share * rng.uniform(0.85, 1.15))
            if not gets:
                continue
            near_hits, hits = int(gets * near * rng.uniform(0.95, 1)), int(gets * redis * rng.uniform(0.9, 1))
            yield CacheStat(
                alias=ALIAS, prefix=prefix, hour=hour, hits=hits, near_hits=near_hits,
                misses=gets - near_hits - hits, sets=gets - near_hits - hits, deletes=gets // 200,
                distinct_keys=gets // 4, hot_keys=[[f"{prefix}{n}", gets // (n + 6)] for n in range(1, 6)],
                ttl_bands=_lifetimes(gets - near_hits - hits), read_latency=_latency(hits, FAST),
                write_latency=_latency(gets - near_hits - hits, FAST + 1),
            )  # fmt: skip


def _latency(calls: int, fastest: int) -> list[int]:
    """Counts of 24 slots: half in the fastest, fewer and fewer in slower ones."""
    slots = [0] * 24
    for slot in range(fastest, SLOW + 1):
        slots[slot] = calls // 2 ** (slot - fastest + 1)
    return slots


def _lifetimes(writes: int) -> list[int]:
    """Counts of all bands of times to live."""
    return [writes * LIFETIMES.get(band, 0) // 100 for band in range(TTL_BANDS)]


def _wholes(stats: list[CacheStat], now: datetime.datetime) -> Iterator[CacheHour]:
    """The same hours for the cache as a whole, with what the loop would have seen."""
    by_hour: dict[datetime.datetime, list[CacheStat]] = {}
    for stat in stats:
        by_hour.setdefault(stat.hour, []).append(stat)
    for hour, rows in by_hour.items():
        sets = sum(row.sets for row in rows)
        is_outage = hour <= now - OUTAGE < hour + datetime.timedelta(hours=1)
        yield CacheHour(
            alias=ALIAS, hour=hour, **{name: sum(getattr(row, name) for row in rows) for name in COUNTERS},
            read_latency=add_lists((row.read_latency for row in rows), 24),
            write_latency=add_lists((row.write_latency for row in rows), 24),
            ttl_bands=add_lists((row.ttl_bands for row in rows), TTL_BANDS),
            backlog=310 if is_outage else sets // 120, oldest_seconds=640.0 if is_outage else 4 + sets / 400,
            keys=1_800 + sets // 3, used_memory=24_000_000 + sets * 900,
        )  # fmt: skip


def _profile(stats: list[CacheStat]) -> None:
    """The gets of the past days in Redis, by which peak hours are told."""
    cache = caches[ALIAS]
    newest = max(stat.hour for stat in stats)
    profile: dict[int, int] = {}
    for stat in stats:
        if newest - stat.hour < datetime.timedelta(days=HOUR_DAYS):
            hour = int(stat.hour.timestamp()) // HOUR
            profile[hour] = profile.get(hour, 0) + stat.hits + stat.near_hits + stat.misses
    client, name = cache.redis_client(), cache.redis_keys.stat_hours()
    client.hset(name, mapping=profile)
    client.expire(name, HOUR_DAYS * 86400)


def _passes(rng: random.Random, now: datetime.datetime) -> Iterator[SyncRun]:
    for back in range(1, 120):
        ago = datetime.timedelta(minutes=10 * back)
        failed = ago == OUTAGE
        yield SyncRun(
            alias=ALIAS, started_at=now - ago,
            duration_seconds=rng.uniform(0.2, 0.9), outcome="failed" if failed else "ok",
            pushed=0 if failed else rng.randint(40, 400), pulled=rng.randint(0, 9), rejected=int(back == 5),
            backlog=310 if failed else 0, error_class="RemoteUnavailable" if failed else "",
        )  # fmt: skip


def _keys(rng: random.Random) -> None:
    cache = caches[ALIAS]
    for number in range(1, 201):
        subscribed = rng.randint(0, 300)
        campaign = {"id": number, "name": f"Depósitos {number}", "subscriptions": subscribed}
        cache.set(f"campaign:{number}", campaign, rng.randint(600, 3600))
    jobs = ("admin.", "technician", "retired", "student")
    cache.set_many(
        {f"contact:{number}": {"id": number, "age": rng.randint(18, 80), "job": rng.choice(jobs)}
         for number in range(1, 1501)},
        3600,
    )  # fmt: skip
    call = {
        "id": 1,
        "campaign": 7,
        "contact": 88,
        "channel": "cellular",
        "notes": "Llamar de nuevo el lunes. ",
    }
    cache.set("call:1", call | {"notes": call["notes"] * 40}, 1800)
    for number in range(2, 41):
        cache.set(f"call:{number}", call | {"id": number}, rng.randint(60, 1800))


def _waiting(now: datetime.datetime) -> None:
    """What waits for a person."""
    version = int(now.timestamp() * 1_000_000)
    for number, reason in ((88, "payload is larger than 1 MiB"), (417, "value violates check constraint")):
        redis_key = f"crm:1:contact:{number}".encode()
        SyncRejection.objects.create(
            alias=ALIAS, key=f"1:contact:{number}", digest=digest_of(redis_key), redis_key=redis_key,
            version=version, remote_version=0, payload=b"-" * 900, reason=reason,
            rejected_at=now - datetime.timedelta(minutes=48),
        )  # fmt: skip
    redis_key = b"crm:1:campaign:12"
    SyncConflict.objects.create(
        alias=ALIAS, key="1:campaign:12", digest=digest_of(redis_key), redis_key=redis_key,
        local_version=version, local_payload=b"-" * 412, remote_version=7, remote_order=version + 1,
        remote_origin="crm-office", remote_payload=b"-" * 433, found_at=now - datetime.timedelta(minutes=21),
    )  # fmt: skip


def _alerts(now: datetime.datetime) -> None:
    def ago(**since: float) -> datetime.datetime:
        return now - datetime.timedelta(**since)

    CacheAlert.objects.create(
        alias=ALIAS, rule="hit-ratio-low", severity="warning", summary="Few reads find a value.",
        state="firing", value=0.41, threshold=0.5, began_at=ago(minutes=12), fired_at=ago(minutes=11),
        flaps=2,
    )  # fmt: skip
    CacheAlert.objects.create(
        alias=ALIAS, rule="redis-unreachable", severity="critical", summary="Redis does not answer.",
        state="resolved", value=1, threshold=0, began_at=ago(hours=5), fired_at=ago(hours=5),
        resolved_at=ago(hours=4.8), handled_by=NAME,
    )  # fmt: skip


def _operations(now: datetime.datetime) -> None:
    for hours, pattern, deleted in ((3, "campaign:", 184), (22, "stats:", 41)):
        CacheOperation.objects.create(
            username=NAME, kind="clear", scope="prefix", alias=ALIAS, pattern=pattern, expected=deleted,
            deleted=deleted, duration_seconds=0.02, outcome="ok", reason="Prices changed",
            started_at=now - datetime.timedelta(hours=hours),
        )  # fmt: skip
    CacheOperation.objects.create(
        username=NAME, kind="clear", scope="prefix", alias=ALIAS, pattern="script:", expected=48_000,
        outcome="waiting", looked_at=310_000, total=840_000, deleted=17_500,
        started_at=now - datetime.timedelta(minutes=2),
    )  # fmt: skip
