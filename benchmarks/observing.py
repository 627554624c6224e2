"""What being observed costs: a `get` that hits on Redis with all metrics on, and with statistics off.

"On" is a second of calls with all that goes with it: counts handed to Redis, the report, the counters
of django-prometheus fed where that is installed, and a whole scrape. Both run side by side, round by round.
The bar: 1.06 of the time with statistics off.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import django
from django.conf import settings
from django.core.cache import caches
from django.utils.module_loading import import_string

from benchmarks.contenders import CAMPAIGN
from benchmarks.machine import describe, lines, pin_to_one_cpu
from benchmarks.options import parse, write_json
from benchmarks.rounds import Block, measure
from testproject.parts.redis_server import RedisServer

BAR = 1.06
CALLS = 15_000
"""About a second: a scrape a second is more than anybody's Prometheus asks for."""


def main() -> int:
    """Measure, print, and return 0 if the bar holds."""
    options = parse(__doc__.splitlines()[0], rounds=15)
    pinning = pin_to_one_cpu()
    with RedisServer(unix_socket=options.unix_socket) as server:
        machine = describe(server.url, pinning)
        print(lines(machine))
        blocks = contenders(server.url)
        samples = measure(blocks, CALLS, options.rounds)
    if options.json:
        write_json(options.json, machine, {"get_hit": samples})
    ratio = samples["on"].ratio_to(samples["off"])
    print(
        f"get, hit: metrics on to off {ratio.median:.3f} "
        f"[{ratio.first_quartile:.3f} .. {ratio.third_quartile:.3f}], "
        f"{'within' if ratio.median <= BAR else 'ABOVE'} the bar of {BAR}"
    )
    return 0 if ratio.median <= BAR else 1


def contenders(redis_url: str) -> dict[str, Block]:
    """Set Django up; return the calls with and without metrics."""
    backend = {"BACKEND": "django_callcache.cache.CallCache", "LOCATION": redis_url}
    with_feed = find_spec("django_prometheus") is not None
    settings.configure(
        SECRET_KEY="a benchmark has no secrets to keep",
        USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[*(["django_prometheus"] if with_feed else []), "django_callcache"],
        PROMETHEUS_EXPORT_MIGRATIONS=False,
        CACHES={
            "default": {**backend, "KEY_PREFIX": "on"},
            "off": {**backend, "KEY_PREFIX": "off", "OPTIONS": {"CALLCACHE": {"STATS": False}}},
        },
        # The timer stays out of both: what it does is done in the block that it belongs to.
        CALLCACHE={"STATS": {"FLUSH_INTERVAL": 3600}},
    )
    django.setup()
    on, off = caches["default"], caches["off"]
    for cache in (on, off):
        cache.set("campaign:7", CAMPAIGN, None)
        if cache.get("campaign:7") != CAMPAIGN:
            raise RuntimeError("the cache does not find what it has just stored")
    counted_for = import_string("django_callcache.cache.flusher.counted_for")
    exposition = import_string("django_callcache.metrics.exposition")
    runtimes = import_string("django_callcache.cache.registry.runtimes")()
    (runtime,) = [each for each in runtimes if each.alias == "default"]

    def observed(calls: int) -> None:
        get_hits(on, calls)
        for tell in counted_for:
            tell(runtime)
        runtime.exchange.flush_stats()
        runtime.exchange.report(runtime.condition())
        exposition("")

    return {"on": observed, "off": lambda calls: get_hits(off, calls)}


def get_hits(cache: Any, calls: int) -> None:
    """Read one key again and again."""
    get = cache.get
    for _ in range(calls):
        get("campaign:7")


if __name__ == "__main__":
    sys.exit(main())
