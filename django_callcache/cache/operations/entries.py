"""Operations on one key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from redis import exceptions as redis_errors

from django_callcache.cache import commands
from django_callcache.cache.counters import DELETES, ERRORS, HITS, MISSES, SETS
from django_callcache.cache.near import NearCache
from django_callcache.cache.operations.base import FAILED, MISSING, OperationsBase, now
from django_callcache.cache.operations.entry_scripts import INCREMENT, MOVE, REPLACE
from django_callcache.cache.prefixes import Prefix
from django_callcache.cache.value_keys import Key
from django_callcache.exceptions import RedisFault, RedisRefused

TRIES = 1000
"""Rounds of compare and set before contention is called an error: in each of them somebody succeeds."""


class EntryOperations(OperationsBase):
    """Reads and writes of single keys; Django's names and django-redis's."""

    async def read(self, key: Key, version: int | None, missing: Any, failed: Any) -> Any:
        """The value at a key; ``missing`` where there is none, ``failed`` where Redis failed and may."""
        if version is None and self.near is not None and type(key) is str:
            value = self.near.get(key, missing, FAILED)
            if value is not FAILED:
                return value
        return await self.fetch(key, version, missing, failed)

    async def fetch(self, key: Key, version: int | None, missing: Any, failed: Any) -> Any:
        """The same from Redis, whatever this process holds a copy of."""
        started = now()
        text = key if type(key) is str else str(key)
        prefix = self._prefix_of(text)
        redis_key = self._redis_key(key, version)
        try:
            if prefix.is_near and version is None and self.near is not None and type(key) is str:
                value = await self._fetch_and_keep(self.near, key, prefix, redis_key, started)
            else:
                reply = await self._io.ask(commands.get(redis_key), started, reads=True)
                value = self._decoded(reply, prefix, redis_key)
        except RedisFault as fault:
            return self._degraded(fault, prefix, failed)
        if value is MISSING:
            if self._dictionaries.wanted and await self._learns():
                return await self.read(key, version, missing, failed)
            prefix.counts.read(text, MISSES, now() - started)
            return missing
        prefix.counts.read(text, HITS, now() - started)
        return value

    async def _fetch_and_keep(
        self, near: NearCache, key: str, prefix: Prefix, redis_key: bytes, started: int
    ) -> Any:
        """The value in Redis, a copy of which is kept in this process for as long as it may."""
        token = near.begin()
        if token is None:
            self._runtime.listen()
            reply = await self._io.ask(commands.get(redis_key), started, reads=True)
            return self._decoded(reply, prefix, redis_key)
        asked = (commands.get(redis_key), commands.pttl(redis_key))
        reply, left = await self._io.ask_many(asked, started, reads=True)
        value = self._decoded(reply, prefix, redis_key)
        self._keep(near, key, token, started, prefix, reply, value, left)
        return value

    async def set(
        self,
        key: Key,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        nx: bool = False,
        xx: bool = False,
    ) -> bool:
        """Store a value.

        Args:
            key: Anything with a text form.
            value: Whatever the prefix's serializer takes.
            timeout: Seconds, fractions included; None for ever; 0 or less deletes the key. Left out,
                the TTL policy of the key's prefix decides.
            version: Left out, the alias's ``VERSION``.
            nx: Store only if the key is absent.
            xx: Store only if the key is present.

        Returns:
            Whether it was stored.

        Raises:
            SyncNotRecorded: The prefix is synced and the write could not be recorded. Also in degraded
                mode, as are `Uncertain` and `BacklogFull`: nothing meant for the remote store is lost
                silently.
        """
        if nx:
            return await self.add(key, value, timeout, version)
        started = now()
        prefix = self._prefix(key)
        px = self._px(prefix, timeout)
        if px is None:
            await self.delete(key, version)
            return True
        redis_key = self._redis_key(key, version)
        blob = prefix.codec.encode(value, redis_key)
        if prefix.is_synced:
            operation = b"replace" if xx else b"set"
            return bool(await self._record(prefix, key, version, operation, px, blob, started))
        command = commands.set_if(redis_key, blob, px, b"XX") if xx else commands.set_(redis_key, blob, px)
        try:
            reply = self._checked(await self._write(command, started, redis_key))
        except RedisRefused as refused:
            await self._drop_old_value(redis_key)
            return self._degraded(refused, prefix, False)
        except RedisFault as fault:
            return self._degraded(fault, prefix, False)
        finally:
            self._written(key, version)
        prefix.counts.wrote(SETS, now() - started)
        return reply is not None

    async def add(
        self, key: Key, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Store a value if the key is absent; tell whether it was stored."""
        started = now()
        prefix = self._prefix(key)
        px = self._px(prefix, timeout)
        if px is None:  # nothing would be kept, but the answer is the one that a real timeout gets
            return not await self._ask_of_key(key, version, commands.exists, 1, reads=True)
        redis_key = self._redis_key(key, version)
        blob = prefix.codec.encode(value, redis_key)
        if prefix.is_synced:
            return bool(await self._record(prefix, key, version, b"add", px, blob, started))
        try:
            command = commands.set_if(redis_key, blob, px, b"NX")
            reply = self._checked(await self._write(command, started, redis_key))
        except RedisFault as fault:
            return self._degraded(fault, prefix, False)
        finally:
            self._written(key, version)
        prefix.counts.wrote(SETS, now() - started)
        return reply is not None

    async def get_or_set(
        self, key: Key, default: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """The value at a key; where there is none, ``default`` (called if callable) is stored and returned.

        A None that the callable returns is stored like any value. The asyncio method takes
        coroutine functions too.
        """
        value = await self.read(key, version, missing=MISSING, failed=FAILED)
        if value is not MISSING and value is not FAILED:
            return value
        computed = await self._io.call(default) if callable(default) else default
        # A server that has just failed is not asked again: the caller has waited long enough.
        if value is FAILED or await self.add(key, computed, timeout, version):
            return computed
        return await self.read(key, version, missing=computed, failed=computed)  # somebody was faster

    async def delete(self, key: Key, version: int | None = None) -> bool:
        """Delete a key; tell whether it existed."""
        started = now()
        prefix = self._prefix(key)
        if prefix.is_synced:
            return bool(await self._record(prefix, key, version, b"delete", b"", b"", started))
        try:
            redis_key = self._redis_key(key, version)
            reply = self._checked(await self._write(commands.unlink(redis_key), started, redis_key))
        except RedisFault as fault:
            return self._degraded(fault, prefix, False)
        finally:
            self._written(key, version)
        prefix.counts.wrote(DELETES, now() - started)
        return bool(reply)

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
        try:
            return bool(self._checked(await self._write(commands.retime(redis_key, px), started, redis_key)))
        except RedisFault as fault:
            return self._degraded(fault, prefix, False)
        finally:
            self._written(key, version)

    async def has_key(self, key: Key, version: int | None = None) -> bool:
        """Tell whether a key exists."""
        return bool(await self._ask_of_key(key, version, commands.exists, 0, reads=True))

    async def incr(
        self, key: Key, delta: float = 1, version: int | None = None, ignore_key_check: bool = False
    ) -> Any:
        """Add to a number and return the sum. Its timeout stays.

        Integers of 64 bits are counted by Redis itself; larger ones and floats by compare and
        set, so that no update is lost either way.

        Args:
            key: Of the number.
            delta: What to add.
            version: Left out, the alias's ``VERSION``.
            ignore_key_check: Start a missing key at 0 instead of raising.

        Returns:
            The sum; None where Redis failed and ``ON_ERROR`` is "degrade".

        Raises:
            ValueError: The key does not exist.
            TypeError: Its value is not a number.
        """
        started = now()
        prefix = self._prefix(key)
        redis_key = self._redis_key(key, version)
        try:
            reply = MISSING
            if type(delta) is int:
                reply = await self._increment(prefix, key, version, redis_key, delta, started)
            if reply is MISSING or isinstance(reply, redis_errors.ResponseError):
                reply = await self._increment_by_comparing(prefix, key, version, redis_key, delta)
        except RedisFault as fault:
            return self._unwritten(fault, prefix, None)
        finally:
            self._written(key, version)
        if reply is None:
            if not ignore_key_check:
                raise ValueError(f"Key {key!r} not found.")
            if not await self.add(key, delta, version=version):
                return await self.incr(key, delta, version)
            return delta
        prefix.counts.wrote(SETS, now() - started)
        return reply

    async def decr(self, key: Key, delta: float = 1, version: int | None = None) -> Any:
        """Subtract from a number; see `incr`."""
        return await self.incr(key, -delta, version)

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
                blob, left = await self._io.ask_many(asked, now(), reads=True)
                value = self._decoded(blob, prefix, old_key)
                if value is MISSING:
                    if await self._learns():
                        continue
                    raise ValueError(f"Key {key!r} not found.")
                # The seal binds a value to its key, so it is sealed anew rather than renamed.
                moved = prefix.codec.encode(value, new_key)
                if prefix.is_synced and delta:
                    px = b"" if left < 0 else b"%d" % max(left, 1)
                    has_moved = await self._move_recorded(prefix, key, current, delta, blob, moved, px)
                else:
                    names, arguments = (old_key, new_key), (blob, moved)
                    has_moved = self._checked(await self._run_script(MOVE, names, arguments, now()))
                if has_moved:
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
        return bool(await self._ask_of_key(key, version, lambda name: commands.command("PERSIST", name), 0))

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
        if self._prefix(key).is_synced:
            return await self.touch(key, unix_ms / 1000 - datetime.now(UTC).timestamp(), version)
        at = b"%d" % unix_ms
        return bool(
            await self._ask_of_key(key, version, lambda name: commands.command("PEXPIREAT", name, at), 0)
        )

    async def _ask_of_key(
        self,
        key: Key,
        version: int | None,
        command: Callable[[bytes], bytes],
        fallback: Any,
        *,
        reads: bool = False,
    ) -> Any:
        try:
            redis_key = self._redis_key(key, version)
            return self._checked(await self._ask_or_write(command(redis_key), (redis_key,), now(), reads))
        except RedisFault as fault:
            return self._degraded(fault, self._prefix(key), fallback)
        finally:
            if not reads:
                self._written(key, version)

    async def _increment(
        self, prefix: Prefix, key: Key, version: int | None, redis_key: bytes, delta: int, started: int
    ) -> Any:
        """Let Redis count: the sum, None for a missing key, an error reply for what it cannot count."""
        if prefix.is_synced:
            try:
                reply = await self._record(prefix, key, version, b"incr", b"", b"%d" % delta, started)
            except redis_errors.ResponseError as error:
                if isinstance(error, RedisFault):
                    raise
                return error
            return None if reply is None else int(reply)
        reply = await self._run_script(INCREMENT, (redis_key,), (b"%d" % delta,), started)
        if isinstance(reply, redis_errors.ResponseError) and _cannot_count(reply):
            return reply
        return self._checked(reply)

    async def _increment_by_comparing(
        self, prefix: Prefix, key: Key, version: int | None, redis_key: bytes, delta: float
    ) -> Any:
        for _ in range(TRIES):
            blob = await self._io.ask(commands.get(redis_key), now(), reads=True)
            value = self._decoded(blob, prefix, redis_key)
            if value is MISSING:
                if await self._learns():
                    continue
                return None
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"The value at {key!r} is a {type(value).__name__}, not a number.")
            total = prefix.codec.encode(value + delta, redis_key)
            if prefix.is_synced:
                swap = self._record(prefix, key, version, b"swap", b"", total, now(), expected=blob)
                has_changed = await swap
            else:
                script = self._run_script(REPLACE, (redis_key,), (blob, total), now())
                has_changed = self._checked(await script)
            if has_changed:
                return value + delta
        raise self._contended(prefix, key)

    async def _move_recorded(
        self, prefix: Prefix, key: Key, current: int, delta: int, blob: bytes, moved: bytes, px: bytes
    ) -> Any:
        """Write a synced value under its new version, then delete the old one if it is still what was read.

        In this order a crash in between leaves two copies, here and in the remote store, never none.
        """
        await self._record(prefix, key, current + delta, b"set", px, moved, now())
        return await self._record(prefix, key, current, b"delete", b"", b"", now(), expected=blob)

    def _contended(self, prefix: Prefix, key: Key) -> RuntimeError:
        prefix.counts.slots[ERRORS] += 1
        return RuntimeError(f"Other writers kept changing {key!r}; nothing was written.")


def _cannot_count(reply: redis_errors.ResponseError) -> bool:
    """Tell whether INCRBY met a value that is no integer of 64 bits, or a sum that would not be one."""
    return any(words in str(reply) for words in ("not an integer", "overflow", "WRONGTYPE"))
