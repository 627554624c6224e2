"""Load the keys that are read most before somebody asks for them."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from django_callcache.cache.backend import CallCache
from django_callcache.conf import get_settings
from django_callcache.maintenance import cache_of
from django_callcache.management.commands.runcachesync import closing
from django_callcache.replication.preload import Preload
from django_callcache.replication.remotes import open_remote
from django_callcache.warm import Warmed, warm

SECONDS_BETWEEN_LINES = 5.0


def whole_number(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


class Command(BaseCommand):
    """Ranks keys by the statistics and loads what the cache lacks of them."""

    help = (
        "Load the keys that were read most, by the hourly statistics, from the source of their prefix, or, "
        "where the prefix has sync, from the remote store. "
        "What the cache has stays as it is. Exit codes: 0 done, 1 a loader failed, 2 wrong usage or "
        "configuration."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--alias", default="default", help="Cache alias (default: %(default)s).")
        parser.add_argument(
            "--top", type=whole_number, default=500, metavar="NUMBER", help="How many (default: %(default)s)."
        )
        parser.add_argument(
            "--prefix",
            action="append",
            dest="prefixes",
            metavar="PREFIX",
            help="Keys that begin so, and no others; may be repeated. Left out, every prefix with a source, "
            "a loader or sync.",
        )
        parser.add_argument(
            "--days",
            type=whole_number,
            metavar="NUMBER",
            help='Days whose reads count (default: CALLCACHE["PRELOAD"]["DAYS"]).',
        )
        parser.add_argument(
            "--chunk",
            type=whole_number,
            metavar="NUMBER",
            help='Keys that are loaded at once (default: CALLCACHE["PRELOAD"]["CHUNK"]).',
        )
        parser.add_argument("--dry-run", action="store_true", help="List the keys, load nothing.")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print one line of JSON.")

    def handle(
        self,
        *,
        alias: str,
        top: int,
        prefixes: list[str] | None,
        days: int | None,
        chunk: int | None,
        dry_run: bool,
        as_json: bool,
        **options: Any,
    ) -> None:
        began = time.monotonic()
        try:
            cache = cache_of(alias)
            settings = get_settings()
            remote = open_remote(settings.sync) if _needs_remote(cache, prefixes or [""]) else None
            work = Preload(cache, remote)
            chosen = _chosen(cache.alias, work.prefixes, prefixes)
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        keys = work.hottest(chosen, top, days or settings.preload.days)
        if dry_run:
            self.stdout.write(json.dumps(keys) if as_json else "\n".join(keys))
            return
        with closing(remote), Progress(len(keys), self.stderr) as progress:
            done = warm(work, keys, chunk or settings.preload.chunk, progress.show)
        facts = {
            "alias": cache.alias,
            "keys": done.asked,
            "records": done.records,
            "failed": done.failed,
            "seconds": round(time.monotonic() - began, 3),
        }
        self.stdout.write(json.dumps(facts) if as_json else _DONE.format(**facts))
        if done.failed:
            raise CommandError("A loader failed; the log has the error.", returncode=1)


_DONE = "{keys:,} hot keys of {alias}: {records:,} have a record, {failed:,} failed ({seconds:g} s)."


def _needs_remote(cache: CallCache, prefixes: list[str]) -> bool:
    """Tell whether keys with some prefixes are synced. Not every process has the remote store's key."""
    synced = [rule.prefix for rule in cache.options.rules if rule.sync is not None]
    return any(one.startswith(other) or other.startswith(one) for one in synced for other in prefixes)


def _chosen(alias: str, known: tuple[str, ...], prefixes: list[str] | None) -> list[str]:
    """The prefixes to load, each of which can be."""
    if not known:
        raise ImproperlyConfigured(
            f"No prefix of the cache {alias!r} has a source, a loader, or sync and a remote store."
        )
    for prefix in prefixes or ():
        if not prefix.startswith(known):
            raise ImproperlyConfigured(f"No loader knows {prefix!r}. Prefixes with one: {', '.join(known)}.")
    return list(prefixes or known)


class Progress:
    """A bar on a terminal, now and then a line elsewhere."""

    def __init__(self, total: int, stream: Any) -> None:
        self._stream = stream
        self._bar = tqdm(total=total, file=stream, desc="loading", disable=not stream.isatty())
        self._total = total
        self._due_at = time.monotonic() + SECONDS_BETWEEN_LINES

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *ignored: object) -> None:
        self._bar.close()

    def show(self, done: Warmed) -> None:
        """Show how far it is."""
        if not self._bar.disable:
            self._bar.update(done.asked - self._bar.n)
        elif time.monotonic() >= self._due_at:
            self._stream.write(f"loading: {done.asked:,} of {self._total:,}")
            self._due_at = time.monotonic() + SECONDS_BETWEEN_LINES
