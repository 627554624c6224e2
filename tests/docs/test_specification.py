"""The page that goes through the specification names everything in it, and tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/specification.md").read_text()
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!specification|---)", line)]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py::[\w:]+)`", PAGE)))

CLASS = [
    "__init__", "sync_interval", "sync_task", "_running", "settings", "hourly_access_stats",
    "get", "set", "delete", "start_sync", "stop_sync", "_sync_loop", "_sync_to_supabase", "_get_keys_to_sync",
    "sync_to_supabase", "_get_adaptive_ttl", "_is_peak_hour", "_record_access", "get_metrics", "clear",
    "get_from_cache", "set_in_cache", "delete_from_cache", "clear_cache", "get_cache_metrics",
    "CacheMetrics", "hit_count", "miss_count", "hit_rate", "memory_usage_bytes", "keys_count", "last_sync",
    "startup_event", "shutdown_event", "CampaignService", "get_campaign", "cache_prefix", "from_table",
    "HTTPException",
]  # fmt: skip
SETTINGS = [
    "USAGE_THRESHOLD` 50", "DEFAULT_TTL` 3600", "PEAK_TTL` 1800", "DEFAULT_CACHE_SIZE` 1000",
    "PEAK_CACHE_SIZE` 2000", "hour`, `count`, `keys`, `date", "REDIS_URL", "REDIS_PASSWORD",
    "REDIS_CACHE_TTL` 3600", "REDIS_MAX_CONNECTIONS` 10", "REDIS_POOL_TIMEOUT` 30",
    "REDIS_SYNC_INTERVAL` 300",
]  # fmt: skip
COMMANDS = ["redis-cli monitor", "redis-cli info", "redis-cli flushdb", 'redis-cli keys "*"']
FUNCTIONS = [
    "Almacenamiento y recuperación", "Invalidación", "Gestión de TTL", "Compresión",
    "Sincronización periódica",
    "Sincronización bajo demanda", "Resolución de conflictos", "Caché adaptativa", "Precarga",
    "Estadísticas de uso", "Métricas de rendimiento", "Alertas", "Exportación de métricas",
]  # fmt: skip
CONSIDERATIONS = [
    "Tamaño de caché", "TTL", "Patrones de invalidación", "Serialización", "Autenticación", "Cifrado",
    "Aislamiento", "Validación", "Límites",
]  # fmt: skip
PROBLEMS = [
    "Alta tasa de fallos", "Uso excesivo de memoria", "Latencia alta", "Errores de sincronización",
]  # fmt: skip


class TestSpecification:
    def test_names__all_there(self):
        """Each name of the specification stands in the first column of a row."""
        names = [*CLASS, *SETTINGS, *COMMANDS]
        columns = "\n".join(map(first, ROWS))
        assert [name for name in names if not re.search(rf"`{re.escape(name)}(?:\b|`)", columns)] == []

    def test_words__all_there(self):
        """So does each function, consideration and problem, in the specification's own words."""
        columns = "\n".join(map(first, ROWS))
        assert [
            words for words in [*FUNCTIONS, *CONSIDERATIONS, *PROBLEMS] if f"*{words}*" not in columns
        ] == []

    def test_problems__three_causes(self):
        """Each problem has its three causes, a row each."""
        for problem in PROBLEMS:
            found = next(index for index, row in enumerate(ROWS) if f"*{problem}*" in row)
            assert not any("*" in first(row) for row in ROWS[found + 1 : found + 3])

    def test_rows__proved(self):
        """Each row names a test."""
        assert [
            row for row in ROWS if not re.search(r"`[\w/]+\.py::[\w:]+` \|$|`[\w/]+\.py::[\w:]+`,", row)
        ] == []

    def test_tests__exist(self):
        """Each test that is named exists, and is not among those that run only when asked for."""
        assert len(NAMED) > 80
        for path, kind, method in (test.split("::") for test in NAMED):
            assert method in methods(path).get(kind, ()), f"{path}::{kind}::{method}"


def first(row):
    """The first column of a row."""
    return row.split(" | ")[0]


@cache
def methods(path):
    """The tests of a file that run by default, by class."""
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {
        node.name: {
            each.name
            for each in node.body
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and not is_long(each)
        }
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not is_long(node)
    }


def is_long(node):
    """Whether a class or a test is marked to run only when asked for."""
    return any(ast.unparse(mark) == "pytest.mark.long" for mark in node.decorator_list)
