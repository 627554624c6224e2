"""Run the loop behind the cache: statistics, sync with the remote store, pruning."""

from __future__ import annotations

import dataclasses
import json
import logging
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.checks import Tags
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache.conf import get_settings
from django_callcache.exceptions import SyncError
from django_callcache.loop import Loop, StopNow
from django_callcache.maintenance import cache_of, own_aliases
from django_callcache.management.arguments import positive_count, positive_seconds
from django_callcache.management.turns import Turns
from django_callcache.replication.losses import AfterLoss
from django_callcache.replication.preview import preview
from django_callcache.replication.remotes import open_remote
from django_callcache.sync.remote import RemoteStore

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
"""Pause between two signs of life, which is also how soon a request for a pass is seen."""


class Command(BaseCommand):
    """Parses, builds and runs the loop."""

    help = (
        "Run the loop behind the cache: turn counts into hourly statistics, sync with the remote store, "
        "delete what people asked to be cleared, prune old rows. "
        "The first signal ends it after the batch at hand, the second at once. "
        "Exit codes: 0 done, 1 a pass failed, 2 wrong usage or configuration."
    )
    requires_system_checks = (Tags.caches,)
    requires_migrations_checks = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="Run one pass and exit.")
        parser.add_argument(
            "--interval", type=positive_seconds, metavar="SECONDS",
            help='Pause between two passes (default: CALLCACHE["SYNC"]["INTERVAL"]).',
        )  # fmt: skip
        parser.add_argument(
            "--alias", action="append", dest="aliases", metavar="ALIAS",
            help="Cache alias to work for; may be given again (default: every one of this backend).",
        )  # fmt: skip
        parser.add_argument(
            "--max-passes", type=positive_count, metavar="NUMBER", help="Exit after so many passes."
        )
        parser.add_argument(
            "--prefix", metavar="PREFIX",
            help="With --once: push no other keys than those that begin with this. All changes are pulled.",
        )  # fmt: skip
        parser.add_argument(
            "--dry-run", action="store_true", help="With --once: tell what a pass would do, and do nothing."
        )
        parser.add_argument(
            "--verify", action="store_true",
            help="With --once: compare both sides wholly, and push again what the remote store has lost.",
        )  # fmt: skip
        parser.add_argument(
            "--take-over", action="store_true",
            help="With --once: make the Redis database and the namespace this environment's.",
        )  # fmt: skip
        parser.add_argument(
            "--after-loss", choices=("restore", "go-on"), default="",
            help="With --once, where Redis had lost its data and keys were written since: take the remote "
            "store's rows for these keys too, or go on and let the strategy of their prefixes decide.",
        )  # fmt: skip
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="Print a line of JSON a pass."
        )

    def handle(
        self,
        *,
        once: bool,
        interval: float | None,
        aliases: list[str] | None,
        max_passes: int | None,
        as_json: bool,
        prefix: str | None,
        dry_run: bool,
        verify: bool,
        take_over: bool,
        after_loss: AfterLoss,
        verbosity: int,
        **options: Any,
    ) -> None:
        how: dict[str, Any] = {
            "prefix": prefix,
            "verify": verify,
            "take_over": take_over,
            "after_loss": after_loss,
        }
        if not once and (dry_run or any(how.values())):
            raise CommandError(
                "--prefix, --dry-run, --verify, --take-over and --after-loss go with --once.", returncode=2
            )
        try:
            settings = get_settings().sync
            remote = open_remote(settings)
            tell = self._print_line if as_json else None
            turns = Turns(aliases or own_aliases(), remote, tell=tell, preloads=not once, **how)
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        if dry_run:
            with closing(remote):
                self._preview(aliases or own_aliases(), remote, prefix, as_json)
            return
        loop = Loop(
            turns,
            interval_seconds=interval or settings.interval,
            beat=turns.watch,
            beat_seconds=BEAT_SECONDS,
            plan=turns.plan,
        )
        turns.may_go_on = lambda: not loop.is_stopping
        turns.wake = loop.wake
        turns.is_last = once
        with logging_to_stderr(verbosity), closing(remote):
            try:
                went_well = self._run(loop, 1 if once else max_passes)
            finally:
                turns.end()
        if not went_well:
            raise CommandError("The last pass failed.", returncode=1)

    def _preview(
        self, aliases: Sequence[str], remote: RemoteStore | None, prefix: str | None, as_json: bool
    ) -> None:
        if remote is None:
            raise CommandError('CALLCACHE["SYNC"]["REMOTE"] is not set: nothing is synced.', returncode=2)
        for alias in aliases:
            try:
                remote.check_schema()
                facts = {"alias": alias, **dataclasses.asdict(preview(cache_of(alias), remote, prefix))}
            except SyncError as error:
                raise CommandError(str(error), returncode=1) from error
            if as_json:
                self._print_line(facts)
            else:
                self.stdout.write(" ".join(f"{name}={value}" for name, value in facts.items()))

    def _run(self, loop: Loop, max_passes: int | None) -> bool:
        """Run the loop; a stop that was asked for is a good end."""
        try:
            with loop.signals():
                return loop.run(max_passes) or (loop.is_stopping and max_passes is None)
        except StopNow as stop:
            logger.warning("stopped in the middle of a pass; its entries are due again")
            return not stop.was_asked

    def _print_line(self, facts: Mapping[str, Any]) -> None:
        self.stdout.write(json.dumps(facts))
        self.stdout.flush()


@contextmanager
def closing(remote: RemoteStore | None) -> Iterator[None]:
    """Close the remote store, if there is one, on the way out."""
    try:
        yield
    finally:
        if remote is not None:
            remote.close()


@contextmanager
def logging_to_stderr(verbosity: int) -> Iterator[None]:
    """Show our log lines where the project has not said what becomes of them."""
    ours = logging.getLogger("django_callcache")
    if ours.hasHandlers() or verbosity < 1:
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.DEBUG if verbosity > 1 else logging.INFO)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)
