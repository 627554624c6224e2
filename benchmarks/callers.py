"""Processes that read and write synced records of the sample site at a steady pace."""

from __future__ import annotations

import multiprocessing
import random
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from benchmarks.contenders import CAMPAIGN

GETS = 4
"""Keys that a request reads before it writes one."""
CHUNK = 500
"""Keys that are written at once at the start."""


@dataclass(slots=True)
class Called:
    """What became of some calls."""

    gets: list[float] = field(default_factory=list)
    """Microseconds that each took."""
    sets: list[float] = field(default_factory=list)
    """The same."""
    written: set[str] = field(default_factory=set)
    """Keys that were set."""
    failures: list[str] = field(default_factory=list)
    """The names of what was raised."""

    def add(self, other: Called) -> None:
        """Take the calls of somebody else too."""
        self.gets += other.gets
        self.sets += other.sets
        self.written |= other.written
        self.failures += other.failures


class Callers:
    """The processes; Django's settings come to them by the environment.

    Args:
        processes: How many.
        keys: How many keys there are; each process uses all of them.
        pace: Requests a second of each, at random moments.
    """

    def __init__(self, processes: int, keys: int, pace: int) -> None:
        self.keys = [f"call:{number}" for number in range(keys)]
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        for seed in range(processes):
            ours, theirs = context.Pipe()
            context.Process(target=serve, args=(theirs, self.keys, pace, seed), daemon=True).start()
            # What is left of it here would hide that the process has ended.
            theirs.close()
            self._pipes.append(ours)

    def __enter__(self) -> Self:
        for pipe in self._pipes:
            pipe.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()

    def fill(self) -> None:
        """Write every key once."""
        self._pipes[0].send(("fill",))
        self._pipes[0].recv()

    def work(self, seconds: float) -> Called:
        """Let all of them call for a while; return what became of it."""
        for pipe in self._pipes:
            pipe.send(("work", seconds))
        found = Called()
        for pipe in self._pipes:
            found.add(pipe.recv())
        return found


class Caller:
    """One process of callers."""

    def __init__(self, keys: list[str], pace: int, seed: int) -> None:
        from django.core.cache import caches

        self._cache = caches["default"]
        self._keys = keys
        self._pace = pace
        self._chance = random.Random(seed)

    def fill(self) -> None:
        """Write every key."""
        for start in range(0, len(self._keys), CHUNK):
            failed = self._cache.set_many(dict.fromkeys(self._keys[start : start + CHUNK], CAMPAIGN), None)
            assert not failed, failed[0]

    def work(self, seconds: float) -> Called:
        """Serve requests."""
        called = Called()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for key in self._chance.choices(self._keys, k=GETS):
                self._time(called.gets, called.failures, self._cache.get, key)
            key = self._chance.choice(self._keys)
            value = {**CAMPAIGN, "calls_made": self._chance.randrange(10**6)}
            if self._time(called.sets, called.failures, self._cache.set, key, value, None):
                called.written.add(key)
            time.sleep(self._chance.expovariate(self._pace))
        return called

    def _time(self, samples: list[float], failures: list[str], call: Any, *arguments: Any) -> Any:
        from django_callcache.exceptions import CallCacheError

        began = time.perf_counter()
        try:
            return call(*arguments)
        except CallCacheError as error:
            failures.append(type(error).__name__)
        finally:
            samples.append((time.perf_counter() - began) * 1e6)


def serve(pipe: Connection, keys: list[str], pace: int, seed: int) -> None:
    """Carry out orders until there are no more."""
    import django

    django.setup()
    caller = Caller(keys, pace, seed)
    pipe.send("ready")
    while True:
        try:
            name, *arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(getattr(caller, name)(*arguments))
