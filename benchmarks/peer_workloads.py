"""What the peers are asked to do. Every workload is a function that makes one block for each of them."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, count, cycle, islice, repeat
from typing import Any

from benchmarks.peer_backends import TIMEOUT
from benchmarks.rounds import Block

MANY = 100
ZIPF_KEYS = 20_000
"""Ten times what the near cache holds."""
ZIPF_EXPONENT = 0.99
WRITES = 0.05
COUNTER_START = 1_000_000

Latencies = dict[str, list[float]]


def gets(caches: Mapping[str, Any], key: str) -> dict[str, Block]:
    """Read one key again and again."""

    def block(cache: Any) -> Block:
        def run(calls: int) -> None:
            get = cache.get
            for _ in repeat(None, calls):
                get(key)

        return run

    return {name: block(cache) for name, cache in caches.items()}


def proxied_gets(caches: Mapping[str, Any], key: str) -> dict[str, Block]:
    """The same by a name that finds the cache at each call, as ``django.core.cache.cache`` does."""

    def block(cache: Any) -> Block:
        def run(calls: int) -> None:
            for _ in repeat(None, calls):
                cache.get(key)

        return run

    return {name: block(cache) for name, cache in caches.items()}


def sets(caches: Mapping[str, Any], key: str, value: Any) -> dict[str, Block]:
    """Write one key again and again."""

    def block(cache: Any) -> Block:
        def run(calls: int) -> None:
            set_ = cache.set
            for _ in repeat(None, calls):
                set_(key, value, TIMEOUT)

        return run

    return {name: block(cache) for name, cache in caches.items()}


def fills(caches: Mapping[str, Any], keys: Sequence[str], *, at_once: bool) -> dict[str, Block]:
    """Read keys whose near copies were dropped before; those without a near cache just read."""

    def block(cache: Any) -> Block:
        near = near_of(cache)
        read: Callable[[Any], Any] = cache.get_many if at_once else cache.get
        asked = keys if at_once else keys[0]
        dropped = keys if at_once else keys[:1]

        def run(calls: int) -> None:
            for _ in repeat(None, calls):
                if near is not None:
                    near.invalidate(dropped)
                read(asked)

        return run

    return {name: block(cache) for name, cache in caches.items()}


def adds(caches: Mapping[str, Any], value: Any) -> dict[str, Block]:
    """Add keys that are not there."""

    def block(cache: Any) -> Block:
        new = count()

        def run(calls: int) -> None:
            add = cache.add
            for _ in repeat(None, calls):
                add(f"new:{next(new):08}", value, TIMEOUT)

        return run

    return {name: block(cache) for name, cache in caches.items()}


def incrs(caches: Mapping[str, Any]) -> dict[str, Block]:
    """Count."""

    def block(cache: Any) -> Block:
        cache.set("calls", COUNTER_START, TIMEOUT)

        def run(calls: int) -> None:
            incr = cache.incr
            for _ in repeat(None, calls):
                incr("calls")

        return run

    return {name: block(cache) for name, cache in caches.items() if hasattr(cache, "key_prefix")}


def touches(caches: Mapping[str, Any], key: str) -> dict[str, Block]:
    """Give a key its timeout anew."""

    def block(cache: Any) -> Block:
        def run(calls: int) -> None:
            touch = cache.touch
            for _ in repeat(None, calls):
                touch(key, TIMEOUT)

        return run

    return {name: block(cache) for name, cache in caches.items()}


def get_manys(caches: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Block]:
    """Read many keys at once."""

    def block(cache: Any) -> Block:
        def run(calls: int) -> None:
            get_many = cache.get_many
            for _ in repeat(None, calls):
                get_many(keys)

        return run

    return {name: block(cache) for name, cache in caches.items()}


def set_manys(caches: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Block]:
    """Write many keys at once."""

    def block(cache: Any) -> Block:
        def run(calls: int) -> None:
            set_many = cache.set_many
            for _ in repeat(None, calls):
                set_many(data, TIMEOUT)

        return run

    return {name: block(cache) for name, cache in caches.items()}


def threads(caches: Mapping[str, Any], number: int, key: str, latencies: Latencies) -> dict[str, Block]:
    """Read one key in several threads at once."""

    def block(name: str, cache: Any) -> Block:
        taken = latencies.setdefault(name, [])

        def work(calls: int) -> None:
            get, now = cache.get, time.perf_counter
            for _ in repeat(None, calls):
                began = now()
                get(key)
                taken.append(now() - began)

        def run(calls: int) -> None:
            working = [threading.Thread(target=work, args=(calls // number,)) for _ in range(number)]
            for thread in working:
                thread.start()
            for thread in working:
                thread.join()

        return run

    return {name: block(name, cache) for name, cache in caches.items()}


def tasks(
    caches: Mapping[str, Any],
    runner: asyncio.Runner,
    number: int,
    call: Callable[[Any], Callable[[], Any]],
    latencies: Latencies,
) -> dict[str, Block]:
    """Let several tasks of one event loop call at once.

    Args:
        caches: What they call.
        runner: Of the event loop, which outlives the blocks.
        number: Of tasks.
        call: Makes what one call awaits, of a cache.
        latencies: Where each call's seconds go, by peer.
    """

    def block(name: str, cache: Any) -> Block:
        taken = latencies.setdefault(name, [])
        once = call(cache)

        async def work(calls: int) -> None:
            now = time.perf_counter
            for _ in repeat(None, calls):
                began = now()
                await once()
                taken.append(now() - began)

        async def all_of_them(calls: int) -> None:
            await asyncio.gather(*(work(calls // number) for _ in range(number)))

        def run(calls: int) -> None:
            runner.run(all_of_them(calls))

        return run

    return {name: block(name, cache) for name, cache in caches.items()}


def zipf(caches: Mapping[str, Any], value: Any) -> dict[str, Block]:
    """Read popular keys often and others rarely, and write one time in twenty."""
    chance = random.Random(7)
    weights = list(accumulate((rank + 1) ** -ZIPF_EXPONENT for rank in range(ZIPF_KEYS)))
    ranks = chance.choices(range(ZIPF_KEYS), cum_weights=weights, k=100_000)
    access = [(f"zipf:{rank}", chance.random() < WRITES) for rank in ranks]

    def block(cache: Any) -> Block:
        fill(cache, (f"zipf:{rank}" for rank in range(ZIPF_KEYS)), value)
        turning = cycle(access)

        def run(calls: int) -> None:
            get, set_ = cache.get, cache.set
            for key, writes in islice(turning, calls):
                if writes:
                    set_(key, value, TIMEOUT)
                else:
                    get(key)

        return run

    return {name: block(cache) for name, cache in caches.items()}


def fill(cache: Any, keys: Iterable[str], value: Any) -> None:
    """Write many keys, some at a time."""
    remaining = iter(keys)
    while portion := list(islice(remaining, 1000)):
        cache.set_many(dict.fromkeys(portion, value), TIMEOUT)


def near_of(cache: Any) -> Any:
    """The near cache of one of ours; None for all others."""
    runtime = getattr(cache, "_runtime", None)
    return None if runtime is None else runtime.near


def warm(cache: Any, key: str) -> None:
    """Read until the near cache, where there is one, holds the key."""
    near = near_of(cache)
    deadline = time.monotonic() + 10
    while near is not None and near.find(key) is None:
        if time.monotonic() > deadline:
            raise RuntimeError("The near cache keeps nothing: its link does not confirm.")
        time.sleep(0.01)
        cache.get(key)
