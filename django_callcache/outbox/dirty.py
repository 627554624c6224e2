"""Dirty entries: written here, not yet pushed to the remote store.

Each synced write leaves its payload in the outbox by the same script as its value (``RECORD_WRITE``),
so nothing that happens to the cached value later touches what is to be pushed. Claiming only lends;
an entry leaves the outbox when it is acknowledged and was not written again meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

import redis

from django_callcache.lua import Script, run_script
from django_callcache.outbox.buckets import used_buckets
from django_callcache.outbox.dirty_scripts import (
    ACKNOWLEDGE,
    CLAIM,
    DEFER,
    PAYLOAD_FORMAT,
    REBASE,
    RECORD_WRITE,
    REPLACE_PAYLOAD,
    WITHDRAW,
)
from django_callcache.redis_keys import OutboxNames, RedisKeys

__all__ = ["RECORD_WRITE", "Claim", "DirtyEntries", "DirtyEntry", "Waiting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirtyEntry:
    """One key's last write, as the outbox holds it."""

    redis_key: bytes
    """Name of the value in Redis."""
    remote_key: str
    """Name of the value in the remote store: ``version:key`` of the caller."""
    version: int
    """Order of the write: microseconds since the epoch, ascending for this Redis."""
    deleted: bool
    """Whether the write was a deletion; ``blob`` is empty then."""
    expires_at_ms: int | None
    """Unix milliseconds at which the value ends by the clock of Redis; None: never."""
    blob: bytes = field(repr=False)
    """The value's bytes, as the cache holds them."""
    remote_version: int
    """Version of the remote row that this write builds on; 0 where none is known."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Entries lent to one worker."""

    entries: tuple[DirtyEntry, ...]
    now_ms: int
    """Unix milliseconds by the clock of Redis."""
    unknown: int = 0
    """Entries that were due in a format this release does not know; they stay in the outbox."""


class Waiting(NamedTuple):
    """An entry of the outbox as it lies there."""

    redis_key: bytes
    blob: bytes
    payload: bytes


class DirtyEntries:
    """The outbox of one cache alias.

    Args:
        client: Blocking client of the alias's Redis, which returns bytes.
        keys: Names of the alias's internal keys.
    """

    def __init__(self, client: redis.Redis, keys: RedisKeys) -> None:
        self._client = client
        self._keys = keys
        self._rest: deque[OutboxNames] = deque()
        """Buckets that the claims so far have not come to."""

    def claim(
        self,
        limit: int,
        max_bytes: int,
        lease_seconds: float,
        *,
        not_after_ms: int | None = None,
        only: Sequence[bytes] = (),
    ) -> Claim:
        """Lend the entries that are due; who does not acknowledge them in time loses them to the next claim.

        Args:
            limit: Entries at most.
            max_bytes: Payload bytes at most; one entry is lent whatever its size.
            lease_seconds: How long the entries are lent.
            not_after_ms: Leave entries that fell due later than this, so that a pass over
                keys that are written all the time comes to an end.
            only: Redis keys of the entries that are meant; left out, all.
        """
        entries: list[DirtyEntry] = []
        now_ms = unknown = size = 0
        for bucket in self._buckets_of(only) if only else self._unclaimed():
            now, strange, is_too_much, *rows = self._run(
                CLAIM,
                (bucket.due, bucket.payload),
                (
                    limit - len(entries),
                    max_bytes,
                    round(lease_seconds * 1000),
                    "" if not_after_ms is None else not_after_ms,
                    self._keys.side_prefix(bucket),
                    size,
                    *only,
                ),
            )
            now_ms, unknown = max(int(now), now_ms), unknown + strange
            for redis_key, payload, remote_version in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
                size += len(payload)
                entries.append(parse_payload(redis_key, payload, int(remote_version)))
            if len(entries) >= limit or is_too_much:
                if self._keys.is_clustered and not only:
                    self._rest.appendleft(bucket)
                break
        return Claim(tuple(entries), now_ms or self._now_ms(), unknown)

    def acknowledge(self, pushed: Iterable[tuple[DirtyEntry, int]]) -> int:
        """Clear entries that the remote store has; one written again meanwhile stays and is due at once.

        Args:
            pushed: Each entry with the version the remote store gave it.

        Returns:
            How many were cleared.
        """
        cleared = 0
        rows = ((entry, (entry.redis_key, entry.version, version)) for entry, version in pushed)
        for bucket, arguments in self._by_bucket(rows).items():
            prefix = self._keys.side_prefix(bucket)
            cleared += self._run(
                ACKNOWLEDGE, (bucket.due, bucket.payload, bucket.bytes), (prefix, *arguments)
            )
        return cleared

    def release(self, entries: Iterable[DirtyEntry], *, delay_seconds: float = 0.0) -> None:
        """Give entries back, due at once or after a delay; a new write of the key ends the delay."""
        rows = ((entry, (entry.redis_key, entry.version)) for entry in entries)
        for bucket, arguments in self._by_bucket(rows).items():
            self._run(DEFER, (bucket.due, bucket.payload), (round(delay_seconds * 1000), *arguments))

    def rebase(self, entry: DirtyEntry, remote_version: int) -> bool:
        """Let the next push of an entry build on this remote version; 0: on none.

        Returns:
            False where its key was written again, or the entry is gone.
        """
        keys = (self._keys.side(entry.redis_key), self._keys.outbox(entry.redis_key).payload)
        return bool(self._run(REBASE, keys, (entry.redis_key, entry.version, remote_version)))

    def withdraw(self, entry: DirtyEntry, *, is_parked: bool = False) -> bool:
        """Take an entry out of the outbox; False where its key was written again.

        Args:
            entry: As claimed.
            is_parked: Whether the two sides of the key wait for a person. Until then nothing that is
                pulled replaces the local one, and a later write of it meets the same conflict.
        """
        bucket = self._keys.outbox(entry.redis_key)
        keys = (self._keys.side(entry.redis_key), bucket.due, bucket.payload, bucket.bytes)
        return bool(self._run(WITHDRAW, keys, (entry.redis_key, entry.version, int(is_parked))))

    def redis_keys(self) -> Iterator[bytes]:
        """Yield the Redis key of every entry that waits; one may come twice."""
        for bucket in self._used():
            for redis_key, _ in self._client.zscan_iter(bucket.due, count=1000):
                yield redis_key

    def entries(self) -> Iterator[DirtyEntry]:
        """Yield what waits, without claiming it; what this release cannot read is left out."""
        for bucket in self._used():
            for redis_key, payload in self._client.hscan_iter(bucket.payload):
                if _is_known(payload):
                    yield parse_payload(redis_key, payload, 0)

    def blobs(self) -> Iterator[bytes | None]:
        """Yield the bytes of every entry that waits; None for one in a format this release does not know."""
        for bucket in self._used():
            for redis_key, payload in self._client.hscan_iter(bucket.payload):
                yield parse_payload(redis_key, payload, 0).blob if _is_known(payload) else None

    def waiting(self) -> Iterator[Waiting]:
        """Yield every entry that waits and has a value, in a format that this release knows."""
        for bucket in self._used():
            for redis_key, payload in self._client.hscan_iter(bucket.payload):
                if _is_known(payload) and (blob := parse_payload(redis_key, payload, 0).blob):
                    yield Waiting(redis_key, blob, payload)

    def replace(self, waiting: Waiting, blob: bytes) -> bool:
        """Give an entry other bytes for the same value: sealed anew. Version and due time stay.

        Returns:
            False where the entry was written again, or pushed, since it was read.
        """
        bucket = self._keys.outbox(waiting.redis_key)
        head = waiting.payload.removesuffix(waiting.blob)
        arguments = (waiting.redis_key, waiting.payload, head + blob)
        return bool(self._run(REPLACE_PAYLOAD, (bucket.payload, bucket.bytes), arguments))

    def depth(self) -> int:
        """Count the keys that wait, lent ones included."""
        return sum(self._of_each(("HLEN", bucket.payload) for bucket in self._used()))

    def payload_bytes(self) -> int:
        """Sum the bytes of the payloads that wait."""
        return sum(self._of_each(("GET", bucket.bytes) for bucket in self._used()))

    def oldest_at(self) -> float | None:
        """Unix seconds since when the entry that waits longest does; None where nothing waits.

        An entry lent or set aside counts from the last write of its key.
        """
        oldest = [at for bucket in self._used() if (at := self._oldest_of(bucket)) is not None]
        return min(oldest, default=None)

    def origin(self) -> str:
        """Name this Redis in the eyes of the remote store: one id, made once and kept in Redis."""
        name = self._keys.origin()
        self._call("SET", name, uuid4().hex, "NX")
        return bytes(self._call("GET", name)).decode()

    def _used(self) -> Sequence[OutboxNames]:
        return used_buckets(self._client, self._keys)

    def _unclaimed(self) -> Iterator[OutboxNames]:
        """Buckets for a claim: on from where the last one stopped, and once over all that are used."""
        if not self._keys.is_clustered:
            yield from self._keys.outboxes()
            return
        while self._rest:
            yield self._rest.popleft()
        self._rest.extend(self._used())
        while self._rest:
            yield self._rest.popleft()

    def _buckets_of(self, redis_keys: Iterable[bytes]) -> Iterable[OutboxNames]:
        return dict.fromkeys(self._keys.outbox(redis_key) for redis_key in redis_keys)

    def _of_each(self, commands: Iterable[Sequence[bytes | str]]) -> list[int]:
        """The numbers that some commands reply, 0 for none, in one round trip."""
        with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            return [int(reply or 0) for reply in pipeline.execute()]

    def _now_ms(self) -> int:
        """Unix milliseconds, where no bucket is used and so no script has said it."""
        found: Any = self._client.time()
        return int(found[0]) * 1000 + int(found[1]) // 1000

    def _oldest_of(self, bucket: OutboxNames) -> float | None:
        first = self._call("ZRANGE", bucket.due, 0, 0, "WITHSCORES")
        if not first:
            return None
        # RESP3 pairs member and score, RESP2 lists them.
        redis_key, score = first[0] if isinstance(first[0], (list, tuple)) else first
        payload = self._call("HGET", bucket.payload, redis_key)
        written_at = int(payload.split(b"|", 2)[1]) / 1e6 if _is_known(payload) else float("inf")
        return min(float(score) / 1000, written_at)

    def _by_bucket(
        self, rows: Iterable[tuple[DirtyEntry, Sequence[bytes | int]]]
    ) -> dict[OutboxNames, list[bytes | int]]:
        """Gather script arguments by the bucket whose script gets them."""
        arguments: dict[OutboxNames, list[bytes | int]] = {}
        for entry, row in rows:
            arguments.setdefault(self._keys.outbox(entry.redis_key), []).extend(row)
        return arguments

    def _run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes | str | int]) -> Any:
        return run_script(self._client, script, keys, arguments)

    def _call(self, *command: bytes | str | int) -> Any:
        return self._client.execute_command(*command)  # type: ignore[no-untyped-call]


def parse_payload(redis_key: bytes, payload: bytes, remote_version: int) -> DirtyEntry:
    """Read one payload as ``RECORD_WRITE`` writes it."""
    _, version, operation, expires_at_ms, length, rest = payload.split(b"|", 5)
    split = int(length)
    return DirtyEntry(
        redis_key=redis_key,
        # What is not UTF-8 is kept apart by surrogates, which the remote store's rules refuse.
        remote_key=rest[:split].decode("utf-8", "surrogateescape"),
        version=int(version),
        deleted=operation == b"D",
        expires_at_ms=int(expires_at_ms) if expires_at_ms else None,
        blob=rest[split:],
        remote_version=remote_version,
    )


def _is_known(payload: bytes | None) -> bool:
    return payload is not None and payload.startswith(PAYLOAD_FORMAT.encode() + b"|")
