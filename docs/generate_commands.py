"""Write ``docs/commands.md`` from the commands' own help.

python docs/generate_commands.py           # write it
python docs/generate_commands.py --check   # exit with 1 if it is not current
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import django
from django.core.management import BaseCommand, load_command_class

TARGET = Path(__file__).with_name("commands.md")
ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ROOT / "django_callcache/management/commands"
HEAD = """<!-- Written by docs/generate_commands.py from the commands. Change their help. -->

# Commands

Each is `python manage.py` and its name, and tells the same by `--help`. Django's own options (`--verbosity`,
`--settings`, `--no-color` and the like) work with all. The exit code is 0 when all is done, 1 when it failed,
2 for wrong usage or configuration, unless a command says more.
"""


def main() -> int:
    """Write the page, or compare it with what it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    django.setup()
    page = "\n".join([HEAD, *map(section, names())])
    if not arguments.check:
        TARGET.write_text(page)
    elif TARGET.read_text() != page:
        sys.stderr.write("docs/commands.md is not current: run `python docs/generate_commands.py`\n")
        return 1
    return 0


def names() -> list[str]:
    """The names of the commands."""
    return sorted(path.stem for path in COMMANDS.glob("[a-z]*.py"))


def section(name: str) -> str:
    """What the page says of one command."""
    command = load_command_class("django_callcache", name)
    parser = command.create_parser("manage.py", name)
    lines = [f"## {name}", "", flowing(str(parser.description or "")), ""]
    rows = list(options(parser))
    if rows:
        lines += ["| option | what it does |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """A row for each option that is not Django's."""
    usual = {action.dest for action in BaseCommand().create_parser("manage.py", "x")._actions}
    for action in parser._actions:
        if action.dest not in usual and action.help is not argparse.SUPPRESS:
            told = (action.help or "") % {**vars(action), "prog": parser.prog}
            yield f"| {spelling(action)} | {flowing(told)} |"


def spelling(action: argparse.Action) -> str:
    """How an option is written."""
    value = ""
    if action.nargs != 0:
        metavar = action.metavar or (
            "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
        )
        value = str(metavar if isinstance(metavar, str) else " ".join(metavar))
        value = f"{value} ..." if action.nargs in ("*", "+") else value
    written = action.option_strings[-1:] or [""]
    return "`" + f"{written[0]} {value}".strip().replace("|", "\\|") + "`"


def flowing(text: str) -> str:
    """A help text as a paragraph; what Markdown would take for markup stays text."""
    return re.sub(r"([<*_|])", r"\\\1", re.sub(r"\s+", " ", text)).strip()


if __name__ == "__main__":
    sys.exit(main())
