"""A process whose threads call a cache without a pause, told by lines on its standard input what to do.

``python -m tests.faults.caller_process URL SEED`` calls until it is told ``end``; it answers ``look`` and
``end`` by a line of JSON: what it takes of the machine, and what has gone wrong.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.cache import process_cache

THREADS = 8
CONNECTIONS = 10
KEYS = 500
PAUSE_SECONDS = 0.005
"""Between two calls of a thread: what is looked for takes time, not work."""
OPTIONS = {
    "RULES": {"near:": {"near": True}},
    "NEAR": "rules",
    "MAX_CONNECTIONS": CONNECTIONS,
}


def set_up(url):
    """Return the cache of this process."""
    return process_cache.set_up(url, OPTIONS)


def resident_bytes():
    """What the process has of the machine's memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


class Office:
    """The threads, and what they have met with; the last of them has an event loop.

    Args:
        cache: What they call.
        seed: Of what they choose.
    """

    def __init__(self, cache, seed):
        self._cache = cache
        self._stop = threading.Event()
        self._faults = []
        self._calls = 0
        threading.excepthook = lambda met: self._faults.append(repr(met.exc_value))
        sys.unraisablehook = lambda met: self._faults.append(repr(met.exc_value))
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(seed + number), number == 0))
            for number in range(THREADS)
        ]

    def open(self):
        """Begin."""
        for thread in self._threads:
            thread.start()

    def look(self):
        """What the process takes now."""
        gc.collect()
        return {
            "bytes": resident_bytes(),
            "files": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(),
        }

    def close(self):
        """End; tell how many calls there were, and what went wrong."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        deadline = time.monotonic() + 60
        while self._cache._runtime.recovery.is_pending and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._cache._runtime.recovery.is_pending:
            self._faults.append("what was lost is not made good")
        return {"calls": self._calls, "faults": self._faults, **self.look()}

    def _work(self, dice, is_native):
        if is_native:
            asyncio.run(self._native(dice))
            return
        while not self._stop.wait(PAUSE_SECONDS):
            key = self._key(dice)
            try:
                self._met(key, self._one_call(dice.randrange(8), key))
            except Exception as error:
                self._faults.append(repr(error))

    async def _native(self, dice):
        while not self._stop.is_set():
            await asyncio.sleep(PAUSE_SECONDS)
            key = self._key(dice)
            try:
                if dice.random() < 0.3:
                    await self._cache.aset(key, {"key": key})
                self._met(key, await self._cache.aget(key))
            except Exception as error:
                self._faults.append(repr(error))

    def _key(self, dice):
        self._calls += 1
        return f"{dice.choice(['near:', 'other:', ''])}{dice.randrange(KEYS)}"

    def _met(self, key, value):
        if value not in (None, {"key": key}):
            self._faults.append(f"{key} gave {value}")

    def _one_call(self, kind, key):
        """Make a call of some kind; return what it found at the key."""
        cache, value = self._cache, {"key": key}
        match kind:
            case 0:
                cache.set(key, value)
            case 1:
                cache.delete(key)
            case 2:
                cache.set_many({key: value})
            case 3:
                return cache.get_many([key]).get(key)
            case 4:
                return cache.get_or_set(key, lambda: value)
            case 5:
                cache.incr("count", ignore_key_check=True)
            case _:
                return cache.get(key)
        return None


class CallerProcess:
    """Such a process, from outside.

    Args:
        url: Of Redis.
        seed: Of what its threads choose.
    """

    def __init__(self, url, seed):
        command = [sys.executable, "-m", "tests.faults.caller_process", url, str(seed)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, word):
        """Tell it ``look`` or ``end``; return the answer."""
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.communicate()


def main():
    """Call, and answer, until told to end."""
    url, seed = sys.argv[1:]
    office = Office(set_up(url), int(seed))
    office.open()
    for line in sys.stdin:
        answer = office.close() if line == "end\n" else office.look()
        print(json.dumps(answer), flush=True)  # noqa: T201
        if line == "end\n":
            return


if __name__ == "__main__":
    main()
