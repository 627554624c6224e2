"""Which TTLs the site chose while calls were played, read off what lies in Redis."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from django_callcache.cache import CallCache
from django_callcache.conf import get_settings
from django_callcache.outbox.stat_buckets import StatBuckets
from django_callcache.ttl import HourlyProfile, Observation
from testproject.demo.player import Record

CALL = "call:"
STATS = "stats:"


def ttl_figures(cache: CallCache, written: Mapping[str, Record]) -> dict[str, str]:
    """Return the TTLs chosen, and what the policy says now that all reads are counted.

    Args:
        cache: The site's cache.
        written: Cache keys with the records that the site wrote.
    """
    profile = HourlyProfile(StatBuckets(cache.redis_client(), cache.redis_keys).profile())
    now = Observation(now=time.time(), profile=profile)
    chosen = chosen_ttls(cache, {key: record for key, record in written.items() if key.startswith(CALL)})
    decision = cache.policy_for(CALL).decide(now)
    stats = cache.policy_for(STATS).decide(now)
    return {
        "TTLs chosen for calls": ", ".join(f"{ttl:g} s for {count:,}" for ttl, count in chosen.items())
        or "none",
        "TTL chosen from now on": f"{decision.ttl_seconds:g} s: {decision.reason}",
        "TTL of campaigns' figures": f"{stats.ttl_seconds:g} s, by their rule",
    }


def chosen_ttls(cache: CallCache, calls: Mapping[str, Record]) -> Counter[float]:
    """Count the TTLs that the cached ones among some calls got: what is left of each, and its age.

    A call's age is taken from its record, a moment before it was cached; so the nearest of the two TTLs
    that the policy `peak-hour` chooses from is the one it got.
    """
    client = cache.redis_client()
    pipeline = client.pipeline(transaction=False)
    for key in calls:
        pipeline.pttl(cache.make_key(key))
    left = pipeline.execute()
    seconds, microseconds = client.time()
    now = seconds + microseconds / 1e6
    settings = get_settings().ttl
    choices = (settings.default_ttl, settings.peak_ttl)
    chosen: Counter[float] = Counter()
    for record, milliseconds in zip(calls.values(), left, strict=True):
        if milliseconds >= 0:
            at_first = milliseconds / 1000 + now - datetime.fromisoformat(record["started_at"]).timestamp()
            chosen[min(choices, key=lambda choice: abs(choice - at_first))] += 1
    return chosen
