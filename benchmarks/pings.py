"""Another client of a Redis: it asks all the time, from a process of its own, and tells its longest wait.

    python -m benchmarks.pings redis://127.0.0.1:6379/0

It ends with its standard input, and then prints milliseconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Self

import redis

PAUSE_SECONDS = 0.002


class Pings:
    """The process, for as long as a block lasts; afterwards ``worst_ms`` is what it has told."""

    def __enter__(self) -> Self:
        command = (sys.executable, "-m", "benchmarks.pings", os.environ["REDIS_URL"])
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]
        self._process.stdout.readline()  # it has begun
        return self

    def __exit__(self, *_: object) -> None:
        told, _ = self._process.communicate()
        self.worst_ms = float(told)


def main() -> None:
    """Ask until nobody listens."""
    client = redis.Redis.from_url(sys.argv[1])
    client.ping()
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    print("begun", flush=True)
    worst = 0.0
    while not over.wait(PAUSE_SECONDS):
        began = time.perf_counter()
        client.ping()
        worst = max(worst, time.perf_counter() - began)
    print(worst * 1000)


if __name__ == "__main__":
    main()
