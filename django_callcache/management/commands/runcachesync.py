"""Run the loop behind the cache: statistics, sync with the remote store, pruning."""

from __future__ import annotations

import json
import logging
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.checks import Tags
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache.conf import get_settings
from django_callcache.loop import Loop, StopNow
from django_callcache.maintenance import own_aliases
from django_callcache.management.arguments import positive_count, positive_seconds
from django_callcache.management.turns import Turns
from django_callcache.replication.remotes import open_remote
from django_callcache.sync.remote import RemoteStore

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    """Parses, builds and runs the loop."""

    help = (
        "Run the loop behind the cache: turn counts into hourly statistics, push synced writes to the remote "
        "store, prune old rows. The first signal ends it after the batch at hand, the second at once. "
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
        verbosity: int,
        **options: Any,
    ) -> None:
        try:
            settings = get_settings().sync
            remote = open_remote(settings)
            turns = Turns(aliases or own_aliases(), remote, tell=self._print_line if as_json else None)
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        loop = Loop(turns, interval_seconds=interval or settings.interval, beat=turns.beat)
        turns.may_go_on = lambda: not loop.is_stopping
        with logging_to_stderr(verbosity), closing(remote):
            went_well = self._run(loop, 1 if once else max_passes)
        if not went_well:
            raise CommandError("The last pass failed.", returncode=1)

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
