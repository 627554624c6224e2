"""The name of every Redis key that is not a value, in one place.

Values keep Django's own form, ``KEY_PREFIX:version:key``. Everything else lies under
``callcache@KEY_PREFIX:``, so that listings, patterns and near caches never meet it.
In a Redis Cluster the keys that one script touches share a slot by a hash tag.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from functools import cache
from itertools import count
from typing import NamedTuple

SLOTS = 16384
"""Hash slots of a Redis Cluster (Redis Cluster specification, "Key distribution model")."""

ROOT = b"callcache@"


class OutboxNames(NamedTuple):
    """The keys of one outbox bucket, all in one slot."""

    due: bytes
    """Sorted set: value key, scored by the time (unix ms) from which it may be claimed."""
    payload: bytes
    """Hash: value key to what is to be pushed."""
    mark: bytes
    """String: the highest version given so far."""
    bytes: bytes
    """String: the sum of the payloads' lengths."""


class RedisKeys:
    """Names of the internal keys of one cache alias.

    Args:
        key_prefix: The alias's ``KEY_PREFIX``.
        clustered: Whether the server is a Redis Cluster, where side records and
            outbox buckets must share the slot of the value they belong to.
    """

    def __init__(self, key_prefix: str, *, clustered: bool = False) -> None:
        self.root = ROOT + key_prefix.encode() + b":"
        self.is_clustered = clustered
        self._stats = self.root + b"{stats}:"
        self._sync = self.root + b"sync:"
        self._side = self.root + b"side:"
        self._lease = self.root + b"lease:"
        self.tags = self.root + b"{tags}:"
        """What the keys of tags begin with; one slot has them all, so that one command reads several."""
        self._bucket = self._names(b"")

    def is_internal(self, redis_key: bytes) -> bool:
        """Tell whether a key is one of ours rather than a value."""
        return redis_key.startswith(ROOT)

    def side(self, redis_key: bytes) -> bytes:
        """Hash beside a value that outlives it: versions, estimator state, stale copy."""
        return self._side + self._tag(redis_key) + redis_key

    def share_slot(self, one: bytes, other: bytes) -> bool:
        """Tell whether one script may touch the values at both keys."""
        return not self.is_clustered or slot_of(one) == slot_of(other)

    def value_of_side(self, side: bytes) -> bytes:
        """The value key that a side record belongs to."""
        rest = side.removeprefix(self._side)
        return rest[rest.index(b"}") + 1 :] if self.is_clustered else rest

    def sides(self) -> bytes:
        """A glob that every side record matches."""
        return re.sub(rb"([\\*?\[\]])", rb"\\\1", self._side) + b"*"

    def lease(self, redis_key: bytes) -> bytes:
        """Token of whoever computes the value."""
        return self._lease + self._tag(redis_key) + redis_key

    def tag(self, tag_id: bytes) -> bytes:
        """String: the present stamp of a tag, by the hash of its name."""
        return self.tags + tag_id.hex().encode()

    def fence(self, redis_key: bytes = b"") -> bytes:
        """Hash: group of keys to the stamp of the last deletion by pattern among them."""
        return self.root + b"fence:" + self._tag(redis_key)

    def fences(self) -> tuple[bytes, ...]:
        """Every fence there may be: one, or one a slot in a Redis Cluster."""
        if not self.is_clustered:
            return (self.fence(),)
        return tuple(self.root + b"fence:{%b}" % tag for tag in _slot_tags())

    def tag_epoch(self) -> bytes:
        """String: drawn at random by readers, deleted with every tag that is dropped."""
        return self.tags + b"epoch"

    def outbox(self, redis_key: bytes) -> OutboxNames:
        """Outbox bucket that a value's writes go to."""
        return self._names(self._tag(redis_key)) if self.is_clustered else self._bucket

    def outboxes(self) -> tuple[OutboxNames, ...]:
        """Every outbox bucket there may be: one, or one a slot in a Redis Cluster."""
        if not self.is_clustered:
            return (self._bucket,)
        return tuple(self._names(b"{%b}" % tag) for tag in _slot_tags())

    def outbox_of_slot(self, slot: int) -> OutboxNames:
        """The outbox bucket of a slot of a Redis Cluster."""
        return self._names(b"{%b}" % _slot_tags()[slot])

    def payload_of_slot(self, slot: int) -> bytes:
        """`OutboxNames.payload` of it, without the others."""
        return b"%boutbox:{%b}payload" % (self.root, _slot_tags()[slot])

    def side_prefix(self, bucket: OutboxNames) -> bytes:
        """What the side records of a bucket's values have before the value's key."""
        tag = bucket.due.removeprefix(self.root + b"outbox:").removesuffix(b"due")
        return self._side + tag

    def stat_minute(self, minute: int) -> bytes:
        """Hash: counts of one minute, numbered from the epoch."""
        return self._stats + b"minute:%d" % minute

    def stat_minutes(self) -> bytes:
        """Sorted set: the minutes that have a bucket, scored by their own number."""
        return self._stats + b"minutes"

    def stat_hours(self) -> bytes:
        """Hash: hour since the epoch to the number of reads in it."""
        return self._stats + b"hours"

    def stat_totals(self) -> bytes:
        """Hash: counts of all processes since they were first counted, and moments of the loop."""
        return self._stats + b"totals"

    def stat_whole(self, minute: int) -> bytes:
        """Hash: counts of one minute over all prefixes."""
        return self._stats + b"whole:%d" % minute

    def processes(self) -> bytes:
        """Hash: what each process last said of itself."""
        return self.root + b"processes"

    def hot_keys(self, hour: int, prefix: str) -> bytes:
        """Sorted set: the most read keys of an hour."""
        return self._stats + b"hot:%d:%b" % (hour, prefix.encode())

    def distinct_keys(self, hour: int, prefix: str) -> bytes:
        """HyperLogLog: the keys read in an hour."""
        return self._stats + b"distinct:%d:%b" % (hour, prefix.encode())

    def learnt(self, prefix: str) -> bytes:
        """Hash: what the loads of a prefix have taught its TTL policy, over all processes."""
        return self._stats + b"learnt:" + prefix.encode()

    def checked(self, prefix: str) -> bytes:
        """Hash: what comparisons of a prefix's hits with their origin have found."""
        return self._stats + b"checked:" + prefix.encode()

    def checking(self, prefix: str) -> bytes:
        """String: there for as long as no other process should compare a hit of the prefix."""
        return self._stats + b"checking:" + prefix.encode()

    def overrides(self) -> bytes:
        """Hash: what people have decided about TTLs, pins by prefix and the pause of what adapts."""
        return self.root + b"overrides"

    def trace(self) -> bytes:
        """Hash: the recording of reads and changes that was asked for last."""
        return self._stats + b"trace"

    def trace_portions(self) -> bytes:
        """List: the events of that recording, in portions."""
        return self._stats + b"trace:portions"

    def dictionaries(self) -> bytes:
        """Hash: zstd dictionaries by id, and which prefix uses which; lost as one or not at all."""
        return self.root + b"dictionaries"

    def origin(self) -> bytes:
        """String: the id of this Redis in the eyes of the remote store."""
        return self._sync + b"origin"

    def epoch(self) -> bytes:
        """String: drawn by the first pass; where it is missing, this Redis has lost what it held."""
        return self._sync + b"epoch"

    def cursor(self, namespace: str) -> bytes:
        """Hash: how far the remote changes of a namespace were pulled."""
        return self._sync + b"cursor:" + namespace.encode()

    def followed(self) -> bytes:
        """Hash: how far the changes of business tables were followed, by the feed and by tables polled."""
        return self._sync + b"followed"

    def polled(self, table: str) -> bytes:
        """Hash: rows of a table whose change was seen lately, and when it was."""
        return self._sync + b"polled:" + table.encode()

    def near_channel(self) -> bytes:
        """Channel: which values were written, where the server itself does not announce it."""
        return self.root + b"near"

    def requests(self) -> bytes:
        """String: the last number drawn by who asked for a pass."""
        return self._sync + b"requests"

    def answer(self) -> bytes:
        """Hash: the last pass that answered requests."""
        return self._sync + b"answer"

    def environment(self) -> bytes:
        """String: which environment this Redis belongs to."""
        return self._sync + b"environment"

    def garbage(self) -> bytes:
        """String: there for as long as the remote store's garbage was collected lately."""
        return self._sync + b"garbage"

    def old_changes(self) -> bytes:
        """String: there for as long as old changes of business tables were removed lately."""
        return self._sync + b"old_changes"

    def loop_lease(self) -> bytes:
        """String: token of the loop that works at this moment."""
        return self._sync + b"lease"

    def clears(self) -> bytes:
        """String: there while a deletion waits for the loop."""
        return self.root + b"clears"

    def pause(self) -> bytes:
        """Hash: who paused the sync of the loop, when and why; there while it is paused."""
        return self._sync + b"pause"

    def rest(self) -> bytes:
        """String: why the remote store has asked not to be asked; there for as long as it has."""
        return self._sync + b"rest"

    def heartbeat(self) -> bytes:
        """Hash: who runs loops, and when each was last alive."""
        return self._sync + b"heartbeat"

    def standing(self) -> bytes:
        """Hash: how the remote store answered last, and since when."""
        return self._sync + b"standing"

    def _names(self, tag: bytes) -> OutboxNames:
        stem = self.root + b"outbox:" + tag
        return OutboxNames(stem + b"due", stem + b"payload", stem + b"mark", stem + b"bytes")

    def _tag(self, redis_key: bytes) -> bytes:
        return b"{%b}" % _slot_tags()[slot_of(redis_key)] if self.is_clustered else b""


def slot_of(redis_key: bytes) -> int:
    """Hash slot of a key (Redis Cluster specification, "Hash tags")."""
    opening = redis_key.find(b"{")
    if opening >= 0:
        closing = redis_key.find(b"}", opening + 1)
        if closing > opening + 1:
            redis_key = redis_key[opening + 1 : closing]
    return crc_hqx(redis_key, 0) % SLOTS


@cache
def _slot_tags() -> tuple[bytes, ...]:
    """A short hash tag for every slot."""
    tags: dict[int, bytes] = {}
    for number in count():
        tag = b"%x" % number
        tags.setdefault(crc_hqx(tag, 0) % SLOTS, tag)
        if len(tags) == SLOTS:
            break
    return tuple(tags[slot] for slot in range(SLOTS))
