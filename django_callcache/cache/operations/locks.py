"""Locks that processes share: one key each, held by whoever's token lies there."""

from __future__ import annotations

from redis.exceptions import LockNotOwnedError

from django_callcache.cache import commands
from django_callcache.cache.operations.base import OperationsBase, now
from django_callcache.exceptions import RedisFault
from django_callcache.lua import Script

_RELEASE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")
"""Give a lock back that is still held. KEYS the lock. ARGV the token."""

_EXTEND = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local left = ARGV[3] == '1' and 0 or math.max(redis.call('PTTL', KEYS[1]), 0)
return redis.call('PEXPIRE', KEYS[1], left + ARGV[2])
""")
"""Hold a lock for longer. KEYS the lock. ARGV the token, milliseconds, 1 to count them from now."""


class LockOperations(OperationsBase):
    """What a lock asks of Redis. `locks.Lock` documents the rest."""

    async def take_lock(self, redis_key: bytes, token: bytes, px: bytes) -> bool | None:
        """Take a lock that nobody holds; tell whether that is so, None where Redis did not say.

        Raises:
            RedisFault: ``ON_ERROR`` is "raise".
        """
        command = commands.set_if(redis_key, token, px, b"NX")
        try:
            return self._checked(await self._write(command, now(), redis_key)) is not None
        except RedisFault as fault:
            return self._degraded(fault, self._prefix(""), None)

    async def give_lock(self, redis_key: bytes, token: bytes) -> None:
        """Give a lock back.

        Raises:
            LockNotOwnedError: It has expired, and may be somebody else's by now.
            RedisFault: ``ON_ERROR`` is "raise"; otherwise the lock stands until its timeout.
        """
        try:
            held = self._checked(await self._run_script(_RELEASE, (redis_key,), (token,), now()))
        except RedisFault as fault:
            return self._degraded(fault, self._prefix(""), None)
        if not held:
            raise LockNotOwnedError("The lock is not held any more: its timeout has passed.")
        return None

    async def extend_lock(self, redis_key: bytes, token: bytes, milliseconds: int, *, anew: bool) -> bool:
        """Hold a lock for longer, from now or from when it would end; tell whether that was done.

        Raises:
            LockNotOwnedError: As for `give_lock`.
            RedisFault: ``ON_ERROR`` is "raise".
        """
        arguments = (token, b"%d" % milliseconds, b"%d" % anew)
        try:
            held = self._checked(await self._run_script(_EXTEND, (redis_key,), arguments, now()))
        except RedisFault as fault:
            return self._degraded(fault, self._prefix(""), False)
        if not held:
            raise LockNotOwnedError("The lock is not held any more: its timeout has passed.")
        return True

    async def lock_token(self, redis_key: bytes) -> bytes | None:
        """The token of whoever holds a lock; None where nobody does, or Redis failed and may."""
        try:
            token: bytes | None = self._checked(
                await self._io.ask(commands.get(redis_key), now(), reads=True)
            )
        except RedisFault as fault:
            return self._degraded(fault, self._prefix(""), None)
        return token
