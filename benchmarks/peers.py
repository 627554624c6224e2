"""Beside the caches of the field: the same calls, in turn, on one Redis, in one run.

Every figure is the median of rounds in which all took part, and every ratio is taken round by round,
between blocks that ran side by side. A run takes five minutes or so on a machine that is not busy;
let nothing else work there meanwhile. Peers that are not installed are left out, and named.

    python -m benchmarks.peers --markdown docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.core.cache import caches as all_caches
from django.utils.connection import ConnectionProxy

from benchmarks import peer_backends as peers
from benchmarks import peer_stores, peer_workloads
from benchmarks.machine import describe, lines, pin_to_one_cpu
from benchmarks.options import rounds_of
from benchmarks.peer_report import Figure, Table, as_markdown, as_text
from benchmarks.peer_workloads import MANY, Latencies, fill, warm
from benchmarks.records import SIZES, record
from benchmarks.rounds import Block, measure
from testproject.parts.redis_server import RedisServer

ROUNDS = 9
GROUPS = ("sync", "near", "threads", "zipf", "asyncio", "patterns", "memory")

BLOCKING = (peers.OURS, peers.DJANGO_REDIS, peers.DJANGO, peers.VALKEY, peers.VCACHE, peers.REDIS_PY)
NEAR = (peers.OURS_NEAR, peers.LOCMEM, peers.DJANGO_REDIS)
IN_LOOPS = (
    *(peers.OURS, peers.OURS_NEAR, peers.DJANGO_REDIS, peers.DJANGO),
    *(peers.VCACHE, peers.VCACHE_NEAR),
)
STORES = (peers.OURS, peers.OURS_DICTIONARY, peers.DJANGO_REDIS, peers.DJANGO, peers.VALKEY, peers.VCACHE)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all workloads share.

    Attributes:
        redis_url: Of the server.
        rounds: That count.
    """

    redis_url: str
    rounds: int

    def run(
        self,
        title: str,
        base: str,
        blocks: Mapping[str, Block],
        calls: int,
        latencies: Latencies | None = None,
    ) -> Table:
        """Measure one workload."""
        samples = measure(blocks, calls, self.rounds)
        return Table(title, base, {name: Figure.of(name, samples, base, latencies) for name in samples})


def main() -> int:
    """Measure, print, and write what was asked for."""
    options = parse()
    pinning = pin_to_one_cpu()
    began = time.monotonic()
    with RedisServer() as server:
        machine = describe(server.url, pinning)
        print(lines(machine), flush=True)
        for name, command in peers.missing().items():
            print(f"{name} is not installed and left out: {command}")
        peers.configure(server.url)
        bench = Bench(server.url, options.rounds)
        tables = []
        for group in options.only or GROUPS:
            for table in MEASURED[group](bench):
                tables.append(table)
                print(f"\n{as_text(table)}", flush=True)
    machine |= {
        "peers": {name: peer.version for name, peer in peers.PEERS.items() if peer.is_installed},
        "rounds": options.rounds,
        "seconds": round(time.monotonic() - began),
    }
    print(f"\n{machine['seconds']} seconds.")
    if options.json:
        found = {"machine": machine, "tables": [asdict(table) for table in tables]}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(as_markdown(machine, peers.missing(), tables))
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=rounds_of, default=ROUNDS, help="rounds that count (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=GROUPS, metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page of tables to this file")
    return parser.parse_args()


def of_sync(bench: Bench) -> list[Table]:
    """One thread, no near cache, records of three sizes."""
    made = peers.make_all(bench.redis_url, *BLOCKING)
    tables = []
    for size, contacts in SIZES.items():
        value = record(contacts)
        for cache in made.values():
            cache.set("campaign:7", value, peers.TIMEOUT)
        calls = 300 if not contacts else 100
        hits, sets = peer_workloads.gets(made, "campaign:7"), peer_workloads.sets(made, "campaign:7", value)
        tables.append(bench.run(f"get, hit, {size}", peers.DJANGO_REDIS, hits, calls))
        tables.append(bench.run(f"set, {size}", peers.DJANGO_REDIS, sets, calls))
    value = record(0)
    keys = [f"campaign:{number}" for number in range(MANY)]
    for cache in made.values():
        fill(cache, keys, value)
    data = dict.fromkeys(keys, value)
    for title, blocks, calls in (
        ("get, miss", peer_workloads.gets(made, "campaign:none"), 300),
        ("add", peer_workloads.adds(made, value), 200),
        ("touch", peer_workloads.touches(made, keys[0]), 200),
        ("incr", peer_workloads.incrs(made), 200),
        ("set, synced to the remote store", peer_workloads.sets(_synced(made), keys[0], value), 200),
        (f"get_many of {MANY}", peer_workloads.get_manys(made, keys), 15),
        (f"set_many of {MANY}", peer_workloads.set_manys(made, data), 15),
    ):
        tables.append(bench.run(title, peers.DJANGO_REDIS, blocks, calls))
    return tables


def _synced(made: Mapping[str, Any]) -> dict[str, Any]:
    """Ours with an outbox, beside the others, which have none."""
    return {peers.OURS_SYNCED: all_caches[peers.OURS_SYNCED], **made}


def of_near(bench: Bench) -> list[Table]:
    """Reads that the process answers itself, and those that let it."""
    made = peers.make_all(bench.redis_url, *NEAR)
    proxies = {name: ConnectionProxy(all_caches, name) for name in made}
    keys = [f"campaign:{number}" for number in range(MANY)]
    values = {"flat record": record(0), "nested record": record(2), "text": "active"}
    tables = []
    for kind, value in values.items():
        for cache in made.values():
            cache.set("campaign:7", value, peers.TIMEOUT)
            warm(cache, "campaign:7")
        hits = peer_workloads.gets(made, "campaign:7")
        tables.append(bench.run(f"near hit, {kind}, held object", peers.LOCMEM, hits, 1000))
    hits = peer_workloads.proxied_gets(proxies, "campaign:7")
    tables.append(bench.run("near hit, text, through django.core.cache", peers.LOCMEM, hits, 1000))
    for cache in made.values():
        fill(cache, keys, record(0))
    for cache in made.values():
        warm(cache, keys[0])
    fills = {name: cache for name, cache in made.items() if name != peers.LOCMEM}
    one = peer_workloads.fills(fills, keys, at_once=False)
    many = peer_workloads.fills(fills, keys, at_once=True)
    tables.append(bench.run("get that fills the near cache", peers.DJANGO_REDIS, one, 200))
    tables.append(bench.run(f"get_many of {MANY} that fills it", peers.DJANGO_REDIS, many, 15))
    return tables


def of_threads(bench: Bench) -> list[Table]:
    """Sixteen threads at once, and a hundred on the ten connections that we have; no near cache."""
    made = peers.make_all(bench.redis_url, *BLOCKING)
    tables = []
    for size, contacts in SIZES.items():
        for cache in made.values():
            cache.set("campaign:7", record(contacts), peers.TIMEOUT)
        for number in (16,) if contacts else (16, 100):
            latencies: Latencies = {}
            blocks = peer_workloads.threads(made, number, "campaign:7", latencies)
            calls = number * (20 if contacts else 100)
            title = f"get, hit, {number} threads, {size}"
            tables.append(bench.run(title, peers.DJANGO_REDIS, blocks, calls, latencies))
    return tables


def of_zipf(bench: Bench) -> list[Table]:
    """Popular keys and others, with a near cache for a tenth of them."""
    names = (peers.OURS_NEAR, *BLOCKING, peers.LOCMEM)
    blocks = peer_workloads.zipf(peers.make_all(bench.redis_url, *names), record(0))
    title = f"Zipf {peer_workloads.ZIPF_EXPONENT}, 95 reads to 5 writes, {peer_workloads.ZIPF_KEYS:,} keys"
    return [bench.run(title, peers.DJANGO_REDIS, blocks, 2000)]


def of_asyncio(bench: Bench) -> list[Table]:
    """One, fifty and two hundred tasks of one event loop."""
    tables = []
    with asyncio.Runner() as runner:
        blocking = peers.make_all(bench.redis_url, *IN_LOOPS, peers.REDIS_PY)
        raw = blocking.pop(peers.REDIS_PY)
        made: dict[str, Any] = {**blocking, peers.REDIS_ASYNCIO: peers.RedisAsyncio(bench.redis_url, raw)}
        for size, contacts in SIZES.items():
            value = record(contacts)
            for cache in (raw, *blocking.values()):
                cache.set("campaign:7", value, peers.TIMEOUT)
            warm(blocking[peers.OURS_NEAR], "campaign:7")
            for number in (50,) if contacts else (1, 50, 200):
                tables += _of_tasks(bench, runner, made, number, value, size)
        runner.run(made[peers.REDIS_ASYNCIO].client.aclose())
    return tables


def _of_tasks(
    bench: Bench, runner: asyncio.Runner, made: Mapping[str, Any], number: int, value: Any, size: str
) -> list[Table]:
    def reads(cache: Any) -> Callable[[], Any]:
        return lambda: cache.aget("campaign:7")

    def writes(cache: Any) -> Callable[[], Any]:
        return lambda: cache.aset("campaign:7", value, peers.TIMEOUT)

    tables = []
    for title, call in (("aget", reads), ("aset", writes)):
        latencies: Latencies = {}
        blocks = peer_workloads.tasks(made, runner, number, call, latencies)
        tasks = "1 task" if number == 1 else f"{number} tasks"
        calls = max(200, 4 * number)
        title = f"{title}, {tasks}, {size}"
        tables.append(bench.run(title, peers.REDIS_ASYNCIO, blocks, calls, latencies))
    return tables


def of_patterns(bench: Bench) -> list[Table]:
    """Deletion by a pattern."""
    names = (peers.OURS, peers.DJANGO_REDIS, peers.VALKEY)
    samples, held = peer_stores.sweeps(peers.make_all(bench.redis_url, *names), bench.redis_url)
    figures = {name: Figure.of(name, samples, peers.DJANGO_REDIS) for name in samples}
    for name, milliseconds in held.items():
        figures[name].note = (
            f"one command took {milliseconds:.0f} ms" if milliseconds else "no command took 1 ms"
        )
    return [Table(f"delete_pattern of {peer_stores.SWEPT:,} keys, a key", peers.DJANGO_REDIS, figures)]


def of_memory(bench: Bench) -> list[Table]:
    """Redis's memory."""
    taken = peer_stores.memory(peers.make_all(bench.redis_url, *STORES), bench.redis_url)
    base = taken[peers.DJANGO_REDIS]
    figures = {name: Figure(each, ratio=each / base) for name, each in taken.items()}
    return [Table("memory, small varied records, an entry", peers.DJANGO_REDIS, figures, unit="bytes")]


MEASURED: dict[str, Callable[[Bench], list[Table]]] = {
    "sync": of_sync,
    "near": of_near,
    "threads": of_threads,
    "zipf": of_zipf,
    "asyncio": of_asyncio,
    "patterns": of_patterns,
    "memory": of_memory,
}

if __name__ == "__main__":
    sys.exit(main())
