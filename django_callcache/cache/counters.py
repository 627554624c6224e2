"""Counts of accesses, kept in plain integers.

Nothing here takes a lock: under the GIL an increment may be lost when two threads meet in it,
which was not seen in millions of tries and would shift a statistic, not a value. Counts are
never set back: every reader keeps its own mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from django_callcache.outbox.stat_buckets import COUNTERS, FIELDS, LATENCY_SLOTS, Growth

HITS, NEAR_HITS, MISSES, SETS, DELETES, ERRORS, UNDECODABLE, CHECKED, STALE = range(len(COUNTERS))
READ_LATENCY = len(COUNTERS)
WRITE_LATENCY = READ_LATENCY + LATENCY_SLOTS
LAST_SLOT = LATENCY_SLOTS - 1


class PrefixCounts:
    """Counts of one prefix: `slots` laid out as `FIELDS` names them, and reads by key.

    Args:
        max_keys: How many distinct keys are told apart between two flushes.
    """

    __slots__ = ("_max_keys", "reads", "slots")

    def __init__(self, max_keys: int) -> None:
        self.slots = [0] * len(FIELDS)
        self.reads: dict[str, int] = {}
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

    def forget(self) -> None:
        """Start from nothing, as a child process does: its parent reports what was counted so far."""
        self.slots = [0] * len(FIELDS)
        self.reads = {}


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
