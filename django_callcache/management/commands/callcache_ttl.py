"""Tell which TTL a key would get, and why."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

import redis
from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache.cache.backend import CallCache
from django_callcache.maintenance import cache_of


class Command(BaseCommand):
    """Explains the TTL of keys."""

    help = (
        "Tell which TTL a write of a key would get now if its writer gave no timeout: the policy that "
        "decides, what it goes by, its bounds and its answer. Nothing is written, and nothing learnt from "
        "asking. Exit codes: 0 done, 1 Redis failed, 2 wrong usage or configuration."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("keys", nargs="+", metavar="KEY", help="As code writes it, such as campaign:7.")
        parser.add_argument("--alias", default="default", help="Cache alias (default: %(default)s).")
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="Print one line of JSON for each key."
        )

    def handle(self, *, keys: list[str], alias: str, as_json: bool, **options: Any) -> None:
        try:
            cache = cache_of(alias)
            cache.read_learning()
            for key in keys:
                facts = facts_of(cache, key)
                self.stdout.write(json.dumps(facts) if as_json else text_of(facts))
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        except redis.RedisError as error:
            raise CommandError(f"Redis failed: {type(error).__name__}", returncode=1) from error


def facts_of(cache: CallCache, key: str) -> dict[str, Any]:
    """What is told of a key."""
    decision = cache.explain_ttl(key)
    return {
        "key": key,
        "alias": cache.alias,
        "prefix": cache.prefix_of(key),
        "policy": decision.policy,
        "ttl_seconds": decision.ttl_seconds,
        "jitter": cache.jitter_of(key),
        "left_seconds": cache.ttl(key),
        "reason": decision.reason,
        "terms": dict(decision.terms),
        "measured": measured_of(cache, key),
    }


def measured_of(cache: CallCache, key: str) -> dict[str, float] | None:
    """What was measured of the key's prefix; None where nothing was, or nothing is to be."""
    rule = cache.rule_for(key)
    known = None if rule is None else cache.measured_staleness().get(rule.prefix)
    if known is None or known.ratio is None:
        return None
    low, high = known.bounds
    return {"stale": known.ratio, "low": low, "high": high, "checks": known.checks}


def text_of(facts: dict[str, Any]) -> str:
    """The same for people."""
    seconds, left = facts["ttl_seconds"], facts["left_seconds"]
    lives = "never expires" if seconds is None else f"{seconds:,.1f} s"
    if facts["jitter"]:
        lives += f", less up to {facts['jitter']:.0%} at random"
    present = {None: "never expires", 0: "there is none"}.get(left, f"expires in {left} s")
    rows = [
        ("TTL of a new value", lives),
        ("policy", f"{facts['policy']}, prefix {facts['prefix']}"),
        ("why", facts["reason"]),
        *((_TITLES.get(name, name), _number(value)) for name, value in facts["terms"].items()),
        ("present value", present),
    ]
    measured = facts["measured"]
    if measured is not None:
        share = (
            f"{measured['stale']:.1%} of about the last {measured['checks']:.0f} hits compared with their "
            f"origin (95 %: {measured['low']:.1%} to {measured['high']:.1%})"
        )
        rows.append(("stale hits, measured", share))
    lines = [f"  {title:32}{text}" for title, text in rows]
    return "\n".join([facts["key"], *lines])


_TITLES = {
    "age": "age of the value, s",
    "average": "reads in this hour, on average",
    "chance_of_change": "chance of a change by then, est.",
    "checks": "hits compared",
    "change_target": "changes wanted among reloads",
    "changes_an_hour": "changes an hour at this age",
    "eta": "eta: loads a stale read is worth",
    "frailty": "changes more than its prefix, x",
    "factor": "shortened by the target, x",
    "freshness_fraction": "part of the age",
    "max_ttl": "at most, s",
    "min_ttl": "at least, s",
    "observations": "reloads learnt from",
    "peak": "peak hour",
    "reads_an_hour": "reads an hour",
    "samples": "days recorded",
    "season": "changes in this hour, x",
    "stale_high": "stale hits, measured, at most",
    "stale_low": "stale hits, measured, at least",
    "stale_measured": "stale hits, measured",
    "stale_target": "stale hits, target",
    "wanted": "before the bounds, s",
}


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.4g}"
