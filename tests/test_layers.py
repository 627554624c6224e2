"""The floors of the package: an import points down, and the hot side stays light.

Reads the imports with ``ast``; nothing of the package is executed.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "django_callcache"

FLOORS = (
    {
        "redis_keys",
        "conf",
        "exceptions",
        "signals",
        "models",
        "loop",
        "lua",
        "failpoints",
        "interruptions",
        "ttl",
        "key_templates",
    },
    {"codec", "outbox", "alerts"},
    {"cache", "stats", "sync", "training", "rotation", "warm"},
    {
        "service",
        "decorators",
        "checks",
        "metrics",
        "admin",
        "maintenance",
        "replication",
        "contrib",
        "templatetags",
        "orm",
        "live",
        "doctor",
        "acl",
        "audit",
        "clearing",
        "pinning",
        "watch",
        "tables",
    },
    {"apps", "views", "management", "migrations", "asgi"},
    {"urls"},
)
SIDE_BY_SIDE = FLOORS[2]
TOO_HEAVY_FOR_THE_HOT_SIDE = {
    "django_callcache.models", "django_prometheus", "prometheus_client",
    "aiohttp", "http", "httpx", "postgrest", "requests", "supabase", "urllib3",
}  # fmt: skip
FACES = {
    "supabase": "sync.supabase",
    "postgrest": "sync.supabase",
    "httpx": "sync.supabase",
    "psycopg": "sync.postgres",
    "cryptography": "codec.encryption",
    "prometheus_client": "metrics",
    "django_prometheus": "metrics",
    "health_check": "contrib.health",
    "opentelemetry": "contrib.tracing",
}
"""The one module that may import an optional library."""


class Import(NamedTuple):
    module: str
    names: tuple[str, ...]
    function: str
    line: int


class TestFloors:
    def test_imports__point_down(self):
        """Every import of the package obeys the floors."""
        assert list(problems(PACKAGE)) == []

    @pytest.mark.parametrize(
        ("module", "line", "sentence"),
        [
            ("redis_keys", "from django_callcache.codec import KeyRing", "points up"),
            ("cache/planted", "from django_callcache.sync import sync_pass", "side by side"),
            ("cache/planted", "from django_callcache.models import CacheStat", "cache/ reaches"),
            ("codec/planted", "import httpx", "cache/ reaches"),
            ("outbox/planted", "def f():\n    import json", "inside a function"),
            ("stats/planted", "import supabase", "has its face in sync.supabase"),
            ("planted", "import json", "stands on no floor"),
            ("ttl/planted", "from django_callcache.ttl import planted", "a circle"),
        ],
    )
    def test_imports__one_planted_wrong_import(self, tmp_path, module, line, sentence):
        """One wrong import anywhere is found."""
        copy = shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / f"{module}.py"
        file.parent.mkdir(exist_ok=True)
        (file.parent / "__init__.py").touch()
        (copy / "cache").mkdir(exist_ok=True)
        (copy / "cache/reader.py").write_text("import django_callcache.codec.planted\n")
        with file.open("a") as planted:
            planted.write(f"\n{line}\n")
        assert any(sentence in problem for problem in problems(copy))


def problems(package: Path) -> Iterator[str]:
    """Yield a sentence for each import that breaks a rule."""
    imports = {name_of(file, package): list(imports_of(file)) for file in sorted(package.rglob("*.py"))}
    graph = {name: set(targets(found, package)) for name, found in imports.items()}
    for name, found in imports.items():
        yield from problems_of_one(name, found, graph[name])
    hot = {name for start in graph if unit_of(start) == "cache" for name in loaded(start, graph)}
    for name in sorted(hot):
        libraries = {one.module.split(".")[0] for one in imports.get(name, ())} | {f"django_callcache.{name}"}
        for heavy in sorted(libraries & TOO_HEAVY_FOR_THE_HOT_SIDE):
            yield f"{name}: cache/ reaches {heavy}"
    for name in graph:
        if any(name in reached(target, graph) for target in graph[name]):
            yield f"{name} imports itself by a circle"


def problems_of_one(name: str, found: list[Import], own: set[str]) -> Iterator[str]:
    """Yield what is wrong with the imports of one module."""
    if name and floor_of(name) == 0:
        yield f"{name} stands on no floor"
    for target in sorted(own - {""}):
        if floor_of(target) > floor_of(name):
            yield f"{name} imports {target}: points up"
        if {unit_of(name), unit_of(target)} <= SIDE_BY_SIDE and unit_of(name) != unit_of(target):
            yield f"{name} imports {target}: they stand side by side"
    for one in found:
        library = one.module.split(".")[0]
        if FACES.get(library, name) != name:
            yield f"{name}:{one.line} imports {library}, which has its face in {FACES[library]}"
        if one.function and library not in FACES and (name, one.function) != ("apps", "ready"):
            yield f"{name}:{one.line} imports {one.module} inside a function"


def imports_of(file: Path) -> Iterator[Import]:
    """Yield the imports of a file with the function each stands in, if any."""

    def walk(node: ast.AST, function: str) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(one.name, (), function, child.lineno) for one in child.names)
            elif isinstance(child, ast.ImportFrom):
                names = tuple(one.name for one in child.names)
                yield Import(child.module or "", names, function, child.lineno)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from walk(child, child.name if inside else function)

    return walk(ast.parse(file.read_text()), "")


def targets(found: list[Import], package: Path) -> Iterator[str]:
    """Yield the modules of the package that imports name."""
    for one in found:
        top, _, dotted = one.module.partition(".")
        if top == PACKAGE.name:
            for name in one.names or ("",):
                inner = f"{dotted}.{name}".strip(".")
                yield inner if is_module(inner, package) else dotted


def is_module(name: str, package: Path) -> bool:
    """Tell whether a name stands for a file or folder rather than for something in one."""
    stem = package.joinpath(*name.split("."))
    return stem.is_dir() or stem.with_suffix(".py").exists()


def loaded(start: str, graph: dict[str, set[str]]) -> set[str]:
    """Return what the import of a module runs, the packages on the way included."""
    seen = reached(start, graph)
    while packages := {name.rpartition(".")[0] for name in seen} - seen:
        seen = seen.union(*(reached(name, graph) for name in packages))
    return seen


def reached(start: str, graph: dict[str, set[str]]) -> set[str]:
    """Return a module and all that it imports by name, directly or not."""
    seen, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(graph.get(name, ()))
    return seen


def name_of(file: Path, package: Path) -> str:
    """Return a file's dotted name below the package, empty for the package itself."""
    return ".".join(file.relative_to(package).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def unit_of(name: str) -> str:
    """Return the file or folder of the package that a module belongs to."""
    return name.split(".")[0]


def floor_of(name: str) -> int:
    """Return the floor a module stands on, 0 where none is known."""
    return next((number for number, units in enumerate(FLOORS, 1) if unit_of(name) in units), 0)
