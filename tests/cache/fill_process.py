"""A process that computes, told by lines of JSON on its standard input what to do.

What the tests of single flight start several of: ``python -m tests.cache.fill_process URL``. Loaders leave
their traces in Redis, where every process sees them: how often they were called, and what they found.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.cache import process_cache

OPTIONS = {"DEADLINE": 20, "STATS": False}


def set_up(url):
    """Return the cache of this process."""
    return process_cache.set_up(url, OPTIONS, {"STATS": {"FLUSH_INTERVAL": 3600}})


def loader_of(cache, key, seconds):
    """A loader that counts its calls and takes its time."""
    client = cache.redis_client()

    def load():
        number = client.incr(f"t:calls:{key}")
        time.sleep(seconds)
        return {"n": number}

    return load


def ready(cache):
    """Connect."""
    cache.get("nothing")


def mixed(cache, key, threads, tasks, seconds):
    """Ask for one key by threads and by tasks of a loop at once; return what each got."""
    load = loader_of(cache, key, seconds)
    start = threading.Barrier(threads + (1 if tasks else 0))

    def by_thread():
        start.wait()
        return cache.get_or_set(key, load)["n"]

    async def coroutine():
        return await asyncio.to_thread(load)

    async def by_tasks():
        start.wait()
        found = await asyncio.gather(*(cache.aget_or_set(key, coroutine) for _ in range(tasks)))
        return [value["n"] for value in found]

    with ThreadPoolExecutor(threads + 1) as pool:
        asked = [pool.submit(by_thread) for _ in range(threads)]
        got = pool.submit(lambda: asyncio.run(by_tasks())) if tasks else None
        return [each.result() for each in asked] + (got.result() if got is not None else [])


def hang(cache, key):
    """Compute without end."""
    client = cache.redis_client()
    client.incr(f"t:calls:{key}")
    cache.get_or_set(key, lambda: time.sleep(3600))


def race(cache, key, readers, until_round):
    """Read a key by several threads until a round is over; return what was read after each write's end.

    The source is a number in Redis; its loader is slow. A read that begins after a write was acknowledged
    must not find less than that write.
    """
    client = cache.redis_client()
    stale = []

    def load():
        found = int(client.get(f"t:source:{key}"))
        time.sleep(0.004)
        return found

    def read():
        while True:
            acknowledged = int(client.get(f"t:acknowledged:{key}"))
            found = cache.get_or_set(key, load)
            if found < acknowledged:
                stale.append([found, acknowledged])
            if acknowledged >= until_round:
                return

    with ThreadPoolExecutor(readers) as pool:
        for each in [pool.submit(read) for _ in range(readers)]:
            each.result()
    return stale


def main():
    cache = set_up(sys.argv[1])
    actions = {each.__name__: each for each in (ready, mixed, hang, race)}
    for line in sys.stdin:
        name, arguments = json.loads(line)
        sys.stdout.write(json.dumps(actions[name](cache, *arguments)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
