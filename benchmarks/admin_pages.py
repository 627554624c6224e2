"""Server time of the admin pages over a long history: 90 days of 200 prefixes, 432,000 rows, warm.

Django is imported by the functions that need it, once its settings have their servers.
The bars: the median of every page is at most 300 ms, on SQLite and on PostgreSQL, with at most 8 queries.
With ``--keys`` Redis holds so many keys: the first page of keys is then made without a scan, and while
searches, previews and a deletion in steps go on, another client's slowest PING takes at most 20 ms.
Beside each page stands the processor time of this process, which other work on the machine changes less;
beside each PING the longest command of Redis meanwhile; before them the slowest PING without any page.
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
from typing import Any

import django
from django.conf import settings

from benchmarks.pings import Pings
from testproject.parts.postgres_server import PostgresServer
from testproject.parts.redis_server import RedisServer

BAR_MS = 300
BAR_QUERIES = 8
BAR_PING_MS = 20
FLOOR_SECONDS = 3.0
"""How long another client asks without any page."""
PREFIXES = 200
DAYS = 90
HOME = "/admin/django_callcache/dashboard/"
PAGES = (
    f"{HOME}?period=1h",
    f"{HOME}?period=24h",
    f"{HOME}?period=7d",
    f"{HOME}?period=30d",
    f"{HOME}cache/?period=24h",
    f"{HOME}cache/?period=30d",
    f"{HOME}sync/?period=30d",
    f"{HOME}alerts/",
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
    parser.add_argument(
        "--keys", type=int, default=0, help="keys in Redis, such as 1000000 (default: 10,000)"
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
            f"{options.database}, {PREFIXES * DAYS * 24:,} rows; of {options.rounds} the median, the worst, "
            "and the median of processor time, in ms"
        )
        _fill()
        medians = [_measure(page, options.rounds) for page in PAGES]
        holds = max(medians) <= BAR_MS
        if options.keys:
            holds = _measure_many_keys(options.keys, options.rounds) and holds
        return int(not holds)


def _postgresql(url: str) -> dict[str, object]:
    import environ

    return dict(environ.Env.db_url_config(url))


def _fill() -> None:
    from django.contrib.auth.models import User
    from django.core.cache import cache
    from django.core.management import call_command
    from django.db import connection
    from django.utils import timezone

    from django_callcache.models import COUNTERS, CacheHour, CacheStat, SyncRun

    call_command("migrate", verbosity=0)
    User.objects.create_superuser("boss", "boss@example.com", "boss")
    chance = random.Random(1)
    this_hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    slots = [0] * 6 + [100, 50, 20] + [0] * 15
    hours = []
    for back in range(DAYS * 24):
        hour = this_hour - datetime.timedelta(hours=back)
        rows = [
            CacheStat(
                alias="default",
                prefix=f"prefix{number:03}:",
                hour=hour,
                hits=chance.randrange(1000),
                near_hits=chance.randrange(500),
                misses=chance.randrange(200),
                sets=chance.randrange(100),
                read_latency=slots,
                write_latency=[0] * 24,
                distinct_keys=40,
                hot_keys=[[f"prefix{number:03}:{key}", 20 - key] for key in range(20)],
            )
            for number in range(PREFIXES)
        ]
        CacheStat.objects.bulk_create(rows)
        hours.append(
            CacheHour(
                alias="default",
                hour=hour,
                **{name: sum(getattr(row, name) for row in rows) for name in COUNTERS},
                read_latency=[PREFIXES * calls for calls in slots],
                write_latency=[0] * 8 + [100, 50, 20] + [0] * 13,
                ttl_bands=[chance.randrange(100) for _ in range(13)],
                backlog=chance.randrange(1000),
                oldest_seconds=chance.uniform(0, 300),
                used_memory=chance.randrange(10**8),
                keys=10_000,
            )
        )
    CacheHour.objects.bulk_create(hours)
    SyncRun.objects.bulk_create(
        SyncRun(alias="default", started_at=this_hour - datetime.timedelta(minutes=5 * back), pushed=9)
        for back in range(30 * 288)
    )
    cache.set_many({f"prefix{number:03}:{key}": key for number in range(PREFIXES) for key in range(50)})
    with connection.cursor() as cursor:
        # What PostgreSQL's autovacuum does in its time.
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def _measure(page: str, rounds: int) -> float:
    """Print and return the median of one page, in ms."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client = _client()
    times, processor = [], []
    for _ in range(rounds + 1):
        began, began_processor = time.perf_counter(), time.process_time()
        response = client.get(page)
        times.append((time.perf_counter() - began) * 1000)
        processor.append((time.process_time() - began_processor) * 1000)
        assert response.status_code == 200, (page, response.status_code)
    with CaptureQueriesContext(connection) as queries:
        client.get(page)
    assert len(queries) <= BAR_QUERIES, (page, len(queries))
    median = statistics.median(times[1:])
    print(
        f"{median:7.0f} {max(times[1:]):7.0f} {statistics.median(processor[1:]):7.0f}  "
        f"{len(queries)} queries  {page}",
        flush=True,
    )
    return median


def _client() -> Any:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get(username="boss"))
    return client


def _measure_many_keys(keys: int, rounds: int) -> bool:
    """Fill Redis, ask for the pages that look at keys, then delete all; return whether the bars hold."""
    from django.core.cache import cache

    from django_callcache.clearing import claim
    from django_callcache.models import CacheOperation

    client = cache.redis_client()
    print(f"\n{keys:,} keys; as before, and another client's slowest PING meanwhile")
    for start in range(0, keys, 10_000):
        made = {b"crm:1:many:%d:%d" % (start % 7, start + number): b"1" for number in range(10_000)}
        client.mset(made)
    with Pings(client, "no page, an idle process"):
        time.sleep(FLOOR_SECONDS)
    with Pings(client, "no page, a busy process"):
        _be_busy(FLOOR_SECONDS)
    scans = lambda: client.info("commandstats").get("cmdstat_scan", {}).get("calls", 0)  # noqa: E731
    before = scans()
    pages = [f"{HOME}keys/", f"{HOME}keys/?q=many:3", f"{HOME}keys/?q=nowhere"]
    pages.append(f"{HOME}clear/?alias=default&scope=prefix&text=many:")
    worst = []
    for page in pages:
        with Pings(client, "while it was asked for") as pings:
            _measure(page, rounds)
        worst.append(pings.worst_ms)
        if page == pages[0]:
            assert scans() == before, "the first page of keys scans"
    row = CacheOperation.objects.create(
        kind="clear", scope="prefix", alias="default", pattern="many:", outcome="waiting"
    )
    claimed = claim(row.pk, cache)
    began = time.perf_counter()
    with Pings(client, "while they were deleted") as pings:
        while not claimed.run(seconds=0.5):
            time.sleep(0.1)  # the loop pauses a second
    worst.append(pings.worst_ms)
    deleted = claimed.operation.deleted
    print(f"{deleted:,} keys deleted in {time.perf_counter() - began:.1f} s")
    return max(worst) <= BAR_PING_MS and deleted == keys


def _be_busy(seconds: float) -> None:
    """Use a processor as a page does that asks Redis nothing."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


if __name__ == "__main__":
    raise SystemExit(main())
