"""What lies in Redis: the bytes that an entry takes, and what it costs to delete many by a pattern."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

import redis
from django.core.management import call_command

from benchmarks.peer_backends import OURS_DICTIONARY, TIMEOUT
from benchmarks.records import contact
from benchmarks.rounds import Samples

ENTRIES = 5000
FILLERS = 20_000
"""Other entries, so many that Redis need not enlarge its tables while an entry is weighed."""
SWEPT = 100_000
SWEEP_ROUNDS = 3


def memory(caches: Mapping[str, Any], redis_url: str) -> dict[str, float]:
    """Bytes of Redis's memory an entry, of records that all differ."""
    chance = random.Random(11)
    records = {f"contact:{number}": contact(chance) for number in range(ENTRIES)}
    taken = {}
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        with client.pipeline(transaction=False) as pipeline:
            for number in range(FILLERS):
                pipeline.set(f"filler:{number}", b"", ex=TIMEOUT)
            pipeline.execute()
        for name, cache in caches.items():
            if name == OURS_DICTIONARY:
                train(cache, name)
            for key, value in list(records.items())[:100]:
                cache.set(f"before:{key}", value, TIMEOUT)  # scripts, connections and dictionaries are there
            before = held_by_keys(client)
            for key, value in records.items():
                cache.set(key, value, TIMEOUT)
            taken[name] = (held_by_keys(client) - before) / ENTRIES
            cache.delete_many(list(records))
    return taken


def held_by_keys(client: redis.Redis) -> int:
    """Bytes that the server has allocated, without what it keeps for its clients."""
    memory = client.info("memory")
    return int(memory["used_memory"] - memory["mem_clients_normal"])


def train(cache: Any, alias: str) -> None:
    """Train a dictionary on other records than those that are measured."""
    chance = random.Random(12)
    cache.set_many({f"contact:{number}": contact(chance) for number in range(4000)}, TIMEOUT)
    with redirect_stdout(io.StringIO()):
        call_command("migrate", verbosity=0)
        call_command("callcache_train", "--prefix", "contact:", "--alias", alias)
    cache.read_dictionaries()
    cache.delete_pattern("contact:*")


def sweeps(caches: Mapping[str, Any], redis_url: str) -> tuple[dict[str, Samples], dict[str, float]]:
    """Delete 100,000 keys by a pattern.

    Returns:
        Microseconds a key; and for how many milliseconds one command held up all other clients, at most.
    """
    able = {name: cache for name, cache in caches.items() if hasattr(cache, "delete_pattern")}
    samples = {name: Samples() for name in able}
    held: dict[str, float] = {}
    names = list(able)
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("latency-monitor-threshold", 1)
        for number in range(SWEEP_ROUNDS):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                cache = able[name]
                with client.pipeline(transaction=False) as pipeline:
                    for each in range(SWEPT):
                        pipeline.set(str(cache.make_key(f"sweep:{each}")), b"x" * 100)
                        if each % 10_000 == 9999:
                            pipeline.execute()
                client.execute_command("LATENCY", "RESET")
                wall, cpu = time.perf_counter(), time.process_time()
                cache.delete_pattern("sweep:*")
                samples[name].cpu.append((time.process_time() - cpu) / SWEPT * 1e6)
                samples[name].wall.append((time.perf_counter() - wall) / SWEPT * 1e6)
                if list(client.scan_iter(str(cache.make_key("sweep:*")), count=1000)):
                    raise RuntimeError(f"{name} has left keys behind")
                events = {event[0]: event[3] for event in client.execute_command("LATENCY", "LATEST")}
                held[name] = max(held.get(name, 0.0), float(events.get(b"command", 0)))
    return samples, held
