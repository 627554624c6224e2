"""The servers of one demo, and the environment that tells the sample project about them."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import django_callcache.sync
from testproject.parts.child import directory_for
from testproject.parts.postgres_server import PostgresServer, find_postgres
from testproject.parts.redis_server import RedisServer, find_redis_server

SCHEMA = Path(django_callcache.sync.__file__).parent / "sql" / "001_callcache.sql"
OURS = ("REDIS_", "SUPABASE_", "CALLCACHE_POSTGRES_URL")
"""Beginnings of names that settings of the user's own may have; the demo must not meet them."""


@contextmanager
def demo_parts(sync_interval: float, say: Callable[[str], object]) -> Iterator[dict[str, str]]:
    """Run a Redis and a PostgreSQL with the remote schema; yield the environment for the demo's processes.

    Args:
        sync_interval: Seconds between two passes of the sync loop.
        say: Takes a line about what starts.

    Raises:
        PartMissing: One of them is not to be had on this machine.
    """
    directory = directory_for("demo")
    try:
        with (
            RedisServer(append_only=True, password=secrets.token_urlsafe(24)) as redis,
            PostgresServer(sql_files=[SCHEMA]) as postgres,
        ):
            say(f"Redis on port {redis.port} ({find_redis_server()})")
            say(f"PostgreSQL on port {postgres.port}, with the remote schema ({find_postgres()})")
            inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
            yield inherited | {
                "DJANGO_SETTINGS_MODULE": "testproject.settings",
                "REDIS_URL": redis.url,
                "REDIS_SYNC_INTERVAL": f"{sync_interval:g}",
                "CALLCACHE_POSTGRES_URL": postgres.url,
                "SAMPLE_DATABASE": str(directory / "crm.sqlite3"),
                "SAMPLE_SECRET_KEY": secrets.token_urlsafe(48),
                "SAMPLE_DEBUG": "0",
            }
    finally:
        shutil.rmtree(directory, ignore_errors=True)
