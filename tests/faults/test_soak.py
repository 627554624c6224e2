"""A process that lives through fault after fault neither grows nor leaks (F-L1)."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from pathlib import Path

import pytest
import redis

from tests.cache.test_faults import stopped
from tests.cache.waiting import wait_until

SECONDS = float(os.environ.get("CALLCACHE_SOAK_SECONDS", "600"))
THREADS = 8
CONNECTIONS = 10
EVERY = 5.0
"""Seconds between two faults."""
RULES = {"near:": {"near": True}}


def resident_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 300)
class TestSoak:
    def test_faults__no_growth(self, make_cache, start_redis):
        """Threads work through cut connections and a server that stops: nothing raised, wrong or grown."""
        seed = random.randrange(2**32)
        print(f"seed={seed}")  # noqa: T201
        dice = random.Random(seed)
        server = start_redis()
        with redis.Redis.from_url(server.url) as admin:
            cache = make_cache(
                server.url, RULES=RULES, NEAR="rules", DEADLINE=0.25, MAX_CONNECTIONS=CONNECTIONS
            )
            before = open_files(), threading.active_count()
            stop, raised, wrong = threading.Event(), [], []

            def work(name):
                own = random.Random(seed + name)
                while not stop.is_set():
                    key = f"{own.choice(['near:', 'other:', ''])}{own.randrange(500)}"
                    try:
                        self.one_call(cache, own, key, wrong)
                    except Exception as error:
                        raised.append(error)
                    time.sleep(0.001)

            threads = [threading.Thread(target=work, args=(name,)) for name in range(THREADS)]
            for thread in threads:
                thread.start()
            ends_at, sizes = time.monotonic() + SECONDS, []
            while time.monotonic() < ends_at:
                time.sleep(min(EVERY, SECONDS / 10))
                self.disturb(server, admin, dice)
                gc.collect()
                sizes.append((resident_bytes(), open_files(), threading.active_count()))
            stop.set()
            for thread in threads:
                thread.join()
            wait_until(lambda: not cache._runtime.recovery.is_pending)
        assert (raised, wrong) == ([], [])
        settled, last = sizes[len(sizes) // 3], sizes[-1]
        print(f"bytes, files, threads: {settled} .. {last}")  # noqa: T201
        assert last[0] <= settled[0] * 1.05
        assert last[1] <= before[0] + CONNECTIONS + 6
        assert last[2] <= before[1] + THREADS + 4

    def one_call(self, cache, own, key, wrong):
        """A call of some kind; a value belongs to its key."""
        match own.randrange(6):
            case 0:
                cache.set(key, {"key": key})
            case 1:
                cache.delete(key)
            case 2:
                cache.set_many({key: {"key": key}})
            case 3:
                found = cache.get_many([key])
                if found and found[key] != {"key": key}:
                    wrong.append(key)
            case _:
                value = cache.get(key)
                if value not in (None, {"key": key}):
                    wrong.append(key)

    def disturb(self, server, admin, dice):
        """End all connections, or stop the server for a second at the most."""
        if dice.random() < 0.5:
            for kind in ("normal", "pubsub"):
                admin.client_kill_filter(_type=kind, skipme=True)
        else:
            with stopped(server):
                time.sleep(dice.random())
