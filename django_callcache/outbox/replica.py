"""What this Redis holds of the remote store: rows taken from it, decisions between two sides, the cursor.

Nothing taken from the remote store is marked dirty; what a decision keeps of the local side is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import redis

from django_callcache.lua import Argument, run_script, run_scripts
from django_callcache.outbox.dirty import DirtyEntry, parse_payload
from django_callcache.outbox.dirty_scripts import APPLY_REMOTE, FORGET, WRITE_BACK
from django_callcache.redis_keys import RedisKeys

Trust = Literal["", "compare", "anew", "decided", "absent"]
Outcome = Literal["taken", "known", "lost", "parked", "unknown", "dirty"]

SCANNED = 500
"""Side records looked at in one round trip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteWrite:
    """A row of the remote store, on its way into this Redis."""

    redis_key: bytes
    version: int
    """Order of the remote write, in microseconds as for ``DirtyEntry.version``."""
    remote_version: int
    blob: bytes | None = field(default=None, repr=False)
    """The value's bytes; None removes the local copy."""
    ttl_ms: int | None = None
    """Milliseconds left to the value, None for no expiry; none left removes the local copy."""
    deleted: bool = False
    """Whether the remote write was a deletion."""
    decided: int | None = None
    """Version of the local entry that was decided to lose; None: a dirty key is left alone."""
    trust: Trust = ""
    """How far what is known here is trusted; see ``APPLY_REMOTE``."""

    def arguments(self) -> tuple[Argument, ...]:
        """Return what the script takes."""
        operation = "set"
        if self.deleted:
            operation = "delete"
        elif self.blob is None or (self.ttl_ms is not None and self.ttl_ms <= 0):
            operation = "drop"
        return (
            operation,
            "" if self.ttl_ms is None else self.ttl_ms,
            self.blob or b"",
            self.version,
            self.remote_version,
            "" if self.decided is None else self.decided,
            self.trust,
        )


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a remote write."""

    outcome: Outcome
    entry: DirtyEntry | None = None
    """The local write in the way, where the outcome is ``dirty``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far the rows of a namespace were pulled."""

    epoch: str
    """Of the remote store that was pulled from."""
    seq: int = 0
    reset_at: int = 0
    """Microseconds of the time since when everything is pulled anew; 0 where nothing is."""
    cause: str = ""
    """Why: ``unread``, ``late``, ``anew`` or ``verify``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncedKey:
    """A key that was pushed or pulled, and is not dirty."""

    redis_key: bytes
    version: int
    """Order of its last write."""
    deleted: bool
    blob: bytes | None = field(repr=False)
    ttl_ms: int | None
    """None: it never expires."""


class Replica:
    """The rows of the remote store in one alias's Redis.

    Args:
        client: Blocking client of the alias's Redis, which returns bytes.
        keys: Names of the alias's internal keys.
    """

    def __init__(self, client: redis.Redis, keys: RedisKeys) -> None:
        self._client = client
        self._keys = keys

    def apply(self, writes: Sequence[RemoteWrite]) -> list[Applied]:
        """Take rows, without marking them dirty; tell of each what became of it."""
        calls = [(self._names(write.redis_key), write.arguments()) for write in writes]
        replies = run_scripts(self._client, APPLY_REMOTE, calls) if calls else []
        return [_applied(write, reply) for write, reply in zip(writes, replies, strict=True)]

    def known(self, redis_keys: Sequence[bytes]) -> list[int]:
        """Return the remote version that each key's local state contains; 0 where none is known."""
        with self._client.pipeline(transaction=False) as pipeline:
            for redis_key in redis_keys:
                pipeline.hget(self._keys.side(redis_key), "rv")
            return [int(found or 0) for found in pipeline.execute()]

    def write_back(
        self,
        redis_key: bytes,
        remote_key: str,
        *,
        blob: bytes | None,
        ttl_ms: int | None = None,
        remote_version: int | None = None,
        decided: int | None = None,
        version: int | None = None,
        last: int | None = None,
    ) -> int:
        """Mark a key dirty on behalf of a decision.

        Args:
            redis_key: Name of the value in Redis.
            remote_key: Name of the value in the remote store.
            blob: The value's bytes; None deletes the key.
            ttl_ms: Milliseconds left to the value; None for no expiry.
            remote_version: What the push builds on; None: on what is known.
            decided: Version of the entry that may be replaced; None: there must be none.
            version: Order of the write; None makes it a new one, which the cached value follows.
            last: Version of the key's last write; None: any.

        Returns:
            The version; 0 where the key was written meanwhile, and nothing was done.
        """
        arguments = (
            "D" if blob is None else "S",
            "" if ttl_ms is None or blob is None else max(ttl_ms, 1),
            blob or b"",
            remote_key.encode("utf-8", "surrogateescape"),
            *("" if number is None else number for number in (remote_version, decided, version, last)),
        )
        return int(run_script(self._client, WRITE_BACK, self._names(redis_key), arguments))

    def forget(self, key: SyncedKey, since: int) -> bool:
        """Drop a key that the remote store does not have, unless it was written or seen since."""
        names = self._keys
        keys = (
            key.redis_key,
            names.side(key.redis_key),
            names.lease(key.redis_key),
            names.outbox(key.redis_key).payload,
        )
        return bool(run_script(self._client, FORGET, keys, (key.version, since)))

    def unseen(self, since: int) -> Iterator[SyncedKey]:
        """Yield such keys that the remote store has not been seen to have since some microsecond."""
        sides = self._client.scan_iter(self._keys.sides(), count=SCANNED)
        while portion := list(islice(sides, SCANNED)):
            yield from self._read(portion, since)

    def read(self, redis_keys: Sequence[bytes]) -> Iterator[SyncedKey]:
        """Yield those of some keys that were pushed or pulled, are not dirty and do not wait for a person."""
        return self._read([self._keys.side(redis_key) for redis_key in redis_keys], None)

    def cursor(self, namespace: str) -> Cursor | None:
        """Read how far a namespace was pulled; None where it never was."""
        found: Any = self._client.hgetall(self._keys.cursor(namespace))
        try:
            return Cursor(
                epoch=found[b"epoch"].decode(),
                seq=int(found[b"seq"]),
                reset_at=int(found[b"reset_at"]),
                cause=found[b"cause"].decode(),
            )
        except (KeyError, ValueError):
            return None

    def save(self, namespace: str, cursor: Cursor) -> None:
        """Keep how far a namespace was pulled."""
        fields: Any = {
            "epoch": cursor.epoch,
            "seq": cursor.seq,
            "reset_at": cursor.reset_at,
            "cause": cursor.cause,
        }
        self._client.hset(self._keys.cursor(namespace), mapping=fields)

    def now(self) -> int:
        """Microseconds since the epoch by the clock of Redis."""
        found: Any = self._client.time()
        return int(found[0]) * 1_000_000 + int(found[1])

    def _read(self, sides: Sequence[bytes], since: int | None) -> Iterator[SyncedKey]:
        redis_keys = [self._keys.value_of_side(side) for side in sides]
        with self._client.pipeline(transaction=False) as pipeline:
            for side, redis_key in zip(sides, redis_keys, strict=True):
                pipeline.hmget(side, "v", "rv", "s", "d", "c")
                pipeline.hexists(self._keys.outbox(redis_key).payload, redis_key)
                pipeline.get(redis_key)
                pipeline.pttl(redis_key)
            replies = iter(pipeline.execute(raise_on_error=False))
        for redis_key, state, is_dirty, blob, ttl_ms in zip(
            redis_keys, replies, replies, replies, replies, strict=False
        ):
            if not isinstance(state, list) or is_dirty:
                continue
            version, remote_version, seen, deleted, parked = state
            if not version or not remote_version or parked:
                continue
            if since is not None and int(seen or 0) >= since:
                continue
            yield SyncedKey(
                redis_key=redis_key,
                version=int(version),
                deleted=bool(deleted),
                # A collection may lie there, which is no value of ours.
                blob=blob if isinstance(blob, bytes) else None,
                ttl_ms=ttl_ms if isinstance(ttl_ms, int) and ttl_ms >= 0 else None,
            )

    def _names(self, redis_key: bytes) -> tuple[bytes, ...]:
        names = self._keys
        return (redis_key, names.side(redis_key), names.lease(redis_key), *names.outbox(redis_key))


def _applied(write: RemoteWrite, reply: list[bytes]) -> Applied:
    outcome: Any = reply[0].decode()
    if outcome != "dirty":
        return Applied(outcome)
    return Applied(outcome, parse_payload(write.redis_key, reply[1], int(reply[2])))
