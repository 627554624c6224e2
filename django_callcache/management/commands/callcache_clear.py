"""Delete cached copies: of a prefix, a pattern, a tag, or all of a cache."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from tqdm import tqdm

from django_callcache.cache import CallCache
from django_callcache.clearing import Clearing, Outcome, Scope, Target, claim, reopen
from django_callcache.exceptions import CallCacheError
from django_callcache.live import FAULTS, masked
from django_callcache.maintenance import cache_of
from django_callcache.management.account import account
from django_callcache.management.arguments import positive_count
from django_callcache.models import PATTERN_LENGTH, CacheOperation


class Command(BaseCommand):
    """Asks first, unless told not to."""

    help = (
        "Delete cached copies of a prefix, a pattern, a tag, or all of a cache. Keys of other applications "
        "and internal keys stay; nothing is deleted in the remote store, and what waits for it is pushed all "
        "the same. Keys are found by SCAN and deleted in small steps. Every deletion leaves a row in the "
        "admin's list of operations. Interrupted, it may be run again, or gone on with by --operation. "
        "Exit codes: 0 done, 1 Redis failed, it was stopped or you said no, 2 wrong usage or configuration."
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
        what.add_argument(
            "--operation", type=positive_count, metavar="NUMBER",
            help="Carry out a deletion that waits in the admin, or go on with one that ended early.",
        )  # fmt: skip
        parser.add_argument("--alias", default="default", help="Cache alias (default: %(default)s).")
        parser.add_argument("--reason", default="", metavar="TEXT", help="Why, for the list of operations.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")
        parser.add_argument("--dry-run", action="store_true", help="Only count.")

    def handle(
        self,
        *,
        prefix: str | None,
        pattern: str | None,
        tag: str | None,
        everything: bool,
        operation: int | None,
        alias: str,
        reason: str,
        yes: bool,
        dry_run: bool,
        **options: Any,
    ) -> None:
        row = None if operation is None else _found(operation)
        try:
            cache = cache_of(alias if row is None else row.alias)
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        for text in (prefix, pattern, tag):
            if text == "":
                raise CommandError("The text is empty; --all clears the whole cache.", returncode=2)
            if text is not None and len(text) > PATTERN_LENGTH:
                raise CommandError(f"The text is longer than {PATTERN_LENGTH} characters.", returncode=2)
        try:
            cache.ask_redis(("PING",))  # a cache that degrades would find nothing
            if tag is not None:
                self._drop_tag(cache, tag, yes=yes, dry_run=dry_run)
                return
            scope = Scope.ALIAS if everything else Scope.PATTERN if prefix is None else Scope.PREFIX
            target = Target(alias, scope, prefix or pattern or "") if row is None else Target.of(row)
            expected = cache.count(target.search or "*")
            if dry_run:
                self.stdout.write(f"{expected} keys would be deleted.")
                return
            self._ask(f"Delete {expected} keys of {target.alias}?", yes)
            self._clear(cache, row or _begun(target, expected, reason))
        except (*FAULTS, CallCacheError) as fault:
            raise CommandError(f"Redis failed: {masked(fault)}", returncode=1) from fault
        except DatabaseError as error:
            message = f"The row of the operation cannot be written: {error}. Is the database there, migrated?"
            raise CommandError(message, returncode=1) from error

    def _drop_tag(self, cache: CallCache, tag: str, *, yes: bool, dry_run: bool) -> None:
        if dry_run:
            self.stdout.write("Entries of a tag are not counted: it would be dropped by one command.")
            return
        self._ask(f"Drop all entries of the tag {tag!r} in {cache.alias}?", yes)
        used = cache.delete_tags(tag)
        self.stdout.write("Dropped." if used else "The tag is not in use.")

    def _clear(self, cache: CallCache, row: CacheOperation) -> None:
        claimed = claim(row.pk, cache)
        if claimed is None:
            raise CommandError(f"Somebody else works on operation {row.pk}, or it has ended.", returncode=1)
        try:
            with tqdm(
                total=row.expected, desc="deleting", unit="key", file=self.stderr, disable=None, leave=False
            ) as bar:
                claimed.run(progress=lambda row: bar.update(row.deleted - bar.n))
        except KeyboardInterrupt:
            claimed.interrupt()
            deleted = claimed.operation.deleted
            message = f"Interrupted after {deleted} keys; --operation {row.pk} goes on with the rest."
            raise CommandError(message, returncode=1) from None
        self._report(claimed)

    def _report(self, claimed: Clearing) -> None:
        row = claimed.operation
        if row.outcome == Outcome.OK:
            self.stdout.write(f"Deleted {row.deleted} keys.")
        elif row.error:
            raise CommandError(f"Deleted {row.deleted} keys, then Redis failed: {row.error}", returncode=1)
        else:
            raise CommandError(f"Deleted {row.deleted} keys, then it ended: {row.outcome}.", returncode=1)

    def _ask(self, question: str, yes: bool) -> None:
        if yes:
            return
        try:
            answer = input(f"{question} Type yes: ")
        except EOFError:
            raise CommandError("Nobody answers; --yes goes on without asking.", returncode=2) from None
        if answer.strip().lower() != "yes":
            raise CommandError("Nothing was deleted.", returncode=1)


def _found(number: int) -> CacheOperation:
    """The deletion of a number, ready to be claimed."""
    row: CacheOperation | None = CacheOperation.objects.clearings().filter(pk=number).first()
    if row is None:
        raise CommandError(f"There is no deletion with the number {number}.", returncode=2)
    if row.can_be_resumed:
        reopen(row)
    return row


def _begun(target: Target, expected: int, reason: str) -> CacheOperation:
    """The row of a deletion that this command begins, in the name of the account it runs under."""
    return CacheOperation.objects.create(
        username=account(),
        kind=CacheOperation.Kind.CLEAR,
        scope=target.scope,
        alias=target.alias,
        pattern=target.text,
        expected=expected,
        reason=reason[:500],
        outcome=Outcome.WAITING,
    )
