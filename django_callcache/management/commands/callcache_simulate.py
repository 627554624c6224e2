"""Simulate TTL policies on traffic that has been, before one is chosen."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis
from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from tqdm import tqdm

from django_callcache.conf import get_settings
from django_callcache.exceptions import TraceRefused
from django_callcache.maintenance import cache_of
from django_callcache.management.tradeoff import drawing
from django_callcache.models import CacheStat
from django_callcache.stats.traces import from_hours, read_trace
from django_callcache.ttl import POLICIES, TtlParameters
from django_callcache.ttl.simulation import Event, simulate

FIXED = (60.0, 300.0, 900.0, 1800.0, 3600.0)
ETA = (3.0, 6.0, 12.0, 30.0, 100.0)


def policy_name(text: str) -> str:
    """Read the name of a policy."""
    if text not in POLICIES:
        raise ArgumentTypeError(f"{text!r} is no policy: give one of {', '.join(POLICIES)}")
    return text


def positive(text: str) -> float:
    """Read a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


class Command(BaseCommand):
    """Prints loads against stale reads."""

    help = (
        "Replay reads and changes through TTL policies and print what each would have loaded from the "
        "database and what would have been stale, so that eta can be chosen before a policy is switched on. "
        "The figures are a simulation's: one cache that never evicts, loads that take no time; the first "
        "quarter is warm-up. Exit codes: 0 done, 1 nothing to simulate, 2 wrong usage or configuration."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument(
            "--trace",
            type=Path,
            metavar="FILE",
            help="CSV with the columns at,event,prefix,key: unix seconds, 'read' or 'change', and whose.",
        )
        what.add_argument(
            "--days",
            type=positive,
            metavar="NUMBER",
            help="Recorded hours of the last days. They hold reads, not changes: these are drawn at random.",
        )
        parser.add_argument("--alias", default="default", help="Cache alias (default: %(default)s).")
        parser.add_argument("--prefix", help="Only keys of this prefix.")
        parser.add_argument(
            "--changes",
            type=positive,
            metavar="NUMBER",
            help="With --days: changes of a key an hour, where the prefix's policy has not learnt them.",
        )
        parser.add_argument(
            "--policy",
            nargs="+",
            type=policy_name,
            default=["fixed", "peak-hour", "adaptive"],
            metavar="NAME",
            help="Policies to compare (default: fixed peak-hour adaptive).",
        )
        parser.add_argument(
            "--eta",
            nargs="+",
            type=positive,
            default=ETA,
            metavar="NUMBER",
            help="For adaptive: how many loads a stale read costs as much as (default: 3 6 12 30 100).",
        )
        parser.add_argument(
            "--sync",
            type=positive,
            metavar="SECONDS",
            help="Let something delete every so many seconds what has changed.",
        )
        parser.add_argument(
            "--without-updated-at", action="store_true", help="Let rows not say when they changed."
        )
        parser.add_argument("--seed", type=int, default=1, help="For --days (default: %(default)s).")
        parser.add_argument("--svg", type=Path, metavar="FILE", help="Also draw the trade-off.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print lines of JSON.")

    def handle(self, **options: Any) -> None:
        try:
            events = self._events(options)
            settings = get_settings()
        except (ImproperlyConfigured, InvalidCacheBackendError, TraceRefused) as error:
            raise CommandError(str(error), returncode=2) from error
        except redis.RedisError as error:
            raise CommandError(f"Redis failed: {type(error).__name__}", returncode=1) from error
        if not any(not event.is_change for event in events):
            raise CommandError("There are no reads to simulate.", returncode=1)
        lines = []
        runs = list(_runs(options["policy"], options["eta"], settings.ttl.parameters))
        for policy, label, spec, parameters in tqdm(runs, "Simulating", leave=False, disable=None):
            outcome = simulate(
                events,
                spec,
                parameters,
                rows_tell=not options["without_updated_at"],
                sync_seconds=options["sync"],
            )
            lines.append({"policy": policy, "setting": label, **asdict(outcome)})
        self._tell(lines, options["as_json"])
        if options["svg"] is not None:
            self._draw(lines, options["svg"])

    def _events(self, options: dict[str, Any]) -> list[Event]:
        prefix = options["prefix"]
        if options["trace"] is not None:
            events = read_trace(options["trace"])
            return [event for event in events if prefix is None or event.prefix == prefix]
        rows = CacheStat.objects.for_alias(options["alias"]).since(
            timezone.now() - timedelta(days=options["days"])
        )
        if prefix is not None:
            rows = rows.filter(prefix=prefix)
        cache = cache_of(options["alias"])
        cache.read_learning()
        learnt = cache.changes_an_hour()
        prefixes = set(rows.values_list("prefix", flat=True).order_by())
        unknown = sorted(prefixes - learnt.keys())
        if unknown and options["changes"] is None:
            names = ", ".join(map(repr, unknown))
            raise TraceRefused(f"Nothing is known of how often keys of {names} change: give --changes.")
        rates = {name: learnt.get(name) or options["changes"] or 0.0 for name in prefixes}
        return from_hours(rows, rates, options["seed"])

    def _tell(self, lines: list[dict[str, Any]], as_json: bool) -> None:
        if as_json:
            for line in lines:
                self.stdout.write(json.dumps(line))
            return
        self.stdout.write(f"Simulated, of 100 reads ({lines[0]['reads']:,} in all):")
        self.stdout.write(f"{'policy':22}{'setting':12}{'loads':>8}{'stale':>9}{'stalest':>12}")
        for line in lines:
            share = 100 / max(line["reads"], 1)
            self.stdout.write(
                f"{line['policy']:22}{line['setting']:12}{line['loads'] * share:8.1f}"
                f"{line['stale'] * share:9.2f}{line['longest']:10,.0f} s"
            )

    def _draw(self, lines: list[dict[str, Any]], path: Path) -> None:
        families: dict[str, list[tuple[float, float, str]]] = {}
        for line in lines:
            share = 100 / max(line["reads"], 1)
            point = line["stale"] * share, line["loads"] * share, line["setting"]
            families.setdefault(line["policy"], []).append(point)
        try:
            path.write_text(drawing("Simulated loads against stale reads", families), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"Cannot write {path}: {error.strerror}", returncode=2) from error


def _runs(
    policies: list[str], etas: list[float], parameters: TtlParameters
) -> Iterator[tuple[str, str, str | float, TtlParameters]]:
    """Policy, setting, and what makes it, of each simulation."""
    for policy in policies:
        if policy == "fixed":
            for seconds in FIXED:
                yield policy, f"{seconds:g} s", seconds, parameters
        elif policy == "adaptive":
            for eta in etas:
                yield policy, f"eta {eta:g}", policy, replace(parameters, eta=eta)
        else:
            yield policy, "", policy, parameters
