"""Writes of synced prefixes: the value and what is to reach the remote store, in one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from redis import exceptions as redis_errors

from django_callcache.cache import commands
from django_callcache.cache.counters import DELETES, ERRORS, SETS
from django_callcache.cache.drivers import Io
from django_callcache.cache.operations.base import OperationsBase, now
from django_callcache.cache.prefixes import Prefix
from django_callcache.cache.runtime import Runtime
from django_callcache.cache.value_keys import Key, ValueKeys
from django_callcache.exceptions import BacklogFull, RedisFault, SyncError, SyncNotRecorded, SyncUncertain
from django_callcache.failpoints import reach
from django_callcache.outbox.dirty import RECORD_WRITE
from django_callcache.outbox.durability import Durability
from django_callcache.signals import cache_deleted, cache_written

Fallback = TypeVar("Fallback")

_COUNTED_AS = {b"set": SETS, b"add": SETS, b"replace": SETS, b"fill": SETS, b"delete": DELETES}
"""What a recorded write is counted as; others are counted where they are asked for, or not at all."""


class RecordingOperations(OperationsBase):
    """Records writes in the outbox.

    Args:
        runtime: What the alias shares in this process.
        io: Reaches Redis.
        value_keys: Makes Redis keys of callers' keys.
    """

    def __init__(self, runtime: Runtime, io: Io, value_keys: ValueKeys) -> None:
        super().__init__(runtime, io, value_keys)
        sync = runtime.settings.sync
        self._durability = runtime.durability
        self._outbox_bounds = (b"%d" % sync.max_keys, b"%d" % sync.max_bytes)

    async def _record(
        self,
        prefix: Prefix,
        key: Key,
        version: int | None,
        operation: bytes,
        px: bytes,
        blob: bytes,
        started: int,
        *,
        expected: bytes | None = None,
        lease: Sequence[bytes] = (),
        after: Sequence[bytes] = (),
    ) -> Any:
        """Write a synced entry: the value and what is to reach the remote store, in one step.

        Where ``expected`` is given, only if those are the value's bytes now. Where it is a computed value,
        ``lease`` is what the script asks for such a one. ``after`` is as for `_write`.

        Raises:
            SyncNotRecorded: Nothing was written.
            SyncUncertain: The answer was lost.
            BacklogFull: The outbox is at its bound.
        """
        redis_key = self._redis_key(key, version)
        if self._durability is not None:
            await self._ensure_durable(self._durability, prefix)
        reach("cp1")
        try:
            reply = await self._run_script(
                RECORD_WRITE,
                (*self._record_keys(redis_key), self._internal.fence(redis_key)),
                (
                    *(operation, px, blob, self._remote_key(key, version), *self._outbox_bounds),
                    *(lease if expected is None else (expected,)),
                ),
                started,
                after=after,
            )
            reply = self._recorded(reply, prefix)
        except RedisFault as fault:
            raise self._not_recorded(fault, prefix) from fault
        finally:
            self._written(key, version)
        reach("cp2")
        if operation in _COUNTED_AS:
            prefix.counts.wrote(_COUNTED_AS[operation], now() - started)
            if operation != b"delete" and reply:
                prefix.counts.keeps(px)
        if operation == b"delete" and cache_deleted.receivers:
            await self._tell(cache_deleted, key, version)
        elif cache_written.receivers and _has_written(operation, reply):
            await self._tell(cache_written, key, version)
        return reply

    def _recorded(self, reply: Any, prefix: Prefix) -> Any:
        if isinstance(reply, redis_errors.ResponseError) and "BACKLOGFULL" in str(reply):
            prefix.counts.slots[ERRORS] += 1
            raise BacklogFull(
                "The outbox is full and takes no further keys until the sync loop drains it. "
                "See whether `manage.py runcachesync` runs and reaches the remote store."
            )
        return self._checked(reply)

    async def _ensure_durable(self, durability: Durability, prefix: Prefix) -> None:
        """See that Redis keeps a synced write.

        Raises:
            SyncNotRecorded: It might not, or does not say.
        """
        try:
            await durability.ensure(self._answer)
        except SyncNotRecorded:
            prefix.counts.slots[ERRORS] += 1
            raise
        except RedisFault as fault:
            prefix.counts.slots[ERRORS] += 1
            raise SyncNotRecorded(f"Redis does not say whether it keeps what is synced: {fault}") from fault

    def _unwritten(self, fault: RedisFault, prefix: Prefix, fallback: Fallback) -> Fallback:
        """The same for a call that would have written, had it learnt what to write.

        Raises:
            SyncNotRecorded: The prefix is synced.
        """
        if prefix.is_synced:
            raise self._not_recorded(fault, prefix) from fault
        return self._degraded(fault, prefix, fallback)

    def _not_recorded(self, fault: RedisFault, prefix: Prefix) -> SyncError:
        """What to raise for a synced write that failed: never swallowed, whatever ``ON_ERROR`` says."""
        prefix.counts.slots[ERRORS] += 1
        if fault.sent:
            return SyncUncertain(f"Redis may or may not have recorded the write for sync: {fault}")
        return SyncNotRecorded(f"The write was not recorded for sync: {fault}")

    async def _drop_old_value(self, redis_key: bytes) -> None:
        """Delete what a refused write would have replaced, as a full memory allows, or remember to."""
        try:
            self._checked(await self._write_voiding(commands.unlink(redis_key), now(), redis_key))
        except RedisFault as fault:
            self._remember(fault, (redis_key,))  # the caller reports the refusal, which came first

    def _record_keys(self, redis_key: bytes) -> tuple[bytes, ...]:
        names = self._internal
        return (redis_key, names.side(redis_key), names.lease(redis_key), *names.outbox(redis_key))

    def _remote_key(self, key: Key, version: int | None) -> bytes:
        return self._value_keys.remote_key(key, version)


def _has_written(operation: bytes, reply: Any) -> bool:
    """Tell by the reply whether a recorded operation has changed the value."""
    if operation == b"incr":
        return reply is not None
    return operation not in {b"delete", b"touch"} and bool(reply == 1)
