"""Print the SQL that makes the remote store, or lets business tables tell of changes; or run it."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections, transaction
from django.utils import timezone
from django.utils.connection import ConnectionDoesNotExist

from django_callcache.conf import TableSource, get_settings, stated_sources

SCHEMA, ATTACH = "callcache", "callcache_attach"
"""Names of migrations."""


class Command(BaseCommand):
    """Prints SQL, writes it where a tool looks for it, or runs it."""

    help = (
        "Print the SQL that makes the tables and functions of the remote store. It may be run again. "
        "Run it in the SQL editor of Supabase, as a migration, or with psql; or let --apply run it. "
        "With --attach: the SQL that lets the tables which rules have as sources tell of their changes."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--attach",
            action="store_true",
            help="Not the tables of the remote store: triggers on those that rules name as sources.",
        )
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--output", type=Path, metavar="FILE", help="Write it to a file instead.")
        where.add_argument(
            "--supabase-migration",
            type=Path,
            nargs="?",
            const=Path("supabase/migrations"),
            metavar="FOLDER",
            help="Write it to a new migration of the Supabase CLI (default folder: %(const)s).",
        )
        where.add_argument(
            "--apply",
            nargs="?",
            const="",
            metavar="DATABASE",
            help='Run it in a database of DATABASES (default: CALLCACHE["SYNC"]["DATABASE"]).',
        )

    def handle(
        self,
        *,
        attach: bool,
        output: Path | None,
        supabase_migration: Path | None,
        apply: str | None,
        **options: Any,
    ) -> None:
        sql = attaching_sql() if attach else migration_sql()
        if apply is not None:
            database = apply or get_settings().sync.database
            run(sql, database)
            self._tell(f"Applied to {database}", options)
            return
        if supabase_migration is not None:
            name = ATTACH if attach else SCHEMA
            output = supabase_migration / f"{timezone.now():%Y%m%d%H%M%S}_{name}.sql"
        if output is None:
            self.stdout.write(sql, ending="")
            return
        try:
            if supabase_migration is not None:
                supabase_migration.mkdir(parents=True, exist_ok=True)
            output.write_text(sql, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"Cannot write {output}: {error.strerror}", returncode=2) from error
        self._tell(f"Wrote {output}", options)

    def _tell(self, what: str, options: dict[str, Any]) -> None:
        if options["verbosity"] > 0:
            self.stdout.write(what)


def migration_sql() -> str:
    """Return the SQL of the remote store."""
    folder = files("django_callcache.sync") / "sql"
    parts = sorted(
        (part for part in folder.iterdir() if part.name.endswith(".sql")), key=lambda part: part.name
    )
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)


def attaching_sql() -> str:
    """Return the SQL that lets tables tell of their changes, those of rules that do not poll.

    Raises:
        CommandError: No rule names one.
    """
    columns: dict[str, set[str]] = defaultdict(set)
    for each in stated_sources(TableSource):
        if each.source.changed_at is None:
            columns[f'"{each.source.schema}"."{each.source.name}"'].add(each.source.by)
    if not columns:
        raise CommandError("No rule has a table as source that is not polled.", returncode=2)
    calls = (
        f"select public.callcache_attach('{table}', {quoted(names)});"
        for table, names in sorted(columns.items())
    )
    return "-- django_callcache: tables that tell of their changes.\n\n" + "\n".join(calls) + "\n"


def quoted(names: Iterable[str]) -> str:
    """Return names, which settings have checked, as literals."""
    return ", ".join(f"'{name}'" for name in sorted(names))


def run(sql: str, database: str) -> None:
    """Run SQL in one transaction.

    Raises:
        CommandError: The database is none, or refuses.
    """
    try:
        vendor = connections[database].vendor
        if vendor != "postgresql":
            raise CommandError(f"The database {database!r} is no PostgreSQL but {vendor}.", returncode=2)
        with transaction.atomic(database), connections[database].cursor() as cursor:
            cursor.execute(sql)
    except ConnectionDoesNotExist as error:
        raise CommandError(f"DATABASES has no {database!r}: name one.", returncode=2) from error
    except DatabaseError as error:
        raise CommandError(f"The database {database!r} refuses: {error}", returncode=1) from error
