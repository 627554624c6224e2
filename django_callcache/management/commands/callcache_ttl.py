"""Tell which TTL a key would get, and why; pin it."""

from __future__ import annotations

import json
import math
import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from typing import Any

import redis
from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache import pinning
from django_callcache.cache.backend import CallCache
from django_callcache.exceptions import PinRefused
from django_callcache.maintenance import cache_of
from django_callcache.management.account import account, moment
from django_callcache.ttl import Override, Overrides, Pin

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> float:
    """Read a duration such as 90s, 15m, 2h or 1d; a number alone is of seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    seconds = float(found[1]) * UNITS[found[2] or "s"] if found else 0.0
    if not seconds > 0:
        raise ArgumentTypeError(f"{text!r} is no duration: give one such as 90s, 15m, 2h or 1d")
    return seconds


class Command(BaseCommand):
    """Explains the TTL of keys; pins prefixes, and pauses what adapts."""

    help = (
        "Tell which TTL a write of a key would get now if its writer gave no timeout: the policy that "
        "decides, what it goes by, its bounds and its answer. Nothing is written, and nothing learnt from "
        "asking. Or decide it: --pin gives all entries of a prefix one TTL in place of what its policy "
        "answers, --pause lets DEFAULT_TTL hold wherever a policy adapts, in all processes within seconds; "
        "entries that are there keep the time they have. Such decisions lie in Redis, and each leaves a row "
        "in the list of operations. "
        "Exit codes: 0 done, 1 Redis failed or there was nothing to end, 2 wrong usage or configuration."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("keys", nargs="*", metavar="KEY", help="As code writes it, such as campaign:7.")
        parser.add_argument("--alias", default="default", help="Cache alias (default: %(default)s).")
        acts = parser.add_mutually_exclusive_group()
        acts.add_argument(
            "--pin",
            nargs=2,
            metavar=("PREFIX", "SECONDS"),
            help="Give the entries of a prefix this TTL; it takes the place of a pin that is there.",
        )
        acts.add_argument("--unpin", metavar="PREFIX", help="Let the policy of a prefix decide again.")
        acts.add_argument("--pause", action="store_true", help="Let DEFAULT_TTL hold where a policy adapts.")
        acts.add_argument("--resume", action="store_true", help="End that pause.")
        acts.add_argument("--decisions", action="store_true", help="List the pins and the pause that hold.")
        parser.add_argument(
            "--for",
            dest="lasts",
            type=duration,
            metavar="DURATION",
            help="With --pin and --pause: how long, such as 90s, 15m, 2h or 1d (default: until it is ended).",
        )
        parser.add_argument("--reason", default="", metavar="TEXT", help="Why, for the others.")
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="Print one line of JSON for each key or decision.",
        )

    def handle(self, *, keys: list[str], alias: str, as_json: bool, **options: Any) -> None:
        decides = any(options[name] for name in ("pin", "unpin", "pause", "resume", "decisions"))
        if bool(keys) == decides:
            raise CommandError("Name keys to explain, or one of the decisions (see --help).", returncode=2)
        try:
            cache = cache_of(alias)
            if decides:
                self._decide(cache, alias, options)
                self._list(cache, as_json)
                return
            cache.read_learning()
            for key in keys:
                facts = facts_of(cache, key)
                self.stdout.write(json.dumps(facts) if as_json else text_of(facts))
        except (ImproperlyConfigured, InvalidCacheBackendError, PinRefused) as error:
            raise CommandError(str(error), returncode=2) from error
        except redis.RedisError as error:
            raise CommandError(f"Redis failed: {type(error).__name__}", returncode=1) from error

    def _decide(self, cache: CallCache, alias: str, options: dict[str, Any]) -> None:
        """Pin, unpin, pause or resume, with the trace that the admin's pages leave."""
        by, reason, lasts = account(), options["reason"], options["lasts"]
        if options["pin"]:
            prefix, seconds = options["pin"]
            pinning.pin(cache, alias, prefix, seconds_of(seconds), by=by, reason=reason, lasts=lasts)
        elif options["unpin"] is not None:
            if not pinning.unpin(cache, alias, options["unpin"], by=by, reason=reason):
                raise CommandError(f"{options['unpin']!r} was not pinned.", returncode=1)
        elif options["pause"]:
            if not pinning.pause(cache, alias, by=by, reason=reason, lasts=lasts):
                raise CommandError("What adapts is paused already; --decisions tells by whom.", returncode=1)
        elif options["resume"] and not pinning.resume(cache, alias, by=by, reason=reason):
            raise CommandError("Nothing was paused.", returncode=1)

    def _list(self, cache: CallCache, as_json: bool) -> None:
        decisions = list(decisions_of(cache.ttl_overrides()))
        for facts in decisions:
            self.stdout.write(json.dumps(facts) if as_json else decision_text(facts))
        if not decisions and not as_json:
            self.stdout.write("Nothing is pinned or paused.")


def seconds_of(text: str) -> float:
    """Read the seconds of a pin."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise CommandError(f"{text!r} is no TTL: give seconds above 0.", returncode=2)
    return seconds


def decisions_of(overrides: Overrides) -> Iterator[dict[str, Any]]:
    """What is told of each pin, and of the pause."""
    decided: list[tuple[str, Override]] = [*sorted(overrides.pins.items())]
    if overrides.pause is not None:
        decided.append(("", overrides.pause))
    for prefix, override in decided:
        yield {
            "decision": "pin" if isinstance(override, Pin) else "pause",
            "prefix": prefix,
            "ttl_seconds": override.ttl_seconds if isinstance(override, Pin) else None,
            "by": override.by,
            "since": moment(override.since),
            "until": None if override.until is None else moment(override.until),
            "reason": override.reason,
        }


def decision_text(facts: dict[str, Any]) -> str:
    """The same for people."""
    if facts["decision"] == "pin":
        what = f"{facts['prefix']} is pinned to {facts['ttl_seconds']:g} s"
    else:
        what = "what adapts is paused"
    ends = f"until {facts['until']}" if facts["until"] else "until somebody ends it"
    reason = f": {facts['reason']}" if facts["reason"] else ""
    return f"{what} by {facts['by']} since {facts['since']}, {ends}{reason}"


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
    "own_policy": "policy that it replaces",
    "own_ttl": "what that would give, s",
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
