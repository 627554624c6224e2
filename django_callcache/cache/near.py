"""The near cache: copies of entries in this process, bounded, expiring, dropped when they change.

A hit costs a dictionary look-up, a check of two times and a counter. Callers never share an
object that could be changed: immutable values are handed out as they are, flat dicts, lists and
sets of immutables as shallow copies, everything else as a private copy by decoding.

How stale a hit can be: as old as the last confirmation of the invalidation link, at most
`MAX_STALENESS`; and never past the entry's own TTL.

Eviction is SIEVE (Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024).
"""

from __future__ import annotations

import datetime
import decimal
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from sys import getsizeof
from typing import Any

from django_callcache.cache.counters import MISSES, NEAR_HITS, PrefixCounts

Copy = Callable[[Any], Any]
Opened = Callable[[bytes, bytes], tuple[Copy, bytes]]
"""Takes a stored value, of a Redis key, apart into serialized bytes and what loads them."""

IMMUTABLE = frozenset(
    {
        *(str, bytes, int, float, bool, complex, type(None)),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID),
    }
)
"""Types whose objects cannot be changed, nor hold one that can; a time zone is shared by custom anyway."""

_are_immutable = IMMUTABLE.issuperset

ENTRY_BYTES = 500
"""What an entry costs beside its value: key, node and dictionary slot."""

LARGEST_SHARE = 8
"""One value may take this part of the cache's bytes; it is not worth more others."""

SMALL_BLOB = 1024
FLAGS = 1
"""The byte of a stored value that is zero where nothing in it is compressed."""
ITEM_BYTES = 64
"""What an object costs beside the bytes it is serialized to."""
WIDEST_CHARACTER = 4
"""Bytes that every character of a text takes if one of them is beyond the Basic Multilingual Plane."""

REMEMBERED_CHANGES = 1024
"""Keys whose last change is remembered, for reads under way to be told of it."""

MARK_BYTES = 16
MARK = slice(-MARK_BYTES, None)
"""The part of a stored value that tells it from others at the same key: its seal; an integer's text."""


def absent(_: Any) -> Any:
    """What is found in place of a copying function where a key is known to be absent."""


class NearEntry:
    """A copy of one entry, its own counter, and its place in SIEVE's queue."""

    __slots__ = (
        *("copy", "counted", "counts", "deadline", "filled", "hits", "is_tagged", "key"),
        *("mark", "newer", "older", "seen", "size", "value"),
    )

    def __init__(
        self,
        key: str,
        value: Any,
        copy: Copy | None,
        size: int,
        mark: bytes,
        deadline: int,
        counts: PrefixCounts,
    ) -> None:
        self.key = key
        self.value = value
        """The value, or its serialized bytes."""
        self.copy = copy
        """Makes what a caller gets of `value`; None where nothing can be changed in it."""
        self.size = size
        self.mark = mark
        self.deadline = deadline
        """From when on the copy is not served, in nanoseconds of the monotonic clock."""
        self.counts = counts
        self.hits = 0
        self.seen = 0
        """Hits when SIEVE's hand last passed: more since then means that the entry was visited."""
        self.counted = 0
        """Hits that are in the prefix's counts already."""
        self.filled = 0
        """The cache's clock when the copy was filled in."""
        self.is_tagged = False
        """Whether it goes when any tag is dropped."""
        self.newer: NearEntry | None = None
        self.older: NearEntry | None = None


class NearCache:
    """Copies of one alias's entries in this process.

    Hits are taken by `find` without a lock; everything that changes the cache takes one.

    A read that is to fill a copy begins with a token, the cache's own clock at that moment. The
    clock moves on with each change, and a copy is refused if its key has changed, or was filled
    with something else, since then. So a read that fails or is cancelled leaves nothing behind.

    Args:
        max_entries: Bound in entries, asked at each fill, since it follows the hours of the day.
        max_bytes: Bound in bytes, as the copies take them here.
        max_age: Seconds after which a copy is not served any more, whatever its TTL.
    """

    def __init__(self, max_entries: Callable[[], int], max_bytes: int, max_age: float) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_age = max_age
        self.limit_age(None)
        self._entries: dict[str, NearEntry] = {}
        self.find = self._entries.get
        """Look up an entry by the caller's key."""
        self._clock = 0
        self.forget()

    def forget(self) -> None:
        """Start anew in a forked child; hits not yet counted are for the parent to report."""
        self._lock = threading.Lock()
        self.evictions = 0
        """Copies dropped for want of room."""
        self.invalidations = 0
        """Announcements of changes that were heard."""
        self.checked = 0
        """Copies that were compared with Redis."""
        self.inconsistent = 0
        """Those that were served longer than they may be."""
        self.confirmed_until = 0
        """Until when hits may be served: the link moves it on with each confirmation."""
        self._clear()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str, default: Any, missing: Any) -> Any:
        """The value of a fresh and confirmed copy; ``default`` for a key known to be absent.

        Returns ``missing`` where Redis must be asked.
        """
        entry = self.find(key)
        if entry is None:
            return missing
        at = time.monotonic_ns()
        if at >= entry.deadline or at >= self.confirmed_until:
            return missing
        entry.hits += 1
        copy = entry.copy
        if copy is None:
            return entry.value
        if copy is absent:
            return default
        return self.copied(entry, missing)

    def copied(self, entry: NearEntry, missing: Any) -> Any:
        """A copy of an entry's value; ``missing`` where it cannot be loaded any more."""
        try:
            return entry.copy(entry.value)  # type: ignore[misc]
        except Exception:  # whatever a class may raise when it is loaded; the read of Redis will tell
            self.drop(entry.key)
            return missing

    def begin(self) -> int | None:
        """A token for a read of Redis that may end in a `fill`; None while nothing may be kept.

        Must be taken before the read is sent: whatever changes from then on voids it.
        """
        token = self._clock  # before the check: a link that ends in between voids the token
        return token if self.confirmed_until else None

    def deadline(self, started: int, ttl_ms: int) -> int:
        """When a copy stops to be served whose entry had ``ttl_ms`` left, or -1, after ``started``."""
        if 0 <= ttl_ms * 1_000_000 < self._max_age_ns:
            return started + ttl_ms * 1_000_000
        return started + self._max_age_ns

    def limit_age(self, seconds: float | None) -> None:
        """Serve copies that are filled from now on no longer than this, where it is less than the bound."""
        age = self._max_age if seconds is None else min(seconds, self._max_age)
        self._max_age_ns = int(age * 1e9)

    def fill(self, entries: Iterable[NearEntry], token: int) -> None:
        """Keep copies of what was read, unless its key has changed since the read began.

        Two reads of one key that overlap and found different values leave none: which of them
        Redis answered last is unknown here.
        """
        with self._lock:
            limit = self._max_entries()
            for entry in entries:
                floor = self._tagged_floor if entry.is_tagged else self._floor
                if token >= floor and self._changed.get(entry.key, 0) <= token:
                    self._fill(entry, token, limit)

    def _fill(self, entry: NearEntry, token: int, limit: int) -> None:
        known = self._entries.get(entry.key)
        if known is not None:
            if known.filled > token:
                if known.mark != entry.mark:
                    self._change(entry.key)
                return
            self._remove(known)
        if entry.size > self._max_bytes // LARGEST_SHARE:
            return
        while self._entries and (len(self._entries) >= limit or self.bytes + entry.size > self._max_bytes):
            self._evict()
        self._clock += 1
        entry.filled = self._clock
        self._insert(entry)

    def drop(self, key: str) -> None:
        """Drop the copy of a key that has changed, and void the reads of it that are under way."""
        with self._lock:
            self._change(key)

    def invalidate(self, keys: Iterable[str]) -> None:
        """Drop the copies of keys that somebody has changed."""
        with self._lock:
            for key in keys:
                self.invalidations += 1
                self._change(key)

    def drop_tagged(self) -> None:
        """Drop the copies of all entries with tags, and void the reads of such that are under way."""
        with self._lock:
            self._clock += 1
            self._tagged_floor = self._clock
            for key in list(self._tagged):
                self._remove(self._entries[key])

    def empty(self) -> None:
        """Drop everything, and void all reads under way."""
        with self._lock:
            for entry in self._entries.values():
                _count(entry)
            self._clear()

    def serves(self, entry: NearEntry) -> bool:
        """Tell whether a copy would be handed out now."""
        at = time.monotonic_ns()
        return self.find(entry.key) is entry and at < entry.deadline and at < self.confirmed_until

    def sample(self, number: int, seconds: float) -> list[NearEntry]:
        """Draw copies that are served, and will be for some seconds unless they are dropped."""
        until = time.monotonic_ns() + int(seconds * 1e9)
        with self._lock:
            entries = [entry for entry in self._entries.values() if entry.deadline > until]
        drawn = random.sample(entries, min(number, len(entries)))
        return [entry for entry in drawn if self.serves(entry)]

    def collect(self) -> None:
        """Add the hits of all entries to their prefixes' counts."""
        with self._lock:
            for entry in self._entries.values():
                _count(entry)

    def _clear(self) -> None:
        self._clock += 1
        self._floor = self._tagged_floor = self._clock
        """Reads that began before this may fill nothing; nothing with tags."""
        self._tagged: set[str] = set()
        self._changed: dict[str, int] = {}
        """When keys have changed, since `_floor`."""
        self._entries.clear()
        self._newest: NearEntry | None = None
        self._oldest: NearEntry | None = None
        self._hand: NearEntry | None = None
        self.bytes = 0

    def _change(self, key: str) -> None:
        self._clock += 1
        if len(self._changed) >= REMEMBERED_CHANGES:
            self._changed.clear()
            self._floor = self._tagged_floor = self._clock
        self._changed[key] = self._clock
        entry = self._entries.get(key)
        if entry is not None:
            self._remove(entry)

    def _insert(self, entry: NearEntry) -> None:
        newest = self._newest
        if newest is None:
            self._oldest = entry
        else:
            entry.older = newest
            newest.newer = entry
        self._newest = entry
        self._entries[entry.key] = entry
        if entry.is_tagged:
            self._tagged.add(entry.key)
        self.bytes += entry.size

    def _evict(self) -> None:
        """Move the hand from old to new, past entries visited since it last came by; drop the next."""
        at = time.monotonic_ns()
        entry = self._hand or self._oldest
        while entry is not None and entry.hits != entry.seen and entry.deadline > at:
            entry.seen = entry.hits
            entry = entry.newer or self._oldest
        if entry is not None:
            self._hand = entry.newer
            self._remove(entry)
            self.evictions += 1

    def _remove(self, entry: NearEntry) -> None:
        del self._entries[entry.key]
        self._tagged.discard(entry.key)
        newer, older = entry.newer, entry.older
        if self._hand is entry:
            self._hand = newer
        if newer is not None:
            newer.older = older
        else:
            self._newest = older
        if older is not None:
            older.newer = newer
        else:
            self._oldest = newer
        self.bytes -= entry.size
        _count(entry)


def entry_of(
    key: str,
    redis_key: bytes,
    value: Any,
    blob: bytes | None,
    opened: Opened,
    deadline: int,
    counts: PrefixCounts,
) -> NearEntry:
    """A copy of what was read: never of the object that the caller gets and may change.

    Args:
        key: As the caller wrote it.
        redis_key: As Redis has it.
        value: As decoded.
        blob: What Redis holds; None for an absent key.
        opened: Takes the blob apart, which has been verified.
        deadline: From `NearCache.deadline`.
        counts: Where hits are counted.
    """
    copy: Copy | None = None
    if blob is None:
        return NearEntry(key, None, absent, ENTRY_BYTES, b"", deadline, counts)
    kind = type(value)
    if kind in IMMUTABLE:
        size = getsizeof(value)
    elif kind is dict and _are_immutable(map(type, value)) and _are_immutable(map(type, value.values())):
        value, copy = value.copy(), dict.copy
        size = _size_of(value, 2 * len(value), blob, (value, value.values()))
    elif kind in COPIED and _are_immutable(map(type, value)):
        copy = COPIED[kind]
        value = value if copy is None else copy(value)
        size = _size_of(value, len(value), blob, (value,))
    else:
        copy, value = opened(blob, redis_key)
        size = getsizeof(value)
    return NearEntry(key, value, copy, size + ENTRY_BYTES, blob[MARK], deadline, counts)


COPIED: dict[type, Copy | None] = {list: list.copy, set: set.copy, tuple: None, frozenset: None}
"""Containers, and what copies them if they hold nothing that can be changed."""


def _size_of(container: Any, number: int, blob: bytes, items: Iterable[Iterable[Any]]) -> int:
    """Bytes of a container and its items; a guess from above where that is cheaper and changes little."""
    if len(blob) <= SMALL_BLOB and not blob[FLAGS]:
        return getsizeof(container) + ITEM_BYTES * number + WIDEST_CHARACTER * len(blob)
    return getsizeof(container) + sum(sum(map(getsizeof, each)) for each in items)


def _count(entry: NearEntry) -> None:
    """Move an entry's hits to its prefix's counts; those of an absent key are misses."""
    hits = entry.hits
    if hits != entry.counted:
        outcome = MISSES if entry.copy is absent else NEAR_HITS
        entry.counts.read_near(entry.key, outcome, hits - entry.counted)
        entry.counted = hits
