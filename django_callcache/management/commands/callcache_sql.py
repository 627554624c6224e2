"""Print the SQL that makes the remote store."""

from __future__ import annotations

from argparse import ArgumentParser
from importlib.resources import files
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

NAME = "callcache"


class Command(BaseCommand):
    """Prints the migration, or writes it where a tool looks for it."""

    help = (
        "Print the SQL that makes the tables and functions of the remote store. It may be run again. "
        "Run it in the SQL editor of Supabase, as a migration, or with psql."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
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

    def handle(self, *, output: Path | None, supabase_migration: Path | None, **options: Any) -> None:
        sql = migration_sql()
        if supabase_migration is not None:
            output = supabase_migration / f"{timezone.now():%Y%m%d%H%M%S}_{NAME}.sql"
        if output is None:
            self.stdout.write(sql, ending="")
            return
        try:
            if supabase_migration is not None:
                supabase_migration.mkdir(parents=True, exist_ok=True)
            output.write_text(sql, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"Cannot write {output}: {error.strerror}", returncode=2) from error
        if options["verbosity"] > 0:
            self.stdout.write(f"Wrote {output}")


def migration_sql() -> str:
    """Return the SQL of the remote store."""
    folder = files("django_callcache.sync") / "sql"
    parts = sorted(
        (part for part in folder.iterdir() if part.name.endswith(".sql")), key=lambda part: part.name
    )
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)
