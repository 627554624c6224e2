"""Show the figures of the caches: what redis-cli's INFO is often asked for."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache.cache import CallCache
from django_callcache.live import look
from django_callcache.maintenance import cache_of, own_aliases
from django_callcache.stats.series import Totals


class Command(BaseCommand):
    """Reads only."""

    help = (
        "Show the figures of the caches, over all processes: reads and hits since counting began, memory, "
        "keys, what waits for the remote store, the loop. One round trip; safe in production. "
        "Exit codes: 0 shown, 1 Redis does not answer, 2 wrong usage or configuration."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--alias", action="append", dest="aliases", metavar="ALIAS",
            help="Cache alias; may be given again (default: every one of this backend).",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print one JSON document.")

    def handle(self, *, aliases: list[str] | None, as_json: bool, **options: Any) -> None:
        try:
            caches = {name: cache_of(name) for name in aliases or own_aliases()}
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        facts = {name: facts_of(cache) for name, cache in caches.items()}
        if as_json:
            self.stdout.write(json.dumps(facts))
        else:
            for name, each in facts.items():
                self.stdout.write(name)
                for label, value in each.items():
                    self.stdout.write(f"  {label:22} {'-' if value is None else value}")
        if any("fault" in each for each in facts.values()):
            raise CommandError("Redis does not answer for every cache.", returncode=1)


def facts_of(cache: CallCache) -> dict[str, Any]:
    """Return the figures of a cache by name; sizes in bytes, times in seconds."""
    live = look(cache)
    if not live.is_reachable:
        return {"fault": live.fault}
    totals = Totals.of(live.totals)
    beat = live.heartbeat
    waits = None if live.oldest_at is None else round(max(live.now - live.oldest_at, 0.0))
    return {
        "server": f"{live.product} {live.version}".rstrip(),
        "uptime_seconds": live.uptime_seconds,
        "memory_bytes": live.used_memory,
        "memory_limit_bytes": live.max_memory or None,
        "eviction_policy": live.eviction_policy,
        "evicted_keys": live.evicted_keys,
        "keys_in_database": live.keys,
        "reads": totals.gets,
        "hits": totals.hits,
        "near_hits": totals.near_hits,
        "misses": totals.misses,
        "hit_ratio": None if totals.hit_ratio is None else round(totals.hit_ratio, 4),
        "writes": totals.sets,
        "deletes": totals.deletes,
        "errors": totals.errors,
        "processes": len(live.processes),
        "near_entries": sum(each.near_entries for each in live.processes),
        "waiting_for_sync": live.backlog,
        "oldest_waits_seconds": waits,
        "loop_seen_seconds": None if beat is None else round(max(live.now - beat.alive_at, 0.0)),
    }
