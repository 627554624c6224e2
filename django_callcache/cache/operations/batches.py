"""Operations on many keys in few round trips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from redis import exceptions as redis_errors

from django_callcache.cache import commands
from django_callcache.cache.counters import DELETES, HITS, MISSES, SETS
from django_callcache.cache.operations.base import MISSING, OperationsBase, now
from django_callcache.cache.prefixes import Prefix
from django_callcache.cache.value_keys import Key
from django_callcache.exceptions import RedisFault, RedisRefused
from django_callcache.outbox.dirty import RECORD_WRITE

Item = TypeVar("Item")

CHUNK = 1000
"""Keys in one command: more would hold up everybody else's."""
WRITE_CHUNK = 500
"""Writes in one round trip."""


class BatchOperations(OperationsBase):
    """Reads and writes of many keys. None of them is a snapshot or a transaction."""

    async def get_many(self, keys: Iterable[Key], version: int | None = None) -> dict[Key, Any]:
        """The values of those keys that have one, by the caller's keys."""
        found: dict[Key, Any] = {}
        for chunk in _chunks(dict.fromkeys(keys), CHUNK):
            started = now()
            redis_keys = [self._redis_key(key, version) for key in chunk]
            try:
                command = commands.of_keys(b"MGET", redis_keys)
                replies = self._checked(await self._io.ask(command, started, reads=True))
            except RedisFault as fault:
                return self._degraded(fault, self._prefix(chunk[0]), found)
            elapsed = (now() - started) // len(chunk)
            for key, redis_key, reply in zip(chunk, redis_keys, replies, strict=True):
                prefix = self._prefix(key)
                value = self._decoded(reply, prefix, redis_key)
                prefix.counts.read(str(key), MISSES if value is MISSING else HITS, elapsed)
                if value is not MISSING:
                    found[key] = value
        return found

    async def set_many(
        self,
        data: Mapping[Key, Any],
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Key]:
        """Store several values, in no transaction; return the keys that were not stored.

        Raises:
            Exception: A value that cannot be encoded, before anything is sent.
            SyncNotRecorded: A synced key among them could not be recorded, as for `set`.
        """
        prepared = [(key, *self._prepared(key, value, timeout, version)) for key, value in data.items()]
        failed: list[Key] = []
        for chunk in _chunks(prepared, WRITE_CHUNK):
            writes = [(key, prefix, command) for key, prefix, command in chunk]
            failed += await self._write(writes, SETS, refused_values=version)
        return failed

    async def delete_many(self, keys: Iterable[Key], version: int | None = None) -> int | None:
        """Delete several keys; return how many existed, None where no key was given."""
        removed: int | None = None
        plain: list[tuple[Key, Prefix]] = []
        for key in keys:
            prefix, removed = self._prefix(key), removed or 0
            if prefix.is_synced:
                removed += bool(await self._record(prefix, key, version, b"delete", b"", b"", now()))
            else:
                plain.append((key, prefix))
        for chunk in _chunks(plain, CHUNK):
            started = now()
            names = [self._redis_key(key, version) for key, _ in chunk]
            try:
                count = self._checked(await self._io.ask(commands.of_keys(b"UNLINK", names), started))
            except RedisFault as fault:
                return self._degraded(fault, chunk[0][1], removed)
            removed = (removed or 0) + count
            for _, prefix in chunk:
                prefix.counts.slots[DELETES] += 1
        return removed

    async def touch_many(
        self, keys: Iterable[Key], timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> int:
        """Give several keys a new timeout; return how many exist."""
        touched = 0
        for key in keys:
            touched += await self.touch(key, timeout, version)  # type: ignore[attr-defined]
        return touched

    def _prepared(self, key: Key, value: Any, timeout: Any, version: int | None) -> tuple[Prefix, bytes]:
        """The command that stores a value, or deletes it where nothing would be kept."""
        prefix = self._prefix(key)
        px = self._px(prefix, timeout)
        redis_key = self._redis_key(key, version)
        operation = b"delete" if px is None else b"set"
        blob = b"" if px is None else prefix.codec.encode(value, redis_key)
        if prefix.is_synced:
            arguments = (operation, px or b"", blob, self._remote_key(key, version), *self._outbox_bounds)
            return prefix, commands.evalsha(RECORD_WRITE, self._record_keys(redis_key), arguments)
        if px is None:
            return prefix, commands.unlink(redis_key)
        return prefix, commands.set_(redis_key, blob, px)

    async def _write(
        self, writes: Sequence[tuple[Key, Prefix, bytes]], outcome: int, refused_values: int | None
    ) -> list[Key]:
        """Send prepared writes in one round trip; return the keys whose write was refused."""
        started = now()
        if any(prefix.is_synced for _, prefix, _ in writes):
            await self._know_script(started)
        try:
            replies = await self._io.ask_many([command for _, _, command in writes], started)
        except RedisFault as fault:
            synced = next((prefix for _, prefix, _ in writes if prefix.is_synced), None)
            if synced is not None:
                raise self._not_recorded(fault, synced) from fault
            return self._degraded(fault, writes[0][1], [key for key, _, _ in writes])
        failed: list[Key] = []
        for (key, prefix, _), reply in zip(writes, replies, strict=True):
            prefix.counts.slots[outcome] += 1
            if isinstance(reply, redis_errors.ResponseError):
                await self._refused(key, prefix, reply, refused_values)
                failed.append(key)
        return failed

    async def _refused(self, key: Key, prefix: Prefix, reply: Any, version: int | None) -> None:
        """Let no old value stand where a new one was refused."""
        try:
            if prefix.is_synced:
                self._recorded(reply, prefix)
            self._checked(reply)
        except RedisRefused as refused:
            if prefix.is_synced:
                raise self._not_recorded(refused, prefix) from refused
            await self._drop_old_value(self._redis_key(key, version))
            self._degraded(refused, prefix, None)
        except RedisFault as fault:
            if prefix.is_synced:
                raise self._not_recorded(fault, prefix) from fault
            self._degraded(fault, prefix, None)

    async def _know_script(self, started: int) -> None:
        """Make sure that the server knows the outbox's script: in a batch, EVALSHA has no second try."""
        known = await self._io.ask(
            commands.command("SCRIPT", "EXISTS", RECORD_WRITE.sha1), started, reads=True
        )
        if not self._checked(known)[0]:
            self._checked(
                await self._io.ask(commands.command("SCRIPT", "LOAD", RECORD_WRITE.text), now(), reads=True)
            )


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
