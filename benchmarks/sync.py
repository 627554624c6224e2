"""How fast entries reach the remote store and come back from it: by PostgreSQL, and by the Supabase client.

The bars: at least 10,000 rows a second pushed directly and 5,000 through the client, in batches of 500.
The client speaks to `@supabase/lite`, one process of Node; a hosted project is another server, and far away.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django

from benchmarks.contenders import CAMPAIGN
from benchmarks.machine import describe, lines
from testproject.parts.postgres_server import SUPABASE_ROLES, PostgresServer
from testproject.parts.redis_server import RedisServer
from tests.supalite.supalite import SupaLite

SCHEMA = Path(__file__).parents[1] / "django_callcache/sync/sql/001_callcache.sql"
BARS = {"postgres": 10_000, "supabase": 5_000}
"""Rows a second pushed, at least."""


def main() -> int:
    """Measure both ways; return 0 if the bars hold."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5000, help="entries in a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that warms")
    options = parser.parse_args()
    with ExitStack() as parts:
        redis = parts.enter_context(RedisServer())
        postgres = parts.enter_context(PostgresServer(roles=SUPABASE_ROLES, sql_files=[SCHEMA]))
        lite = parts.enter_context(SupaLite(postgres.url))
        folder = parts.enter_context(tempfile.TemporaryDirectory())
        _configure(redis.url, postgres.url, folder)
        print(lines(describe(redis.url, "not pinned: four servers share the machine")))
        stores = _stores(parts, lite)
        missed = [_measure(name, store, options) for name, store in stores.items()]
        return int(any(missed))


def _configure(redis_url: str, postgres_url: str, folder: str) -> None:
    import environ
    from django.conf import settings

    rules = {"CALLCACHE": {"RULES": {"call:": {"sync": "lww", "ttl": 3600}}, "NEAR": False}}
    own = {"BACKEND": "django_callcache.cache.CallCache", "LOCATION": redis_url, "OPTIONS": rules}
    settings.configure(
        SECRET_KEY="a benchmark has no secrets to keep",
        USE_TZ=True,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_callcache"],
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(folder, "site.sqlite3")},
            "supabase": environ.Env.db_url_config(postgres_url),
        },
        CACHES={"default": {**own, "KEY_PREFIX": "one"}},
        CALLCACHE={"SYNC": {"REMOTE": "postgres", "DATABASE": "supabase", "NAMESPACE": "benchmark"}},
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", database="default", verbosity=0)


def _stores(parts: ExitStack, lite: SupaLite) -> dict[str, Any]:
    from django_callcache.sync.postgres import PostgresStore
    from django_callcache.sync.supabase import SupabaseStore

    stores = {"postgres": PostgresStore("supabase"), "supabase": SupabaseStore(lite.url, lite.secret_key)}
    for store in stores.values():
        parts.callback(store.close)
    return stores


def _measure(name: str, store: Any, options: argparse.Namespace) -> bool:
    """Print the rates of one way; tell whether it misses its bar."""
    from django.core.cache import caches

    from django_callcache.maintenance import run_once

    pushed, pulled = [], []
    for number in range(options.rounds + 1):
        rows = {f"call:{name}:{number}:{row}": {**CAMPAIGN, "id": row} for row in range(options.rows)}
        caches["default"].set_many(rows)
        began = time.perf_counter()
        report = run_once("default", remote=store)
        pushed.append(report.sync.pushed / (time.perf_counter() - began))
        assert report.sync.pushed == options.rows, report
        caches["default"].redis_client().flushdb()
        pulled.append(_pull_rate(store))
    rates = (statistics.median(pushed[1:]), statistics.median(pulled[1:]))
    print(f"{name:9} pushed {rates[0]:9,.0f} rows/s, pulled {rates[1]:9,.0f} rows/s", flush=True)
    return rates[0] < BARS[name]


def _pull_rate(store: Any) -> float:
    """Pull everything there is into an empty Redis."""
    from django_callcache.maintenance import run_once

    began = time.perf_counter()
    report = run_once("default", remote=store, take_over=True)
    assert report.sync is not None
    assert not report.errors, report.errors
    return report.sync.pulled / (time.perf_counter() - began)


if __name__ == "__main__":
    raise SystemExit(main())
