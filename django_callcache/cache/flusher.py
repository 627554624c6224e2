"""The timer that takes counts to Redis and brings back what all share: profile, pins, dictionaries."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable

import redis

from django_callcache.cache.registry import runtimes
from django_callcache.cache.runtime import Runtime
from django_callcache.outbox.processes import REPORT_SECONDS

logger = logging.getLogger(__name__)

PROFILE_SECONDS = 60.0
LATE_SECONDS = 30.0

counted_for: list[Callable[[Runtime], object]] = []
"""Called for each alias whenever its counts were taken to Redis, or should have been: who keeps counts of a
library of its own adds itself here from above."""


class Flusher:
    """One daemon thread a process, started when the first backend object is made."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew, as a child process must: threads do not survive a fork."""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._profile_at = 0.0
        self._report_at = 0.0
        self._flushed_at = time.monotonic()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="callcache-flusher", daemon=True)
                self._thread.start()

    def flush_if_late(self) -> None:
        """Flush in the caller's thread where the timer has not: some servers stop their workers' threads."""
        if time.monotonic() - self._flushed_at > LATE_SECONDS:
            self._flushed_at = time.monotonic()
            for runtime in runtimes():
                _flush(runtime)

    def finish(self) -> None:
        """Take what is left to Redis; the process ends. A server that fails is not asked again."""
        self._stop.set()
        for runtime in runtimes():
            exchange = runtime.exchange
            if not _flush(runtime) or not _attempt(runtime, "learning=late", exchange.share_learning):
                continue
            if _counts(runtime) and _attempt(runtime, "trace=lost", exchange.share_trace):
                _attempt(runtime, "report=stays", exchange.leave)

    def _run(self) -> None:
        stop = self._stop
        for runtime in runtimes():  # before the first writes, if possible
            _follow(runtime)
        while not stop.wait(min((each.settings.stats.flush_interval for each in runtimes()), default=5.0)):
            with_profile = time.monotonic() >= self._profile_at
            if with_profile:
                self._profile_at = time.monotonic() + PROFILE_SECONDS
            with_report = time.monotonic() >= self._report_at
            if with_report:
                self._report_at = time.monotonic() + REPORT_SECONDS
            self._flushed_at = time.monotonic()
            for runtime in runtimes():
                _exchange(runtime, stop, with_profile=with_profile, with_report=with_report)


def _exchange(runtime: Runtime, stop: threading.Event, *, with_profile: bool, with_report: bool) -> None:
    """Take to Redis what was counted and learnt, and bring back what is due."""
    exchange = runtime.exchange
    _flush(runtime)
    _attempt(runtime, "learning=late", lambda: exchange.share_learning(with_all=with_profile))
    _follow(runtime)
    if _counts(runtime):
        if _attempt(runtime, "trace=lost", exchange.share_trace) and with_report:
            _attempt(runtime, "trace=late", exchange.follow_recording)
        if with_report:
            _attempt(runtime, "report=late", lambda: exchange.report(runtime.condition()))
            _attempt(runtime, "probe=late", lambda: runtime.probe(stop.wait))
    if with_profile:
        _attempt(runtime, "profile=late", runtime.read_profile)
    if with_profile or not runtime.dictionaries.was_read:
        _attempt(runtime, "dictionaries=late", runtime.read_dictionaries)


def _flush(runtime: Runtime) -> bool:
    for tell in counted_for:
        tell(runtime)
    return not _counts(runtime) or _attempt(runtime, "statistics=late", runtime.exchange.flush_stats)


def _follow(runtime: Runtime) -> None:
    _attempt(runtime, "overrides=late", runtime.exchange.follow_overrides)


def _attempt(runtime: Runtime, otherwise: str, work: Callable[[], object]) -> bool:
    """Do what is done again next time if Redis fails; tell whether it did not."""
    try:
        work()
    except redis.RedisError as error:
        logger.debug("alias=%s %s error=%s", runtime.alias, otherwise, type(error).__name__)
        return False
    return True


def _counts(runtime: Runtime) -> bool:
    return runtime.options.stats and runtime.settings.stats.enabled


_flusher = Flusher()
keep_flushing = _flusher.start
flush_if_late = _flusher.flush_if_late
atexit.register(_flusher.finish)
os.register_at_fork(after_in_child=_flusher.forget)
