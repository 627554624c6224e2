"""Small calls, one after another: against django-redis, Django's RedisCache and a bare socket.

The bar: a `get` that hits and a `set` take at most 0.48 of django-redis's time, with the seal,
statistics, deadline and breaker on.

What the system needs for a round trip is the same for all, and the bare socket shows it: the last column
is each one's own time, what it takes above the bare socket, to that of django-redis. On a machine with
dear system calls it tells more than the ratio of the whole; so does --unix-socket.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from benchmarks.contenders import (
    BACKENDS,
    DJANGO_REDIS,
    FLOOR,
    MANY,
    OURS,
    BareSocket,
    CacheContender,
    configure,
)
from benchmarks.machine import describe, lines, pin_to_one_cpu
from benchmarks.options import parse, write_json
from benchmarks.rounds import Samples, Spread, measure
from testproject.parts.redis_server import RedisServer

BAR = 0.48
HELD_TO_THE_BAR = ("get_hit", "set")
CALLS = {
    "get_hit": 1000,
    "get_miss": 1000,
    "set": 1000,
    "add": 500,
    "incr": 500,
    "touch": 500,
    "get_many": 50,
}
"""Calls in a block, by workload."""

TITLES = {"get_hit": "get, hit", "get_miss": "get, miss", "get_many": f"get_many of {MANY}"}


def main() -> int:
    """Measure, print, and return 0 if the bar holds."""
    options = parse(__doc__.splitlines()[0], rounds=21)
    pinning = pin_to_one_cpu()
    with RedisServer(unix_socket=options.unix_socket) as server:
        machine = describe(server.url, pinning)
        print(lines(machine))
        print(
            f"rounds       {options.rounds}, medians; in brackets the quartiles of ratios paired by round\n"
        )
        configure(server.url)
        samples = measure_all(server.url, options.rounds)
    if options.json:
        write_json(options.json, machine, samples)
    return verdict(samples)


def measure_all(redis_url: str, rounds: int) -> dict[str, dict[str, Samples]]:
    """Measure every workload and print its table."""
    samples = {}
    with BareSocket(redis_url) as floor:
        contenders = {name: CacheContender(name) for name in BACKENDS} | {FLOOR: floor}
        for workload, calls in CALLS.items():
            blocks = {name: getattr(contender, workload) for name, contender in contenders.items()}
            samples[workload] = measure(blocks, calls, rounds)
            print(table(TITLES.get(workload, workload), samples[workload]), flush=True)
    return samples


def table(title: str, samples: Mapping[str, Samples]) -> str:
    """Return one workload's figures as text."""
    rows = [
        f"{title:20}{'wall us':>9}{'client cpu us':>15}{'to django-redis':>25}{'to the socket':>15}"
        f"{'above the socket':>18}"
    ]
    floor, peer = samples[FLOOR], samples[DJANGO_REDIS]
    for name, mine in samples.items():
        ratio = mine.ratio_to(peer)
        above = mine.difference_to(floor).median / peer.difference_to(floor).median
        rows.append(
            f"  {name:18}{Spread.of(mine.wall).median:9.1f}{Spread.of(mine.cpu).median:15.1f}"
            f"{ratio.median:11.2f} [{ratio.first_quartile:.2f} .. {ratio.third_quartile:.2f}]"
            f"{mine.ratio_to(floor).median:14.2f}{above:18.2f}"
        )
    return "\n".join(rows) + "\n"


def verdict(samples: Mapping[str, Mapping[str, Samples]]) -> int:
    """Print whether the bar holds; return what the program exits with."""
    holds = True
    for workload in HELD_TO_THE_BAR:
        ratio = samples[workload][OURS].ratio_to(samples[workload][DJANGO_REDIS]).median
        holds &= ratio <= BAR
        relation = "within" if ratio <= BAR else "ABOVE"
        title = TITLES.get(workload, workload)
        print(f"{title}: {ratio:.3f} of django-redis's time, {relation} the bar of {BAR}")
    print("The bar holds." if holds else "The bar does not hold.")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
