"""What callers notice while the remote store refuses connections, and how soon it has everything afterwards.

Processes read and write keys of a synced prefix of the sample site at a steady pace; `runcachesync` works
beside them. Windows with PostgreSQL up and windows with PostgreSQL stopped take turns, and a ratio is taken
between the two of a round. After each outage the callers rest until nothing waits.

The bars: no call raises, p95 in an outage is at most 1.1 of the other, every key that was written waits, and
afterwards all of them arrive: the remote store has at every key what the cache has.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import django
import psycopg
from django.core.cache import caches
from django.core.management import call_command

from benchmarks.callers import Callers
from benchmarks.machine import describe, lines
from benchmarks.options import rounds_of, write_json
from benchmarks.rounds import Samples
from django_callcache.management.arguments import positive_count, positive_seconds
from testproject.parts.child import stop, tail
from testproject.parts.postgres_server import PostgresServer
from testproject.parts.redis_server import RedisServer

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "django_callcache/sync/sql/001_callcache.sql"
BAR = 1.1
PERCENTILES = (50, 95)
PATIENCE = 300.0
"""Seconds that the backlog may take; the loop alone rests for up to 60 s after a long outage."""


@dataclass(slots=True)
class Findings:
    """What all windows have shown."""

    latencies: dict[str, dict[str, Samples]] = field(default_factory=dict)
    """Microseconds by what is called and percentile, and by the state of the remote store."""
    faults: list[str] = field(default_factory=list)
    """Why the bars do not hold."""

    def add(self, state: str, kind: str, samples: list[float]) -> None:
        """Take the calls of a window."""
        cuts = statistics.quantiles(samples, n=100)
        for percentile in PERCENTILES:
            by_state = self.latencies.setdefault(
                f"{kind} p{percentile}", {"up": Samples(), "refused": Samples()}
            )
            by_state[state].wall.append(cuts[percentile - 1])


class Outages:
    """One site, and its remote store that comes and goes.

    Args:
        postgres: The remote store.
        callers: Who calls.
        loop: The process that syncs.
        log: Where it writes.
    """

    def __init__(
        self, postgres: PostgresServer, callers: Callers, loop: subprocess.Popen[bytes], log: Path
    ) -> None:
        from django_callcache.outbox.dirty import DirtyEntries

        self.findings = Findings()
        self._postgres = postgres
        self._office = callers
        self._loop = loop
        self._log = log
        self._outbox = DirtyEntries(caches["default"].redis_client(), caches["default"].redis_keys)

    def window(self, state: str, seconds: float) -> None:
        """Let the callers call for a while, after all that waited has gone."""
        self.drain()
        if state == "refused":
            self._postgres.stop()
        called = self._office.work(seconds)
        backlog = self._outbox.depth()
        figures = f"{state:8} {len(called.gets) + len(called.sets):8,} calls, {backlog:6,} keys wait"
        for kind, samples in (("get", called.gets), ("set", called.sets)):
            self.findings.add(state, kind, samples)
        if called.failures:
            self.findings.faults.append(f"calls raised: {dict(Counter(called.failures))}")
        if state == "refused":
            if backlog != len(called.written):
                self.findings.faults.append(f"{backlog:,} keys wait of {len(called.written):,} written")
            self._postgres.start()
            figures += f"; {self.drain()}"
            self._compare()
        print(figures, flush=True)

    def drain(self) -> str:
        """Wait until nothing waits; tell how long that took, and the pace once it had begun."""
        began = moved = time.perf_counter()
        backlog = left = self._outbox.depth()
        while depth := self._outbox.depth():
            now = time.perf_counter()
            if self._loop.poll() is not None:
                raise RuntimeError(f"the loop has ended: {tail(self._log)}")
            if now - began > PATIENCE:
                raise RuntimeError(f"{depth:,} keys wait still after {PATIENCE:g} s: {tail(self._log)}")
            if left == backlog:
                moved, left = now, depth
            time.sleep(0.01)
        ended = time.perf_counter()
        pace = f", at {left / (ended - moved):,.0f} rows/s once it has begun" if 0 < left < backlog else ""
        return f"none waits {ended - began:.1f} s after it is back{pace}"

    def _compare(self) -> None:
        """See that both sides have the same at every key."""
        query = "select key, value from public.callcache_entries where deleted_at is null"
        with psycopg.connect(self._postgres.url) as connection:
            there = {key.removeprefix("1:"): value for key, value in connection.execute(query)}
        here = caches["default"].get_many(self._office.keys)
        if len(here) != len(self._office.keys):
            self.findings.faults.append(f"the cache has {len(here):,} of {len(self._office.keys):,} keys")
        if differing := [key for key in {*here, *there} if here.get(key) != there.get(key)]:
            self.findings.faults.append(f"{len(differing):,} keys differ, {min(differing)} for one")


def main() -> int:
    """Measure, print, and return 0 if the bars hold."""
    options = _options()
    with ExitStack() as parts:
        redis = parts.enter_context(RedisServer(append_only=True))
        postgres = parts.enter_context(PostgresServer(sql_files=[SCHEMA]))
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
        _configure(redis.url, postgres.url, folder)
        machine = describe(redis.url, "not pinned: servers, loop and callers share the machine")
        print(lines(machine))
        callers = parts.enter_context(Callers(options.processes, options.keys, options.pace))
        log = folder / "loop.log"
        loop = parts.enter_context(_loop(options.interval, log))
        outages = Outages(postgres, callers, loop, log)
        callers.fill()
        callers.work(min(options.seconds, 5))
        for number in range(options.rounds):
            for state in ("up", "refused") if number % 2 == 0 else ("refused", "up"):
                outages.window(state, options.seconds)
    if options.json:
        write_json(options.json, machine, outages.findings.latencies)
    return _tell(outages.findings)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=positive_seconds, default=60, help="how long a window lasts, an outage too"
    )
    parser.add_argument("--rounds", type=rounds_of, default=5, help="rounds of one window up, one refused")
    parser.add_argument("--processes", type=positive_count, default=4, help="processes that call")
    parser.add_argument(
        "--pace", type=positive_count, default=50, help="requests a second of each: 4 gets, one set"
    )
    parser.add_argument("--keys", type=positive_count, default=20_000, help="keys in use")
    parser.add_argument(
        "--interval", type=positive_seconds, default=5, help="seconds between two passes of the loop"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every window's figures to this file")
    return parser.parse_args()


def _configure(redis_url: str, postgres_url: str, folder: Path) -> None:
    """Set Django up, here and by the environment in the processes that follow."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "tests.sync.worker_settings",
        "SAMPLE_DATABASE": str(folder / "site.sqlite3"),
        "SAMPLE_LOG_LEVEL": "ERROR",
        "WORKER_REMOTE": "postgres",
        "WORKER_NAMESPACE": "outage",
        "WORKER_DATABASE_URL": postgres_url,
        "WORKER_BATCH": "500",
        "WORKER_LEASE": "30",
        "REDIS_URL": redis_url,
    }
    django.setup()
    call_command("migrate", verbosity=0)


@contextmanager
def _loop(interval: float, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "manage.py", "runcachesync", f"--interval={interval}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        try:
            yield process
        finally:
            stop(process, signal_number=signal.SIGTERM)


def _tell(findings: Findings) -> int:
    """Print the ratios and the verdict."""
    for name, by_state in findings.latencies.items():
        ratio = by_state["refused"].ratio_to(by_state["up"])
        up, refused = (statistics.median(by_state[state].wall) for state in ("up", "refused"))
        print(
            f"{name}: up {up:,.0f} us, refused {refused:,.0f} us, ratio {ratio.median:.3f} "
            f"[{ratio.first_quartile:.3f} .. {ratio.third_quartile:.3f}]"
        )
        if name.endswith("p95") and ratio.median > BAR:
            findings.faults.append(f"{name} in an outage is above {BAR} of the other")
    print("\n".join(findings.faults) or "The bars hold.")
    return int(bool(findings.faults))


if __name__ == "__main__":
    raise SystemExit(main())
