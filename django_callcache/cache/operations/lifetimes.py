"""Operations on how long an entry lives, and under which version."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from django_callcache.cache import commands
from django_callcache.cache.operations.base import MISSING, TRIES, ends_early, now
from django_callcache.cache.operations.entries import EntryOperations
from django_callcache.cache.operations.entry_scripts import MOVE, TAKE_OUT
from django_callcache.cache.operations.tags import start_of
from django_callcache.cache.prefixes import Prefix
from django_callcache.cache.value_keys import Key
from django_callcache.exceptions import RedisFault
from django_callcache.signals import cache_written


class LifetimeOperations(EntryOperations):
    """Timeouts asked for and changed; an entry moved to another version with the one it has."""

    async def ttl(self, key: Key, version: int | None = None) -> int | None:
        """Seconds that a key has left: None if it never expires, 0 if it does not exist."""
        left = await self.pttl(key, version)
        return None if left is None else round(left / 1000) or min(left, 1)

    async def pttl(self, key: Key, version: int | None = None) -> int | None:
        """Milliseconds that a key has left: None if it never expires, 0 if it does not exist."""
        left = await self._ask_of_key(
            key, version, lambda name: commands.command("PTTL", name), -2, reads=True
        )
        return None if left == -1 else max(left, 0)

    async def touch(
        self, key: Key, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Give a key a new timeout, as for `set`; tell whether it exists."""
        started = now()
        prefix = self._prefix(key)
        px = self._px(prefix, timeout)
        if px is None:
            return await self.delete(key, version)
        if prefix.is_synced:
            return bool(await self._record(prefix, key, version, b"touch", px, b"", started))
        redis_key = self._redis_key(key, version)
        command, voids = commands.retime(redis_key, px), prefix.leaves_copies or ends_early(px)
        return await self._retimed(key, version, prefix, command, started, voids=voids)

    async def persist(self, key: Key, version: int | None = None) -> bool:
        """Take a key's timeout away; tell whether it had one."""
        prefix = self._prefix(key)
        if prefix.is_synced:
            asked = commands.command("PTTL", self._redis_key(key, version))
            try:
                left = self._checked(await self._io.ask(asked, now(), reads=True))
            except RedisFault as fault:
                return self._unwritten(fault, prefix, False)
            return left >= 0 and await self.touch(key, None, version)
        command = commands.command("PERSIST", self._redis_key(key, version))
        return await self._retimed(key, version, prefix, command, now())

    async def expire(self, key: Key, timeout: float | timedelta, version: int | None = None) -> bool:
        """Let a key expire after some seconds; tell whether it exists."""
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        return await self.touch(key, seconds, version)

    async def pexpire(self, key: Key, timeout: float | timedelta, version: int | None = None) -> bool:
        """Let a key expire after some milliseconds; tell whether it exists."""
        if timeout is DEFAULT_TIMEOUT:
            return await self.touch(key, timeout, version)
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout / 1000
        return await self.touch(key, seconds, version)

    async def expire_at(self, key: Key, when: datetime | float, version: int | None = None) -> bool:
        """Let a key expire at a time, a datetime or unix seconds; tell whether it exists."""
        return await self.pexpire_at(key, when if isinstance(when, datetime) else when * 1000, version)

    async def pexpire_at(self, key: Key, when: datetime | float, version: int | None = None) -> bool:
        """Let a key expire at a time, a datetime or unix milliseconds; tell whether it exists."""
        unix_ms = when.timestamp() * 1000 if isinstance(when, datetime) else when
        prefix = self._prefix(key)
        if prefix.is_synced:
            return await self.touch(key, unix_ms / 1000 - datetime.now(UTC).timestamp(), version)
        command = commands.command("PEXPIREAT", self._redis_key(key, version), b"%d" % unix_ms)
        return await self._retimed(key, version, prefix, command, now())

    async def _retimed(
        self,
        key: Key,
        version: int | None,
        prefix: Prefix,
        command: bytes,
        started: int,
        *,
        voids: bool = True,
    ) -> bool:
        """Send what changes the timeout of a key; tell whether it did, to an entry whose tags hold."""
        redis_key = self._redis_key(key, version)
        try:
            before = self._voiding((redis_key,)) if voids else ()
            asked = (*before, command, start_of(redis_key))
            *_, reply, start = await self._write_all(asked, started, (redis_key,))
            return bool(self._checked(reply)) and await self._retain(redis_key, start, started)
        except RedisFault as fault:
            return self._degraded(fault, prefix, False)
        finally:
            self._written(key, version)

    async def incr_version(self, key: Key, delta: int = 1, version: int | None = None) -> int:
        """Move a value to the key's version ``delta`` further on, with its timeout.

        Returns:
            The version where the value is now: the present one where Redis failed and ``ON_ERROR`` is
            "degrade".

        Raises:
            ValueError: The key does not exist.
        """
        current = self._value_keys.version if version is None else version
        prefix = self._prefix(key)
        old_key, new_key = self._redis_key(key, current), self._redis_key(key, current + delta)
        try:
            for _ in range(TRIES):
                asked = (commands.get(old_key), commands.command("PTTL", old_key))
                started = now()
                blob, left = await self._io.ask_many(asked, started, reads=True)
                value, stamps = await self._current(blob, prefix, old_key, started)
                if value is MISSING:
                    if await self._learns():
                        continue
                    raise ValueError(f"Key {key!r} not found.")
                # The seal binds a value to its key, so it is sealed anew rather than renamed.
                moved = self._encoded(prefix, value, new_key, stamps)
                if prefix.is_synced and delta:
                    px = b"" if left < 0 else b"%d" % max(left, 1)
                    has_moved = await self._move_recorded(prefix, key, current, delta, blob, moved, px)
                elif delta and not self._internal.share_slot(old_key, new_key):
                    has_moved = await self._move_apart(old_key, new_key, blob, moved, left)
                else:
                    keys = old_key, new_key
                    names = *keys, *map(self._internal.lease, keys), *map(self._internal.side, keys)
                    arguments = blob, moved
                    has_moved = self._checked(await self._run_script(MOVE, names, arguments, now()))
                if has_moved:
                    if cache_written.receivers and not (prefix.is_synced and delta):
                        await self._tell(cache_written, key, current + delta)
                    return current + delta
        except RedisFault as fault:
            return self._unwritten(fault, prefix, current)
        finally:
            self._written(key, current)
            self._written(key, current + delta)
        raise self._contended(prefix, key)

    async def decr_version(self, key: Key, delta: int = 1, version: int | None = None) -> int:
        """Move a value to the key's version ``delta`` further back; see `incr_version`."""
        return await self.incr_version(key, -delta, version)

    async def _move_apart(self, old_key: bytes, new_key: bytes, blob: bytes, moved: bytes, left: int) -> Any:
        """Write a value under its new version, then delete the old one if it is still what was read.

        As `_move_recorded`: no script reaches two slots of a Redis Cluster.
        """
        px = b"" if left < 0 else b"%d" % max(left, 1)
        self._checked(await self._write_voiding(commands.set_(new_key, moved, px), now(), new_key))
        names = self._internal
        keys = old_key, names.lease(old_key), names.side(old_key)
        return self._checked(await self._run_script(TAKE_OUT, keys, (blob,), now()))

    async def _move_recorded(
        self, prefix: Prefix, key: Key, current: int, delta: int, blob: bytes, moved: bytes, px: bytes
    ) -> Any:
        """Write a synced value under its new version, then delete the old one if it is still what was read.

        In this order a crash in between leaves two copies, here and in the remote store, never none.
        """
        await self._record(prefix, key, current + delta, b"set", px, moved, now())
        return await self._record(prefix, key, current, b"delete", b"", b"", now(), expected=blob)
