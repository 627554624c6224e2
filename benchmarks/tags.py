"""Entries with tags against entries without: 10,000 tags in use, up to 32 on an entry.

The bar: a `get` of an entry with 32 tags takes at most twice as long as one of an entry without any.
Entries with tags are read as a process reads them that has met them before; ``first`` is the first time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import cycle
from random import Random

from django.core.cache import caches

from benchmarks.contenders import CAMPAIGN, OURS, configure
from benchmarks.machine import describe, lines, pin_to_one_cpu
from benchmarks.options import parse, write_json
from benchmarks.rounds import Block, Samples, Spread, measure
from django_callcache.cache import CallCache
from testproject.parts.redis_server import RedisServer

BAR = 2.0
TAGS = [f"contact:{number}" for number in range(10_000)]
ENTRIES = 1000
UNTAGGED, MOST = "no-tags", "32-tags"
KINDS = {UNTAGGED: 0, "1-tag": 1, "4-tags": 4, MOST: 32}
"""Entries by their number of tags."""

CALLS = {"get": 1000, "get, first": 500, "get_many of 100": 30, "set": 500}
"""Calls in a block, by workload."""


class Tagged:
    """Entries with one number of tags.

    Args:
        cache: Where they are.
        name: Their prefix.
        number: Of tags on each.
    """

    def __init__(self, cache: CallCache, name: str, number: int) -> None:
        self._cache = cache
        random = Random(number)
        self._keys = [f"{name}:{at}" for at in range(ENTRIES)]
        self._tags = cycle([random.sample(TAGS, number) for _ in self._keys])
        self._turn: Iterator[str] = cycle(self._keys)
        for key in self._keys:
            cache.set(key, CAMPAIGN, None, tags=next(self._tags))

    def get(self, calls: int) -> None:
        """Read entries that were read before."""
        get, turn = self._cache.get, self._turn
        for _ in range(calls):
            get(next(turn))

    def first(self, calls: int) -> None:
        """Read entries that this process has not met."""
        met = self._cache._runtime.prefixes.of(self._keys[0]).tagged
        get, turn = self._cache.get, self._turn
        for _ in range(calls):
            met.clear()
            get(next(turn))

    def get_many(self, calls: int) -> None:
        """Read batches of entries."""
        get_many, keys = self._cache.get_many, self._keys[:100]
        for _ in range(calls):
            get_many(keys)

    def set(self, calls: int) -> None:
        """Write entries."""
        set_, turn, tags = self._cache.set, self._turn, self._tags
        for _ in range(calls):
            set_(next(turn), CAMPAIGN, None, tags=next(tags))


def main() -> int:
    """Measure, print, and return 0 if the bar holds."""
    options = parse(__doc__.splitlines()[0], rounds=21)
    pinning = pin_to_one_cpu()
    with RedisServer(unix_socket=options.unix_socket) as server:
        machine = describe(server.url, pinning)
        print(lines(machine))
        configure(server.url)
        cache: CallCache = caches[OURS]  # type: ignore[assignment]
        use_all_tags(cache)
        contenders = {name: Tagged(cache, name, number) for name, number in KINDS.items()}
        print(f"tags         {len(cache.redis_client().keys('callcache@*'))} in use")
        print(
            f"rounds       {options.rounds}, medians; in brackets the quartiles of ratios paired by round\n"
        )
        samples = {}
        for workload, calls in CALLS.items():
            method = {"get, first": "first", "get_many of 100": "get_many"}.get(workload, workload)
            blocks: dict[str, Block] = {name: getattr(each, method) for name, each in contenders.items()}
            samples[workload] = measure(blocks, calls, options.rounds)
            print(table(workload, samples[workload]), flush=True)
    if options.json:
        write_json(options.json, machine, samples)
    ratio = samples["get"][MOST].ratio_to(samples["get"][UNTAGGED]).median
    holds = ratio <= BAR
    print(f"get, {MOST}: {ratio:.2f} of the time without, {'within' if holds else 'ABOVE'} the bar of {BAR}")
    return 0 if holds else 1


def use_all_tags(cache: CallCache) -> None:
    """Let every tag be in use, whichever are drawn."""
    for at in range(0, len(TAGS), 32):
        cache.set("tags-in-use", 1, None, tags=TAGS[at : at + 32])


def table(title: str, samples: dict[str, Samples]) -> str:
    """Return one workload's figures as text."""
    rows = [f"{title:20}{'wall us':>9}{'client cpu us':>15}{'to no tags':>25}"]
    for name, mine in samples.items():
        ratio = mine.ratio_to(samples[UNTAGGED])
        rows.append(
            f"  {name:18}{Spread.of(mine.wall).median:9.1f}{Spread.of(mine.cpu).median:15.1f}"
            f"{ratio.median:11.2f} [{ratio.first_quartile:.2f} .. {ratio.third_quartile:.2f}]"
        )
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
