"""What this process sees of the keys that are recorded, until it is handed over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from django_callcache.cache.value_keys import ValueKeys
from django_callcache.outbox.trace_log import READ, REMOVAL, WRITE, Recording, TraceEvent

MOST_EVENTS = 20_000
"""Events that wait at the most: what comes beyond is dropped, so that a recording cannot fill a process."""
PORTION = 2000
"""Events handed over at a time."""
_HASHED = 2**32


class Tracer:
    """One recording in one process. Any number of threads may share it.

    Args:
        recording: Which keys.
        hashed: The keyed hash of a Redis key.
        value_keys: From callers' keys to Redis keys and back.
        clock: Unix seconds.
    """

    def __init__(
        self,
        recording: Recording,
        hashed: Callable[[bytes], bytes],
        value_keys: ValueKeys,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.recording = recording
        self._hashed = hashed
        self._value_keys = value_keys
        self._clock = clock
        self._events: list[TraceEvent] = []
        self._counted_at = clock()

    def read(self, reads: Mapping[str, Mapping[str, int]]) -> None:
        """Note reads by prefix and key, since the last time they were counted."""
        since, self._counted_at = self._counted_at, self._clock()
        span = max(0.0, self._counted_at - since)
        for prefix, by_key in reads.items():
            for key, number in by_key.items():
                name = self._name(self._value_keys.redis_key(key, None), key)
                if name:
                    self._add(TraceEvent(since, READ, prefix, name, number, span=span))

    def wrote(
        self, prefix: str, redis_key: bytes, digest: Callable[[], bytes], updated_at: float | None
    ) -> None:
        """Note that a value was stored, and what tells it from others."""
        name = self._name(redis_key, self._value_keys.caller_key(redis_key))
        if name:
            at = self._clock()
            self._add(TraceEvent(at, WRITE, prefix, name, digest=digest().hex(), updated_at=updated_at))

    def removed(self, prefix: str, redis_key: bytes) -> None:
        """Note that a key was deleted."""
        name = self._name(redis_key, self._value_keys.caller_key(redis_key))
        if name:
            self._add(TraceEvent(self._clock(), REMOVAL, prefix, name))

    def portions(self) -> Iterator[list[TraceEvent]]:
        """Take what waits, a portion at a time."""
        waiting, self._events = self._events, []
        for start in range(0, len(waiting), PORTION):
            yield waiting[start : start + PORTION]

    def _name(self, redis_key: bytes, key: str) -> str:
        """The hash of a key that is recorded; empty for others."""
        if not key.startswith(self.recording.prefix):
            return ""
        digest = self._hashed(redis_key)
        is_drawn = int.from_bytes(digest[:4], "big") < self.recording.share * _HASHED
        return digest.hex() if is_drawn else ""

    def _add(self, event: TraceEvent) -> None:
        if len(self._events) < MOST_EVENTS:
            self._events.append(event)
