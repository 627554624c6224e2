"""Operations on numbers: no addition is lost, whoever else adds."""

from __future__ import annotations

from typing import Any

from redis import exceptions as redis_errors

from django_callcache.cache import commands
from django_callcache.cache.counters import SETS
from django_callcache.cache.operations.base import MISSING, TRIES, now
from django_callcache.cache.operations.entries import EntryOperations
from django_callcache.cache.operations.entry_scripts import INCREMENT, REPLACE
from django_callcache.cache.prefixes import Prefix
from django_callcache.cache.value_keys import Key
from django_callcache.exceptions import RedisFault
from django_callcache.lua import Script
from django_callcache.signals import cache_written


class NumberOperations(EntryOperations):
    """Counting, by Redis where it can."""

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
            WriteUncertain: The answer was lost, so that Redis may have counted; it was not sent again.
                ``ON_ERROR`` is "raise".
        """
        started = now()
        prefix = self._prefix(key)
        redis_key = self._redis_key(key, version)
        try:
            reply = MISSING
            if type(delta) is int and prefix.codec.lets_redis_count:
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
        if (
            cache_written.receivers and not prefix.is_synced
        ):  # of a synced one it was told when it was recorded
            await self._tell(cache_written, key, version)
        return reply

    async def decr(self, key: Key, delta: float = 1, version: int | None = None) -> Any:
        """Subtract from a number; see `incr`."""
        return await self.incr(key, -delta, version)

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
        reply = await self._once(INCREMENT, redis_key, (b"%d" % delta,), started)
        if isinstance(reply, redis_errors.ResponseError) and _cannot_count(reply):
            return reply
        return self._checked(reply)

    async def _increment_by_comparing(
        self, prefix: Prefix, key: Key, version: int | None, redis_key: bytes, delta: float
    ) -> Any:
        for _ in range(TRIES):
            started = now()
            blob = await self._io.ask(commands.get(redis_key), started, reads=True)
            value, stamps = await self._current(blob, prefix, redis_key, started)
            if value is MISSING:
                if await self._learns():
                    continue
                return None
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"The value at {key!r} is a {type(value).__name__}, not a number.")
            total = self._encoded(prefix, value + delta, redis_key, stamps)
            if prefix.is_synced:
                swap = self._record(prefix, key, version, b"swap", b"", total, now(), expected=blob)
                has_changed = await swap
            else:
                has_changed = self._checked(await self._once(REPLACE, redis_key, (blob, total), now()))
            if has_changed:
                return value + delta
        raise self._contended(prefix, key)

    async def _once(
        self, script: Script, redis_key: bytes, arguments: tuple[bytes, ...], started: int
    ) -> Any:
        try:
            return await self._run_script(script, (redis_key,), arguments, started)
        except RedisFault as fault:
            told = self._never_twice(fault)
            if told is fault:
                raise
            raise told from fault


def _cannot_count(reply: redis_errors.ResponseError) -> bool:
    """Tell whether INCRBY met a value that is no integer of 64 bits, or a sum that would not be one."""
    return any(words in str(reply) for words in ("not an integer", "overflow", "WRONGTYPE"))
