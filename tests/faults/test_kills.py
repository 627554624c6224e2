"""Connections that the server ends again and again, under load (F-R12)."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest
import redis

from tests.cache.waiting import wait_until

THREADS = 8
KEYS = 20
OPTIONS = {"RULES": {"near:": {"near": True}}, "NEAR": "rules", "MAX_CONNECTIONS": 10}
BETWEEN = 3
"""Calls that each thread has ended since the kill before, so that none meets two."""


class Load:
    """Threads that read and write keys of their own, and know what they must find; the first by a loop.

    Args:
        cache: What they call.
    """

    def __init__(self, cache):
        self.cache = cache
        self.raised, self.wrong, self.failed = [], [], []
        """What was raised; reads of something else than was written; calls that were not done."""
        self.ended = [0] * THREADS
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(name,)) for name in range(THREADS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def errors(self):
        """Calls that a server failed."""
        return sum(counts["errors"] for counts in self.cache.counted().values())

    def _work(self, name):
        try:
            if name:
                self._by_turns(name)
            else:
                asyncio.run(self._natively(name))
        except Exception as error:
            self.raised.append(error)

    def _by_turns(self, name):
        cache, held, number = self.cache, {}, 0
        while not self._stop.is_set():
            number += 1
            key = f"{'near:' if number % 2 else 'far:'}{name}-{number % KEYS}"
            match number % 5:
                case 0:
                    done = cache.set(key, [name, number])
                    held[key] = [name, number]
                case 1:
                    done = cache.set_many({key: [name, number]}) == []
                    held[key] = [name, number]
                case 2:
                    done = held.get(key) is None or cache.touch(key, 600)
                case 3:
                    done = self._is_right(cache.get_many([key]).get(key), held.get(key))
                case _:
                    done = self._is_right(cache.get(key), held.get(key))
            if not done:
                self.failed.append(key)
            self.ended[name] += 1

    async def _natively(self, name):
        cache, number = self.cache, 0
        while not self._stop.is_set():
            number += 1
            keys = [f"near:{name}-{number}-{each}" for each in range(3)]
            done = await asyncio.gather(*(cache.aset(key, key, 60) for key in keys))
            found = await asyncio.gather(*(cache.aget(key) for key in keys))
            right = [self._is_right(each, key) for each, key in zip(found, keys, strict=True)]
            if not all((*done, *right)):
                self.failed.append(keys)
            self.ended[name] += 1

    def _is_right(self, found, written):
        """Tell whether a read found what was written; a miss is a failure, another value is wrong."""
        if found is not None and found != written:
            self.wrong.append((found, written))
        return found == written


def kill(admin):
    """End all connections but this one."""
    for kind in ("normal", "pubsub"):
        admin.client_kill_filter(_type=kind, skipme=True)


class TestKills:
    def test_each_once(self, make_cache, start_redis):
        """Whatever a call was doing when its connection was ended, it is answered rightly."""
        server = start_redis()
        with redis.Redis.from_url(server.url) as admin:
            with Load(make_cache(server.url, DEADLINE=10, **OPTIONS)) as load:
                for _ in range(15):
                    before = list(load.ended)
                    wait_until(
                        lambda before=before: (
                            load.raised
                            or all(
                                now >= then + BETWEEN for now, then in zip(load.ended, before, strict=True)
                            )
                        )
                    )
                    kill(admin)
            assert (load.raised, load.wrong, load.failed, load.errors) == ([], [], [], 0)

    @pytest.mark.long
    def test_ten_a_second(self, make_cache, start_redis, capsys):
        """For thirty seconds all connections are ended ten times a second: no error, no wrong reply."""
        server = start_redis()
        kills, ends_at = 0, time.monotonic() + 30
        with redis.Redis.from_url(server.url) as admin:
            with Load(make_cache(server.url, **OPTIONS)) as load:
                while time.monotonic() < ends_at:
                    time.sleep(0.1)
                    kill(admin)
                    kills += 1
            with capsys.disabled():
                sys.stdout.write(
                    f"\n{sum(load.ended):,} calls through {kills} kills: {load.errors} errors, "
                    f"{len(load.wrong)} wrong\n"
                )
            assert (load.raised, load.wrong, load.failed, load.errors) == ([], [], [], 0)
