"""A process that reads computed values with tags until it is told to stop.

``python -m tests.cache.tag_process URL THREADS``; tests that drop tags elsewhere start several of it. It
says ``ready`` once it reads. At the next line of its input it tells, for each of its threads, by key and
number, when the last read began that gave this number, and the number that the very last read gave.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time

from tests.cache.near_process import set_up

TAGS = {"k:near": ["red", "round"], "plain": ["red"], "k:batch": ["round", "red"]}
"""What is read, with the tags it is stored with; those that begin with ``k:`` may be copied."""


class Reader:
    """Reads the keys in turn, in one thread."""

    def __init__(self, cache):
        self._cache = cache
        self._client = cache.redis_client()
        self.last = {key: {} for key in TAGS}
        self.final = {}

    def load(self):
        """Read the source, and be slow in coming back with it."""
        number = int(self._client.get("t:source"))
        time.sleep(random.uniform(0, 0.02))
        return {"n": number}

    def run(self, stopped):
        """Read until stopped."""
        while not stopped.is_set():
            for key, tags in TAGS.items():
                began = time.monotonic_ns()
                if key == "k:batch":
                    found = self._cache.get_many([key]).get(key)
                    found = found or self._cache.get_or_set(key, self.load, 600, tags=tags)
                else:
                    found = self._cache.get_or_set(key, self.load, 600, tags=tags)
                self.last[key][found["n"]] = began
                self.final[key] = found["n"]


def main():
    """Read, then report."""
    cache = set_up(sys.argv[1], "broadcast")
    readers = [Reader(cache) for _ in range(int(sys.argv[2]))]
    stopped = threading.Event()
    threads = [threading.Thread(target=reader.run, args=(stopped,)) for reader in readers]
    for thread in threads:
        thread.start()
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    stopped.set()
    for thread in threads:
        thread.join()
    print(json.dumps([[reader.last, reader.final] for reader in readers]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
