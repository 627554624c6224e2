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
        """Take what is left to Redis; the process ends."""
        self._stop.set()
        for runtime in runtimes():
            _flush(runtime)
            _share(runtime)
            _record(runtime)
            _leave(runtime)

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
                _flush(runtime)
                _share(runtime, with_all=with_profile)
                _follow(runtime)
                _record(runtime, looks=with_report)
                if with_report:
                    _report(runtime)
                    _probe(runtime, stop)
                if with_profile:
                    _read_profile(runtime)
                if with_profile or not runtime.dictionaries.was_read:
                    _read_dictionaries(runtime)


def _flush(runtime: Runtime) -> None:
    for tell in counted_for:
        tell(runtime)
    if not _counts(runtime):
        return
    try:
        runtime.exchange.flush_stats()
    except redis.RedisError as error:
        logger.debug("alias=%s statistics=late error=%s", runtime.alias, type(error).__name__)


def _share(runtime: Runtime, *, with_all: bool = False) -> None:
    try:
        runtime.exchange.share_learning(with_all=with_all)
    except redis.RedisError as error:
        logger.debug("alias=%s learning=late error=%s", runtime.alias, type(error).__name__)


def _follow(runtime: Runtime) -> None:
    try:
        runtime.exchange.follow_overrides()
    except redis.RedisError as error:
        logger.debug("alias=%s overrides=late error=%s", runtime.alias, type(error).__name__)


def _record(runtime: Runtime, *, looks: bool = False) -> None:
    if not _counts(runtime):
        return
    try:
        runtime.exchange.share_trace()
        if looks:
            runtime.exchange.follow_recording()
    except redis.RedisError as error:
        logger.debug("alias=%s trace=lost error=%s", runtime.alias, type(error).__name__)


def _report(runtime: Runtime) -> None:
    if not _counts(runtime):
        return
    try:
        runtime.exchange.report(runtime.condition())
    except redis.RedisError as error:
        logger.debug("alias=%s report=late error=%s", runtime.alias, type(error).__name__)


def _probe(runtime: Runtime, stop: threading.Event) -> None:
    if not _counts(runtime):
        return
    try:
        runtime.probe(stop.wait)
    except redis.RedisError as error:
        logger.debug("alias=%s probe=late error=%s", runtime.alias, type(error).__name__)


def _leave(runtime: Runtime) -> None:
    if not _counts(runtime):
        return
    try:
        runtime.exchange.leave()
    except redis.RedisError as error:
        logger.debug("alias=%s report=stays error=%s", runtime.alias, type(error).__name__)


def _counts(runtime: Runtime) -> bool:
    return runtime.options.stats and runtime.settings.stats.enabled


def _read_profile(runtime: Runtime) -> None:
    try:
        runtime.read_profile()
    except redis.RedisError as error:
        logger.debug("alias=%s profile=late error=%s", runtime.alias, type(error).__name__)


def _read_dictionaries(runtime: Runtime) -> None:
    try:
        runtime.read_dictionaries()
    except redis.RedisError as error:
        logger.debug("alias=%s dictionaries=late error=%s", runtime.alias, type(error).__name__)


_flusher = Flusher()
keep_flushing = _flusher.start
flush_if_late = _flusher.flush_if_late
atexit.register(_flusher.finish)
os.register_at_fork(after_in_child=_flusher.forget)
