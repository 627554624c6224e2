"""Watch what the processes do with a cache, without the MONITOR command."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache.cache import CallCache
from django_callcache.live import LiveFacts, look
from django_callcache.maintenance import cache_of
from django_callcache.management.arguments import positive_count, positive_seconds
from django_callcache.outbox.stat_buckets import LATENCY_SLOTS
from django_callcache.stats.series import Totals, percentile


class Command(BaseCommand):
    """Reads only."""

    help = (
        "Print what all processes do with a cache: reads, hits, writes and errors a second, and call times. "
        "The figures are those that processes count anyway and hand over every few seconds, so watching "
        "costs Redis one small round trip a line, where MONITOR would halve its throughput and show values. "
        "Ctrl-C ends it. Exit codes: 0 done, 1 Redis does not answer, 2 wrong usage or configuration."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--alias", default="default", help="Cache alias (default: %(default)s).")
        parser.add_argument(
            "--interval", type=positive_seconds, default=5.0, metavar="SECONDS",
            help="Pause between two lines (default: %(default)s).",
        )  # fmt: skip
        parser.add_argument("--lines", type=positive_count, metavar="NUMBER", help="End after so many lines.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print lines of JSON.")

    def handle(
        self, *, alias: str, interval: float, lines: int | None, as_json: bool, **options: Any
    ) -> None:
        try:
            cache = cache_of(alias)
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        before, printed = self._look(cache), 0
        try:
            while lines is None or printed < lines:
                time.sleep(interval)
                now = self._look(cache)
                facts = rates(before, now)
                self.stdout.write(json.dumps(facts) if as_json else line_of(facts))
                self.stdout.flush()
                before, printed = now, printed + 1
        except KeyboardInterrupt:
            self.stderr.write("Ended.")

    def _look(self, cache: CallCache) -> LiveFacts:
        live = look(cache, synced=False)
        if not live.is_reachable:
            raise CommandError(f"Redis does not answer: {live.fault}", returncode=1)
        return live


def rates(before: LiveFacts, now: LiveFacts) -> dict[str, float | None]:
    """Return what happened between two looks, a second; times in seconds."""
    grown = {name: max(count - before.totals.get(name, 0), 0) for name, count in now.totals.items()}
    seconds = max(now.now - before.now, 0.001)
    totals = Totals.of(grown)
    slots = [grown.get(f"r{slot}", 0) for slot in range(LATENCY_SLOTS)]
    return {
        "reads": round(totals.gets / seconds, 1),
        "hit_ratio": None if totals.hit_ratio is None else round(totals.hit_ratio, 3),
        "near_share": None if totals.near_share is None else round(totals.near_share, 3),
        "writes": round(totals.sets / seconds, 1),
        "deletes": round(totals.deletes / seconds, 1),
        "errors": round(totals.errors / seconds, 1),
        "read_p50": percentile(slots, 0.5),
        "read_p99": percentile(slots, 0.99),
    }


def line_of(facts: Mapping[str, float | None]) -> str:
    """Return one line."""

    def share(name: str) -> str:
        value = facts[name]
        return "-" if value is None else f"{value:.1%}"

    def milliseconds(name: str) -> str:
        value = facts[name]
        return "-" if value is None else f"{value * 1000:.2f} ms"

    return (
        f"reads/s {facts['reads']}  hits {share('hit_ratio')} (near {share('near_share')})  "
        f"writes/s {facts['writes']}  deletes/s {facts['deletes']}  errors/s {facts['errors']}  "
        f"p50 {milliseconds('read_p50')}  p99 {milliseconds('read_p99')}"
    )
