"""List keys of a cache, without the KEYS command."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache.cache import CallCache
from django_callcache.live import FAULTS, masked
from django_callcache.maintenance import cache_of
from django_callcache.management.arguments import positive_count

STEP = 100
"""Keys whose sizes and lives are asked for in one round trip."""


class Command(BaseCommand):
    """Reads only; values are not fetched."""

    help = (
        "List the keys of a cache that match a pattern, as their writers spelt them, with the seconds that "
        "they have left and the bytes that they take. They are found by SCAN in small steps; Redis is never "
        "held up; keys of other applications and internal ones are not shown. "
        "Exit codes: 0 listed, 1 Redis failed, 2 wrong usage or configuration."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "pattern", nargs="?", default="*", metavar="PATTERN",
            help="What keys must match: * any text, ? one character, [ab] one of some (default: all).",
        )  # fmt: skip
        parser.add_argument("--alias", default="default", help="Cache alias (default: %(default)s).")
        parser.add_argument(
            "--limit", type=positive_count, default=100, metavar="NUMBER",
            help="Stop after so many keys (default: %(default)s).",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print a line of JSON a key.")

    def handle(self, *, pattern: str, alias: str, limit: int, as_json: bool, **options: Any) -> None:
        try:
            cache = cache_of(alias)
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        shown = 0
        try:
            cache.ask_redis(("PING",))  # a cache that degrades would find nothing
            for facts in listed(cache, pattern, limit):
                self.stdout.write(json.dumps(facts) if as_json else line_of(facts))
                shown += 1
        except FAULTS as fault:
            raise CommandError(f"Redis failed: {masked(fault)}", returncode=1) from fault
        if shown == limit:
            self.stderr.write(f"Stopped after {limit} keys; --limit shows more.")


def listed(cache: CallCache, pattern: str, limit: int) -> Iterator[dict[str, Any]]:
    """Yield keys with what there is to know of them but their values; each once."""
    keys = dict.fromkeys(islice(cache.iter_keys(pattern, itersize=STEP), limit))
    names = list(keys)
    for start in range(0, len(names), STEP):
        step = names[start : start + STEP]
        redis_keys = [cache.make_key(key).encode(errors="surrogateescape") for key in step]
        replies = cache.ask_redis(*((word, name) for name in redis_keys for word in ("PTTL", "STRLEN")))
        for key, left, size in zip(step, replies[::2], replies[1::2], strict=True):
            if left != -2:
                yield {
                    "key": key,
                    "ttl_seconds": None if left == -1 else left / 1000,
                    "bytes": size if isinstance(size, int) else None,
                }


def line_of(facts: dict[str, Any]) -> str:
    """Return one key as text."""
    left = "never ends" if facts["ttl_seconds"] is None else f"{facts['ttl_seconds']:.0f} s left"
    size = "" if facts["bytes"] is None else f"{facts['bytes']} bytes"
    return f"{facts['key']!r}  {left}  {size}".rstrip()
