"""Train a zstd dictionary for the values of a prefix."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

import redis
from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache.cache.backend import CallCache
from django_callcache.codec.compression import MAX_DICTIONARY_BYTES, MIN_DICTIONARY_BYTES
from django_callcache.exceptions import TrainingRefused
from django_callcache.maintenance import cache_of
from django_callcache.training import Trial, keep, learn, prune


def sample_count(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def dictionary_size(text: str) -> int:
    """Read a number of bytes that a dictionary may have."""
    if not text.isdecimal() or not MIN_DICTIONARY_BYTES <= int(text) <= MAX_DICTIONARY_BYTES:
        raise ArgumentTypeError(
            f"{text!r} is not a number of bytes from {MIN_DICTIONARY_BYTES} to {MAX_DICTIONARY_BYTES}"
        )
    return int(text)


class Command(BaseCommand):
    """Trains and keeps a dictionary, or deletes those that nothing needs any more."""

    help = (
        "Train a zstd dictionary on the values that a prefix has in Redis, report what it saves on others "
        "that were held back, and compress new values of the prefix with it. Old values stay readable. "
        "Exit codes: 0 done, 1 refused, or Redis failed, 2 wrong usage or configuration."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument(
            "--prefix", help="Train for keys that begin so: a rule's prefix, or text up to the first colon."
        )
        what.add_argument(
            "--prune",
            action="store_true",
            help="Delete dictionaries replaced a day ago or longer that no value needs; the first bytes of "
            "every value are read.",
        )
        parser.add_argument("--alias", default="default", help="Cache alias (default: %(default)s).")
        parser.add_argument(
            "--samples",
            type=sample_count,
            default=3000,
            metavar="NUMBER",
            help="Values to read at most; a quarter is held back (default: %(default)s).",
        )
        parser.add_argument(
            "--size",
            type=dictionary_size,
            default=4096,
            metavar="BYTES",
            help="Bytes that the dictionary may have (default: %(default)s).",
        )
        parser.add_argument("--dry-run", action="store_true", help="Train and report, store nothing.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print one line of JSON.")

    def handle(
        self,
        *,
        prefix: str | None,
        alias: str,
        samples: int,
        size: int,
        dry_run: bool,
        as_json: bool,
        **options: Any,
    ) -> None:
        try:
            cache = cache_of(alias)
            if prefix is None:
                self._prune(cache, as_json)
            else:
                self._train(cache, prefix, samples, size, dry_run, as_json)
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        except TrainingRefused as refusal:
            raise CommandError(str(refusal), returncode=1) from refusal
        except redis.RedisError as error:
            raise CommandError(f"Redis failed: {type(error).__name__}", returncode=1) from error

    def _train(
        self, cache: CallCache, prefix: str, samples: int, size: int, dry_run: bool, as_json: bool
    ) -> None:
        began = time.monotonic()
        trial = learn(cache, prefix, limit=samples, size=size)
        if not dry_run:
            keep(cache, prefix, trial)
        facts = {"alias": cache.alias, "prefix": prefix, **facts_of(trial), "stored": not dry_run}
        facts["seconds"] = round(time.monotonic() - began, 3)
        self._tell(facts, as_json, _TRAINED + (_DRY if dry_run else _STORED))

    def _prune(self, cache: CallCache, as_json: bool) -> None:
        gone = prune(cache)
        facts = {"alias": cache.alias, "pruned": [row.dictionary_id for row in gone]}
        self._tell({**facts, "number": len(gone)}, as_json, "Deleted {number} dictionaries of {alias}.")

    def _tell(self, facts: dict[str, Any], as_json: bool, text: str) -> None:
        self.stdout.write(json.dumps(facts) if as_json else text.format(**facts))


_TRAINED = """\
Dictionary {dictionary}, {dictionary_bytes:,} bytes, trained on {samples:,} values under {prefix}.
On {held_back:,} values that were held back:
  stored bytes a value   {before:.1f} before, {after:.1f} after: {saved_percent:.1f} % less
  payload                {payload_before:.1f} before, {payload_after:.1f} after
  zstd, both ways        {microseconds_before:.1f} us before, {microseconds_after:.1f} us after
"""
_STORED = "It is in use for new values: at once here, within a minute in processes that run."
_DRY = "Dry run: nothing was stored."


def facts_of(trial: Trial) -> dict[str, Any]:
    """Return what is told of a trial; bytes and times are a value's."""
    number = trial.held_back
    return {
        "dictionary": trial.dictionary.id.hex(),
        "dictionary_bytes": len(trial.dictionary.data),
        "samples": trial.samples,
        "held_back": number,
        "payload_before": round(trial.raw_bytes / number, 1),
        "payload_after": round(trial.payload_bytes / number, 1),
        "before": round(trial.bytes_before / number, 1),
        "after": round(trial.bytes_after / number, 1),
        "saved_percent": round(trial.saved * 100, 1),
        "microseconds_before": round(trial.microseconds_before, 2),
        "microseconds_after": round(trial.microseconds_after, 2),
    }
