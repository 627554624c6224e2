"""Counts of accesses, kept in plain integers.

Nothing here takes a lock: under the GIL an increment may be lost when two threads meet in it,
which was not seen in millions of tries and would shift a statistic, not a value. Counts are
never set back: every reader keeps its own mark.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import replace

from django_callcache.outbox.stat_buckets import (
    COUNTERS,
    FIELDS,
    LATENCY_SLOTS,
    TTL_BANDS,
    TTL_BOUNDS,
    Growth,
)

HITS, NEAR_HITS, MISSES, SETS, DELETES, ERRORS, UNDECODABLE, CHECKED, STALE = range(len(COUNTERS))
READ_LATENCY = len(COUNTERS)
WRITE_LATENCY = READ_LATENCY + LATENCY_SLOTS
LAST_SLOT = LATENCY_SLOTS - 1
TTL = WRITE_LATENCY + LATENCY_SLOTS
_BOUNDS_MS = tuple(bound * 1000 for bound in TTL_BOUNDS)

DISTINCT_TTLS = 256
"""Different times to live that are told apart until the counts are next looked at; others go to their band at
once, which costs a little more."""


class PrefixCounts:
    """Counts of one prefix: `slots` laid out as `FIELDS` names them, and reads by key.

    Args:
        max_keys: How many distinct keys are told apart between two flushes.
    """

    __slots__ = ("_max_keys", "_ttls", "reads", "slots")

    def __init__(self, max_keys: int) -> None:
        self.slots = [0] * len(FIELDS)
        self.reads: dict[str, int] = {}
        self._ttls: dict[bytes, int] = {}
        self._max_keys = max_keys

    def read(self, key: str, outcome: int, nanoseconds: int) -> None:
        """Count a get."""
        slots = self.slots
        slots[outcome] += 1
        slot = (nanoseconds >> 10).bit_length()
        slots[READ_LATENCY + (slot if slot < LAST_SLOT else LAST_SLOT)] += 1
        reads = self.reads
        if key in reads:
            reads[key] += 1
        elif len(reads) < self._max_keys:
            reads[key] = 1

    def read_near(self, key: str, outcome: int, number: int) -> None:
        """Count gets that the near cache answered and counted by itself."""
        self.slots[outcome] += number
        reads = self.reads
        if key in reads or len(reads) < self._max_keys:
            reads[key] = reads.get(key, 0) + number

    def wrote(self, outcome: int, nanoseconds: int) -> None:
        """Count a write."""
        slots = self.slots
        slots[outcome] += 1
        slot = (nanoseconds >> 10).bit_length()
        slots[WRITE_LATENCY + (slot if slot < LAST_SLOT else LAST_SLOT)] += 1

    def keeps(self, px: bytes) -> None:
        """Count an entry that was written, by the milliseconds that it lives; empty for ever."""
        ttls = self._ttls
        if px in ttls:
            ttls[px] += 1
        elif len(ttls) < DISTINCT_TTLS:
            ttls[px] = 1
        else:
            self.slots[TTL + band_of(px)] += 1

    def settle(self) -> None:
        """Bring `slots` up to date: times to live are sorted into their bands when somebody looks."""
        taken, self._ttls = self._ttls, {}
        for px, number in taken.items():
            self.slots[TTL + band_of(px)] += number

    def forget(self) -> None:
        """Start from nothing, as a child process does: its parent reports what was counted so far."""
        self.slots = [0] * len(FIELDS)
        self.reads = {}
        self._ttls = {}


def band_of(px: bytes) -> int:
    """Return the band of `TTL_BOUNDS` that a time to live in milliseconds falls into; empty is for ever."""
    return bisect_left(_BOUNDS_MS, int(px)) if px else TTL_BANDS - 1


class CountsReader:
    """One reader's mark on the counts of an alias: what has grown since it last looked."""

    def __init__(self) -> None:
        self._confirmed: dict[str, list[int]] = {}
        self._seen: dict[str, list[int]] = {}
        self._confirmed_whole: Mapping[str, int] = {}
        self._seen_whole: Mapping[str, int] = {}

    def growth(self, prefixes: Mapping[str, PrefixCounts], whole: Mapping[str, int] | None = None) -> Growth:
        """What has grown since the last `confirm`; the reads by key are taken, not copied.

        Args:
            prefixes: Counts by prefix.
            whole: Counts of the whole alias, by name.
        """
        self._seen_whole = whole or {}
        for prefix in prefixes.values():
            prefix.settle()
        self._seen = {name: list(prefix.slots) for name, prefix in prefixes.items()}
        reads: dict[str, Mapping[str, int]] = {}
        for name, prefix in prefixes.items():
            if prefix.reads:
                taken, prefix.reads = prefix.reads, {}
                reads[name] = dict(taken)
        known = self._confirmed_whole
        grown = {name: count - known.get(name, 0) for name, count in self._seen_whole.items()}
        return replace(Growth.between(self._confirmed, self._seen, reads), whole=grown)

    def confirm(self) -> None:
        """Move the mark: what `growth` returned has arrived."""
        self._confirmed = self._seen
        self._confirmed_whole = self._seen_whole
