"""Server time of the admin pages over a long history: 90 days of 200 prefixes, 432,000 rows, warm.

Django is imported by the functions that need it, once its settings have their servers.
The bar: the median of every page is at most 300 ms, on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import argparse
import datetime
import os
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import django
from django.conf import settings

from testproject.parts.postgres_server import PostgresServer
from testproject.parts.redis_server import RedisServer

BAR_MS = 300
PREFIXES = 200
DAYS = 90
HOME = "/admin/django_callcache/dashboard/"
PAGES = (
    f"{HOME}?period=1h",
    f"{HOME}?period=24h",
    f"{HOME}?period=7d",
    f"{HOME}?period=30d",
    f"{HOME}prefixes/?period=7d",
    f"{HOME}prefixes/?period=30d",
    f"{HOME}prefix/?prefix=prefix003:&period=30d",
    f"{HOME}keys/",
    f"{HOME}keys/?q=prefix003",
    f"{HOME}key/?key=prefix003:1",
    f"{HOME}server/",
    f"{HOME}clear/?alias=default&scope=prefix&text=prefix003:",
    "/admin/django_callcache/cachestat/",
    "/admin/django_callcache/cachestat/?period=7d&prefix=prefix003:",
    "/admin/django_callcache/syncrun/",
    "/admin/django_callcache/cacheoperation/",
)


def main() -> int:
    """Measure on one database; return 0 if the bar holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--rounds", type=int, default=9, help="times each page is asked for, after one that warms"
    )
    options = parser.parse_args()
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
        os.environ["REDIS_URL"] = parts.enter_context(RedisServer()).url
        os.environ["SAMPLE_DATABASE"] = str(folder / "admin.sqlite3")
        os.environ["SAMPLE_DEBUG"] = "0"
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
        if options.database == "postgresql":
            settings.DATABASES["default"] = _postgresql(parts.enter_context(PostgresServer()).url)
        django.setup()
        print(
            f"{options.database}, {PREFIXES * DAYS * 24:,} rows, median and worst of {options.rounds}, in ms"
        )
        _fill()
        medians = [_measure(page, options.rounds) for page in PAGES]
        return int(max(medians) > BAR_MS)


def _postgresql(url: str) -> dict[str, object]:
    import environ

    return dict(environ.Env.db_url_config(url))


def _fill() -> None:
    from django.contrib.auth.models import User
    from django.core.cache import cache
    from django.core.management import call_command
    from django.db import connection
    from django.utils import timezone

    from django_callcache.models import CacheStat

    call_command("migrate", verbosity=0)
    User.objects.create_superuser("boss", "boss@example.com", "boss")
    chance = random.Random(1)
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for back in range(DAYS * 24):
        CacheStat.objects.bulk_create(
            CacheStat(
                alias="default",
                prefix=f"prefix{number:03}:",
                hour=hour - datetime.timedelta(hours=back),
                hits=chance.randrange(1000),
                near_hits=chance.randrange(500),
                misses=chance.randrange(200),
                sets=chance.randrange(100),
                read_latency=[0] * 6 + [100, 50, 20] + [0] * 15,
                write_latency=[0] * 24,
                distinct_keys=40,
                hot_keys=[[f"prefix{number:03}:{key}", 20 - key] for key in range(20)],
            )
            for number in range(PREFIXES)
        )
    cache.set_many({f"prefix{number:03}:{key}": key for number in range(PREFIXES) for key in range(50)})
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _measure(page: str, rounds: int) -> float:
    """Print and return the median of one page, in ms."""
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get(username="boss"))
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        response = client.get(page)
        times.append((time.perf_counter() - began) * 1000)
        assert response.status_code == 200, (page, response.status_code)
    median = statistics.median(times[1:])
    print(f"{median:7.0f} {max(times[1:]):7.0f}  {page}", flush=True)
    return median


if __name__ == "__main__":
    raise SystemExit(main())
