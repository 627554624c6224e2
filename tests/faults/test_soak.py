"""Processes that live through fault after fault neither grow nor leak (F-L1)."""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import ExitStack

import pytest
import redis

from tests.cache.test_faults import stopped
from tests.faults.caller_process import CONNECTIONS, THREADS, CallerProcess

SECONDS = float(os.environ.get("CALLCACHE_SOAK_SECONDS", "600"))
PROCESSES = 4
EVERY = 5.0
"""Seconds between two faults."""
GROWTH = 1.05
OWN_THREADS = 5
"""Beside those that call: the first, the timer, the link, leases, and what makes lost writes good."""


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 300)
class TestSoak:
    def test_faults__no_growth(self, start_redis, capsys):
        """Four processes of eight threads meet a fault every few seconds: nothing raised, wrong or grown."""
        seed = random.randrange(2**32)
        dice = random.Random(seed)
        server = start_redis(append_only=True)
        with ExitStack() as stack:
            admin = stack.enter_context(redis.Redis.from_url(server.url))
            callers = [CallerProcess(server.url, seed + THREADS * each) for each in range(PROCESSES)]
            for caller in callers:
                stack.callback(caller.close)
            looks = []
            ends_at = time.monotonic() + SECONDS
            while time.monotonic() < ends_at:
                time.sleep(min(EVERY, SECONDS / 10))
                self.disturb(server, admin, dice)
                looks.append([caller.ask("look") for caller in callers])
            ends = [caller.ask("end") for caller in callers]
        told = self.figures(looks, ends)
        with capsys.disabled():
            sys.stdout.write(f"\nseed {seed}, {len(looks)} faults\n" + "\n".join(told) + "\n")
        assert [fault for end in ends for fault in end["faults"]] == []
        settled = looks[len(looks) // 3]
        for before, after, end in zip(settled, looks[-1], ends, strict=True):
            assert after["bytes"] <= before["bytes"] * GROWTH
            assert after["files"] <= before["files"] + CONNECTIONS
            assert after["threads"] <= THREADS + OWN_THREADS
            assert end["threads"] <= OWN_THREADS

    def disturb(self, server, admin, dice):
        """Let one of the things happen that happen to a Redis."""
        match dice.randrange(4):
            case 0:
                for kind in ("normal", "pubsub"):
                    admin.client_kill_filter(_type=kind, skipme=True)
            case 1:
                with stopped(server):
                    time.sleep(dice.random())
            case 2:
                server.kill()
                time.sleep(dice.random())
                server.start()
            case 3:
                admin.config_set("maxmemory", 1)
                time.sleep(dice.random())
                admin.config_set("maxmemory", 0)

    def figures(self, looks, ends):
        """A line a process: what it took when it had settled, and at the end."""
        settled = looks[len(looks) // 3]
        for number, end in enumerate(ends):
            first, last = settled[number], looks[-1][number]
            grown = last["bytes"] / first["bytes"] - 1
            yield (
                f"process {number}: {end['calls']:,} calls, {len(end['faults'])} wrong {end['faults'][:3]}; "
                f"{first['bytes'] / 2**20:.1f} .. {last['bytes'] / 2**20:.1f} MiB ({grown:+.1%}), "
                f"{first['files']} .. {last['files']} files, {first['threads']} .. {last['threads']} threads"
            )
