"""Write ``docs/settings.md`` from its template and the dataclasses that settings are read into.

python docs/generate_settings.py           # write it
python docs/generate_settings.py --check   # exit with 1 if it is not current
"""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from string import Template
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from django_callcache.conf import (
    AlertRule,
    CacheOptions,
    ChannelSettings,
    InvalidationRule,
    ModelSource,
    PrefixRule,
    Settings,
    TableSource,
)
from django_callcache.conf import environment as environment_module
from django_callcache.conf.parsing import UNSET, Bounds, Unset, setting_types

TARGET = Path(__file__).with_name("settings.md")
TEMPLATE = Path(__file__).with_name("settings.md.in")

OPTIONS = 'CACHES[alias]["OPTIONS"]["CALLCACHE"]'

HEAD = "| name | type | default | environment | what it does |\n| --- | --- | --- | --- | --- |\n"

DECIDED_ELSEWHERE = {
    ("TtlSettings", "time_zone"): "Django's `TIME_ZONE`",
    ("TtlSettings", "peak_ttl"): "`1800.0`, or `DEFAULT_TTL` if that is less",
    ("Settings", "secrets"): "`SECRET_KEY`, `SECRET_KEY_FALLBACKS`",
    ("Settings", "invalidate"): "`{}`",
    ("ModelSource", "model"): "needed",
    ("TableSource", "table"): "needed",
    ("CacheOptions", "alias"): "the alias",
    ("CacheOptions", "rules"): "`{}`",
    ("AlertSettings", "rules"): "`{}`: all as shipped",
    ("AlertSettings", "channels"): "the log",
    **{
        ("AlertRule", name): "the rule's"
        for name in ("threshold", "clear", "after", "clear_after", "severity")
    },
}
"""Defaults that a dataclass alone does not tell."""

WORDS: dict[Any, str] = {
    bool: "True or False",
    int: "whole number",
    float: "number",
    str: "text",
    NoneType: "None",
}


def main() -> int:
    """Write the reference, or tell whether it is current."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if it is not current"
    )
    if not parser.parse_args().check:
        TARGET.write_text(reference())
        return 0
    if TARGET.exists() and TARGET.read_text() == reference():
        return 0
    sys.stderr.write(f"{TARGET.name} is not current: run `python docs/generate_settings.py`.\n")
    return 1


def reference() -> str:
    """The whole page."""
    parts = {name: kind for name, kind in setting_types(Settings).items() if is_dataclass(kind)}
    sections = [section("CALLCACHE", Settings)]
    sections += [section(f'CALLCACHE["{name.upper()}"]', kind) for name, kind in parts.items()]
    sections += [
        section('CALLCACHE["INVALIDATE"][model]', InvalidationRule, spell=str.lower),
        section('CALLCACHE["ALERTS"]["RULES"][name]', AlertRule),
        section('CALLCACHE["ALERTS"]["CHANNELS"][name]', ChannelSettings),
        section(OPTIONS, CacheOptions),
        section(f'{OPTIONS}["RULES"][prefix]', PrefixRule, spell=str.lower),
        section(f'{OPTIONS}["RULES"][prefix]["source"]', ModelSource, " of a model", spell=str.lower),
        section(f'{OPTIONS}["RULES"][prefix]["source"]', TableSource, " of a table", spell=str.lower),
    ]
    rows = [f"| `{name}` | {default} | {setting} |\n" for name, default, setting in variables()]
    return Template(TEMPLATE.read_text()).substitute(sections="".join(sections), variables="".join(rows))


def section(title: str, kind: type[Any], words: str = "", *, spell: Callable[[str], str] = str.upper) -> str:
    """One dataclass: its own text, and a row for each of its settings."""
    rows = "".join(f"| {' | '.join(row)} |\n" for row in rows_of(kind, spell))
    return f"\n## `{title}`{words}\n\n{inspect.getdoc(kind)}\n\n{HEAD}{rows}".replace("``", "`")


def rows_of(kind: type[Any], spell: Callable[[str], str]) -> Iterator[tuple[str, ...]]:
    """The cells of each setting that is a single value or a table of its own."""
    texts = field_texts(kind)
    defaults = {field.name: field.default for field in fields(kind)}
    for name, hint in setting_types(kind).items():
        is_section = is_dataclass(hint)
        yield (
            f"`{spell(name)}`",
            "dict" if is_section else type_in_words(hint, name),
            "" if is_section else default_in_words(kind, name, defaults[name]),
            environment_of(kind, name),
            texts[name],
        )


@cache
def field_texts(kind: type[Any]) -> dict[str, str]:
    """The text beneath each field of a dataclass."""
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    return {
        statement.target.id: " ".join(ast.literal_eval(text.value).split())
        for statement, text in pairwise(body)
        if isinstance(statement, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def type_in_words(hint: Any, name: str = "") -> str:
    """What a value may be."""
    if name in ("rules", "invalidate", "channels", "source"):
        return "dict"
    if get_origin(hint) is Annotated:
        base, *marks = get_args(hint)
        bounds = [f", {mark}" for mark in marks if isinstance(mark, Bounds) and base in (int, float)]
        return type_in_words(base) + "".join(bounds)
    if get_origin(hint) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return "list of texts"
    if hint in WORDS:
        return WORDS[hint]
    members = [member for member in get_args(hint) if member is not Unset]
    if not members or callable in (hint, get_origin(hint)) or get_origin(hint) is Callable:
        return "callable"
    return " or ".join(type_in_words(member) for member in members)


def default_in_words(kind: type[Any], name: str, default: object) -> str:
    """The default, as one would write it."""
    if (kind.__name__, name) in DECIDED_ELSEWHERE:
        return DECIDED_ELSEWHERE[kind.__name__, name]
    if default is UNSET or default is MISSING:
        return "not set"
    return f"`{list(default) if isinstance(default, tuple) else default!r}`"


def environment_of(kind: type[Any], name: str) -> str:
    """The variable that becomes a setting, if one does."""
    sections = {section: f"{name.upper()}." for name, section in setting_types(Settings).items()}
    path = sections.get(kind, "") + name.upper()
    is_option = kind is CacheOptions or kind in sections
    found = [variable for variable, setting in environment_module.SETTINGS.items() if setting == path]
    return f"`{found[0]}`" if found and is_option else ""


def variables() -> Iterator[tuple[str, str, str]]:
    """Every variable with its default and the setting that it becomes."""
    for name, setting in environment_module.SETTINGS.items():
        default = environment_module.DEFAULTS.get(name)
        path = (
            setting if setting.startswith("CACHES") else f'CACHES[alias]["OPTIONS"]["CALLCACHE"]["{setting}"]'
        )
        if "." in setting:
            path = "CALLCACHE" + "".join(f'["{part}"]' for part in setting.split("."))
        yield (
            name,
            "required" if name == "REDIS_URL" else f"`{default:g}`" if default else "not set",
            f"`{path}`",
        )


if __name__ == "__main__":
    sys.exit(main())
