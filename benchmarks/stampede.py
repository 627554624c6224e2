"""Many callers of one cold key: how often the loader runs, and how long callers wait.

Every caller of a round starts at the same moment, by the clock. Against django-redis and Django's RedisCache,
each with the lines that its users write: get_or_set.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import redis
from django.core.cache import caches

from benchmarks.contenders import BACKENDS, CAMPAIGN, OURS, configure
from benchmarks.machine import describe, lines
from testproject.parts.redis_server import RedisServer

BAR_MS = 15.0
"""What the median caller may wait beyond the loader's own time."""

HEAD_START = 0.15
"""Seconds between an order and the moment at which callers start."""


class Caller:
    """Callers of one process: threads, or tasks of one loop.

    Args:
        redis_url: Of the server.
        loader_seconds: What the loader takes.
    """

    def __init__(self, redis_url: str, loader_seconds: float) -> None:
        self._client = redis.Redis.from_url(redis_url)
        self._seconds = loader_seconds

    def loader(self, key: str) -> Callable[[], Any]:
        """Count the call, take the time, return a record."""

        def load() -> Any:
            self._client.incr(f"calls:{key}")
            time.sleep(self._seconds)
            return CAMPAIGN

        return load

    def by_threads(self, name: str, key: str, number: int, start_at: float) -> list[float]:
        """Milliseconds that each of some threads waited."""
        waited: list[float] = []
        cache, load = caches[name], self.loader(key)
        cache.get("connect")

        def call() -> None:
            own = caches[name]
            own.get("connect")
            time.sleep(max(start_at - time.time(), 0))
            started = time.perf_counter()
            own.get_or_set(key, load, 300)
            waited.append((time.perf_counter() - started) * 1e3)

        threads = [threading.Thread(target=call) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return waited

    def by_tasks(self, name: str, key: str, number: int, start_at: float) -> list[float]:
        """Milliseconds that each of some tasks waited. Only ours takes a coroutine function."""
        load = self.loader(key)

        async def coroutine() -> Any:
            return await asyncio.to_thread(load)

        async def call() -> float:
            await asyncio.sleep(max(start_at - time.time(), 0))
            started = time.perf_counter()
            await caches[name].aget_or_set(key, coroutine if name == OURS else load, 300)
            return (time.perf_counter() - started) * 1e3

        async def all_of_them() -> list[float]:
            await caches[name].aget("connect")
            return list(await asyncio.gather(*(call() for _ in range(number))))

        return asyncio.run(all_of_them())


def serve(pipe: Connection, redis_url: str, loader_seconds: float) -> None:
    """Carry out orders in a process of its own."""
    configure(redis_url)
    caller = Caller(redis_url, loader_seconds)
    for name in BACKENDS:
        caches[name].get("connect")
    pipe.send("ready")
    while order := pipe.recv():
        kind, *arguments = order
        pipe.send(getattr(caller, kind)(*arguments))


class Crowd:
    """Processes with callers.

    Args:
        processes: How many.
        redis_url: Of the server.
        loader_seconds: What the loader takes.
    """

    def __init__(self, processes: int, redis_url: str, loader_seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            context.Process(target=serve, args=(theirs, redis_url, loader_seconds), daemon=True).start()
            self._pipes.append(ours)
        for pipe in self._pipes:
            pipe.recv()

    def ask(self, orders: list[tuple[Any, ...]]) -> list[float]:
        """Give each process an order, and gather what all callers waited."""
        start_at = time.time() + HEAD_START
        busy = self._pipes[: len(orders)]
        for pipe, order in zip(busy, orders, strict=True):
            pipe.send((*order, start_at))
        return [waited for pipe in busy for waited in pipe.recv()]

    def end(self) -> None:
        """Let the processes end."""
        for pipe in self._pipes:
            pipe.send(None)


def scenes(processes: int) -> dict[str, Callable[[str, str], list[tuple[Any, ...]]]]:
    """Who calls, by what the table says: one order a process."""
    return {
        "32 threads": lambda name, key: [("by_threads", name, key, 32)],
        "200 tasks": lambda name, key: [("by_tasks", name, key, 200)],
        f"{processes} processes": lambda name, key: [("by_threads", name, key, 1)] * processes,
        "all of them": lambda name, key: [
            ("by_threads", name, key, 32),
            ("by_tasks", name, key, 200),
            *[("by_threads", name, key, 1)] * (processes - 2),
        ],
    }


def main() -> int:
    """Measure, print, and return 0 if the bars hold."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=11, help="cold keys a scene")
    parser.add_argument("--processes", type=int, default=32, help="processes that call at once, 3 or more")
    parser.add_argument("--loader-ms", type=float, default=50.0, help="what the loader takes")
    options = parser.parse_args()
    holds = True
    with RedisServer() as server:
        print(lines(describe(server.url, "none")))
        print(f"loader       {options.loader_ms:g} ms; {options.rounds} cold keys; medians of callers\n")
        client = redis.Redis.from_url(server.url)
        crowd = Crowd(options.processes, server.url, options.loader_ms / 1e3)
        for title, orders in scenes(options.processes).items():
            print(f"{title:20}{'median ms':>12}{'slowest ms':>12}{'loader calls':>14}")
            for name in BACKENDS:
                calls, medians, slowest = [], [], []
                for number in range(options.rounds):
                    key = f"{title}:{name}:{number}".replace(" ", "-")
                    waited = crowd.ask(orders(name, key))
                    calls.append(int(client.get(f"calls:{key}") or 0))  # type: ignore[arg-type]
                    medians.append(statistics.median(waited))
                    slowest.append(max(waited))
                median = statistics.median(medians)
                print(
                    f"  {name:18}{median:12.1f}{statistics.median(slowest):12.1f}"
                    f"{min(calls):7} .. {max(calls)}",
                    flush=True,
                )
                if name == OURS:
                    holds &= set(calls) == {1} and median <= options.loader_ms + BAR_MS
            print()
        crowd.end()
    print("The bars hold." if holds else f"A bar does not hold: one call, median within {BAR_MS:g} ms of it.")
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
