"""Delete cached copies: of a prefix, a pattern, a tag, or all of a cache."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache.cache import CallCache
from django_callcache.cache.value_keys import escape_glob
from django_callcache.exceptions import CallCacheError
from django_callcache.live import FAULTS, masked
from django_callcache.maintenance import cache_of


class Command(BaseCommand):
    """Asks first, unless told not to."""

    help = (
        "Delete cached copies of a prefix, a pattern, a tag, or all of a cache. Keys of other applications "
        "and internal keys stay; nothing is deleted in the remote store, and what waits for it is pushed all "
        "the same. Keys are found by SCAN and deleted in small steps. Interrupted, it may be run again and "
        "goes on with what is left. Exit codes: 0 done, 1 Redis failed or you said no, 2 wrong usage or "
        "configuration."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--prefix", metavar="TEXT", help="Keys that begin with this text, taken literally.")
        what.add_argument(
            "--pattern",
            metavar="PATTERN",
            help="Keys that match: * any text, ? one character, [ab] either.",
        )
        what.add_argument("--tag", metavar="TAG", help="Entries written with this tag, in one command.")
        what.add_argument("--all", action="store_true", dest="everything", help="All keys of the cache.")
        parser.add_argument("--alias", default="default", help="Cache alias (default: %(default)s).")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")
        parser.add_argument("--dry-run", action="store_true", help="Only count.")

    def handle(
        self,
        *,
        prefix: str | None,
        pattern: str | None,
        tag: str | None,
        everything: bool,
        alias: str,
        yes: bool,
        dry_run: bool,
        **options: Any,
    ) -> None:
        try:
            cache = cache_of(alias)
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        if prefix == "" or pattern == "" or tag == "":
            raise CommandError("The text is empty; --all clears the whole cache.", returncode=2)
        try:
            cache.ask_redis(("PING",))  # a cache that degrades would find nothing
            if tag is not None:
                self._drop_tag(cache, tag, yes=yes, dry_run=dry_run)
                return
            glob = escape_glob(prefix) + "*" if prefix is not None else pattern or "*"
            self._clear(cache, glob, everything, yes=yes, dry_run=dry_run)
        except (*FAULTS, CallCacheError) as fault:
            raise CommandError(f"Redis failed: {masked(fault)}", returncode=1) from fault

    def _drop_tag(self, cache: CallCache, tag: str, *, yes: bool, dry_run: bool) -> None:
        if dry_run:
            self.stdout.write("Entries of a tag are not counted: it would be dropped by one command.")
            return
        self._ask(f"Drop all entries of the tag {tag!r} in {cache.alias}?", yes)
        used = cache.delete_tags(tag)
        self.stdout.write("Dropped." if used else "The tag is not in use.")

    def _clear(self, cache: CallCache, glob: str, everything: bool, *, yes: bool, dry_run: bool) -> None:
        expected = cache.count(glob)
        if dry_run:
            self.stdout.write(f"{expected} keys would be deleted.")
            return
        self._ask(f"Delete {expected} keys of {cache.alias}?", yes)
        deleted = 0

        def progress(number: int) -> None:
            nonlocal deleted
            deleted = number

        try:
            if everything:
                if not cache.clear(progress=progress):
                    raise CommandError(f"Deleted {deleted} keys, then Redis failed.", returncode=1)
            else:
                deleted = cache.delete_pattern(glob, progress=progress)
                cache.ask_redis(("PING",))  # a cache that degrades says nothing of a failure on the way
        except KeyboardInterrupt:
            message = f"Interrupted after {deleted} keys; the same command goes on with the rest."
            raise CommandError(message, returncode=1) from None
        self.stdout.write(f"Deleted {deleted} keys.")

    def _ask(self, question: str, yes: bool) -> None:
        if yes:
            return
        try:
            answer = input(f"{question} Type yes: ")
        except EOFError:
            raise CommandError("Nobody answers; --yes goes on without asking.", returncode=2) from None
        if answer.strip().lower() != "yes":
            raise CommandError("Nothing was deleted.", returncode=1)
