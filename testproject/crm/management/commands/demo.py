"""`manage.py demo`: the whole system at work, on private servers."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from importlib.util import find_spec
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string

from testproject.demo.launch import launch
from testproject.demo.options import DemoOptions
from testproject.demo.stopping import STOPPED, stoppable
from testproject.parts.child import StartFailed
from testproject.parts.missing import PartMissing

HELP = """\
Show the whole system at work on this machine.

Starts a private Redis and a private PostgreSQL with the remote schema, loads 41,188 real
telephone calls, starts the site and the sync loop, and plays the calls through the site
over HTTP, while you look around in the admin. Nothing that runs already is touched;
everything the demo starts ends with it, files included.

With --seconds it ends by itself with a summary: exit code 0 if every promise was kept,
1 if not. Without, the site stays up until Ctrl-C.
"""

EXAMPLES = """\
examples:
  python manage.py demo --seconds 60          one minute, then the summary
  python manage.py demo --speed 5             five calls a second, until Ctrl-C
  python manage.py demo --port 8000           the site on a port of your choice
"""

PACKAGES = ("psycopg", "gunicorn")
"""What the demo imports beside the project's own dependencies."""


def above_zero(text: str) -> float:
    """Read a number above zero."""
    number = float(text)
    if number <= 0:
        raise ArgumentTypeError(f"{text} is not above 0")
    return number


def count(text: str) -> int:
    """Read a whole number above zero."""
    number = int(text)
    if number <= 0:
        raise ArgumentTypeError(f"{text} is not above 0")
    return number


class Command(BaseCommand):
    help = HELP
    # The checks are for the demo's own processes, whose settings know the private servers.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Keep the lines of the help as they are."""
        parser = super().create_parser(prog_name, subcommand, epilog=EXAMPLES, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--seconds", type=above_zero, metavar="N", help="end after about N seconds, with a summary"
        )
        parser.add_argument(
            "--port", type=int, default=0, metavar="P", help="TCP port of the site (default: a free one)"
        )
        parser.add_argument(
            "--calls", type=count, metavar="N", help="load and play the first N calls only (default: all)"
        )
        parser.add_argument(
            "--speed", type=above_zero, metavar="N", help="play N calls a second at most (default: no bound)"
        )

    def handle(
        self, *, seconds: float | None, port: int, calls: int | None, speed: float | None, **options: Any
    ) -> None:
        demo = DemoOptions(began_at=time.time(), seconds=seconds, port=port, calls=calls, speed=speed)
        _ensure_installed()
        # It imports psycopg, which only the demo needs.
        demo_parts = import_string("testproject.demo.parts.demo_parts")
        try:
            with stoppable(), demo_parts(demo.sync_interval, self._say) as environment:
                code = launch(demo, environment)
        except (PartMissing, StartFailed) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            code = STOPPED
        if code:
            sys.exit(code)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _ensure_installed() -> None:
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        names = " and ".join(missing)
        raise CommandError(f'The demo needs {names}. Install it with: python -m pip install -e ".[demo]"')
