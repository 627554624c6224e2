"""`manage.py loadcalls`: the data set into the database."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from testproject.crm.loading import TOTAL_CALLS, empty_tables, load_calls
from testproject.crm.models import Call
from testproject.progress import progress


class Command(BaseCommand):
    help = "Load the 41,188 real calls of the data set, with their campaigns and contacts."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--limit", type=int, metavar="N", help="load the first N calls only")
        parser.add_argument(
            "--replace", action="store_true", help="first remove every campaign, contact and call there is"
        )

    def handle(self, *, limit: int | None, replace: bool, **options: Any) -> None:
        if replace:
            empty_tables()
        elif Call.objects.exists():
            raise CommandError("There are calls already; --replace removes them first.")
        total = min(limit, TOTAL_CALLS) if limit is not None else TOTAL_CALLS
        with progress("Loading calls", total, self.stderr) as shown:
            loaded = load_calls(limit=limit, on_progress=shown.update)
        self.stdout.write(
            f"Loaded {loaded.calls:,} calls of {loaded.contacts:,} contacts in {loaded.campaigns} campaigns."
        )
