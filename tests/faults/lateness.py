"""How late this machine is by itself: what a bound in milliseconds is allowed more on a busy one."""

from __future__ import annotations

import threading
import time

NAP_SECONDS = 0.002


class Lateness:
    """Sleeps for a moment again and again while something is measured, and is told of nothing else."""

    def __init__(self):
        self.seconds = 0.0
        """How much later than asked for it woke up at the worst."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._nap)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def __str__(self):
        return f"the machine late by {self.seconds * 1000:.0f} ms"

    def _nap(self):
        while True:
            began = time.monotonic()
            if self._stop.wait(NAP_SECONDS):
                return
            self.seconds = max(self.seconds, time.monotonic() - began - NAP_SECONDS)
