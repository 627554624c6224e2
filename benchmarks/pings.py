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
from typing import Any, Self

import redis

PAUSE_SECONDS = 0.002


class Pings:
    """The process, for as long as a block lasts; afterwards ``worst_ms`` is what it has told.

    It prints that, and the longest command that the server itself knows of: where a PING waited longer,
    it waited for the machine.

    Args:
        client: Of the same server, to ask it for its slow log.
        occasion: What goes on meanwhile.
    """

    def __init__(self, client: redis.Redis, occasion: str) -> None:
        self._client: Any = client
        self._occasion = occasion

    def __enter__(self) -> Self:
        self._client.config_set("slowlog-log-slower-than", 200)
        self._client.slowlog_reset()
        command = (sys.executable, "-m", "benchmarks.pings", os.environ["REDIS_URL"])
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]
        self._process.stdout.readline()  # it has begun
        return self

    def __exit__(self, *_: object) -> None:
        told, _ = self._process.communicate()
        self.worst_ms = float(told)
        print(f"{self.worst_ms:23.1f}  slowest PING, {self._occasion}; {self._longest()}", flush=True)

    def _longest(self) -> str:
        commands = self._client.slowlog_get(128)
        if not commands:
            return "no command of 0.2 ms"
        longest = max(commands, key=lambda each: each["duration"])
        return f"longest command {longest['duration'] / 1000:.1f} ms, {longest['command'][:60]!r}"


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
