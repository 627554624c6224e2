"""Put stored values under the newest secret."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import asdict
from typing import Any

import redis
from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from django_callcache.maintenance import cache_of, own_aliases
from django_callcache.replication.resealing import reseal_rows
from django_callcache.rotation import BATCH, Rotated, rotate

SECONDS_BETWEEN_LINES = 5.0


def batch_size(text: str) -> int:
    """Read a number of keys for one round trip."""
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise ArgumentTypeError(f"{text!r} is not a number of keys from 1 to 10000")
    return int(text)


class Command(BaseCommand):
    """Seals and encrypts anew what older secrets sealed."""

    help = (
        "Put values, stale copies, entries that wait for the remote store and rows that wait for a person "
        "under the newest secret, and "
        "encrypt what was stored before its prefix became sensitive. First let every process run with the "
        'new secret at the head of CALLCACHE["SECRETS"] and the old one behind it; drop the old one once '
        "this command reports 0 changed. Stopped half-way, it is run again: what is done is skipped. "
        "Exit codes: 0 done, 1 Redis failed, or values were written meanwhile and it should be run again, "
        "2 wrong usage or configuration."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--alias", help="Cache alias (default: every alias of this backend).")
        parser.add_argument(
            "--batch",
            type=batch_size,
            default=BATCH,
            metavar="KEYS",
            help="Keys looked at in one round trip (default: %(default)s).",
        )
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="Print one line of JSON each."
        )

    def handle(self, *, alias: str | None, batch: int, as_json: bool, **options: Any) -> None:
        changed = 0
        try:
            for name in [alias] if alias else own_aliases():
                changed += self._rotate(name, batch, as_json, options["verbosity"])
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        except redis.RedisError as error:
            raise CommandError(
                f"Redis failed ({type(error).__name__}); what is done stays done. Run the command again.",
                returncode=1,
            ) from error
        if changed:
            raise CommandError(
                f"{changed:,} values were written while they were read. Run the command again.", returncode=1
            )

    def _rotate(self, alias: str, batch: int, as_json: bool, verbosity: int) -> int:
        cache = cache_of(alias)
        began = time.monotonic()
        total = int(cache.redis_client().dbsize()) if verbosity else 0
        with tqdm(
            total=total, desc=alias, unit=" keys", disable=not verbosity or None, file=self.stderr
        ) as bar:
            told = began

            def progress(number: int) -> None:
                nonlocal told
                bar.update(number)
                if bar.disable and verbosity and time.monotonic() - told > SECONDS_BETWEEN_LINES:
                    told = time.monotonic()
                    self.stderr.write(f"{alias}: goes on after {told - began:.0f} s")

            rotated = rotate(cache, batch=batch, progress=progress)
        reseal_rows(cache, rotated)
        self._tell(alias, rotated, time.monotonic() - began, as_json)
        return rotated.changed

    def _tell(self, alias: str, rotated: Rotated, seconds: float, as_json: bool) -> None:
        facts = {"alias": alias, **asdict(rotated), "seconds": round(seconds, 3)}
        self.stdout.write(json.dumps(facts) if as_json else _TEXT.format(**facts))


_TEXT = (
    "{alias}: looked at {seen:,}, sealed {resealed:,} anew, {changed:,} changed meanwhile, "
    "{unreadable:,} that no secret opens."
)
