"""What all operations share: the alias they work for, the driver they work with, and what a fault means."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from redis import exceptions as redis_errors

from django_callcache.cache import commands
from django_callcache.cache.counters import ERRORS, UNDECODABLE
from django_callcache.cache.drivers import Io
from django_callcache.cache.faults import fault_in
from django_callcache.cache.near import Copy, NearCache, NearEntry, absent, entry_of
from django_callcache.cache.prefixes import Prefix, milliseconds
from django_callcache.cache.runtime import Runtime
from django_callcache.cache.value_keys import Key, ValueKeys
from django_callcache.conf import LONGEST_LOCK_TIMEOUT
from django_callcache.exceptions import (
    RedisFault,
    RedisMisconfigured,
    RedisRefused,
    RedisUnavailable,
    Undecodable,
    WriteUncertain,
)
from django_callcache.lua import Script
from django_callcache.signals import CacheSignal, cache_invalidated

Fallback = TypeVar("Fallback")

MISSING: Any = object()
"""No value; a stored None is one."""

TRIES = 1000
"""Rounds of compare and set before contention is called an error: in each of them somebody succeeds."""

FAILED: Any = object()
"""No answer, from Redis or from the near cache."""

COUNTABLE = frozenset({b"-", *(b"%d" % digit for digit in range(10))})
"""What a value begins with that Redis can count with."""

now = time.monotonic_ns

LONGEST_LEASE_MS = int(LONGEST_LOCK_TIMEOUT * 1000) + 10_000
"""No lease lives longer: none is renewed after the lock timeout, and the last renewal holds for seconds."""


def ends_early(px: bytes) -> bool:
    """Tell a value that may be gone before a computation of its key ends which began before it was written.

    Any other is still there, and keeps what was computed from being stored: writing it need not void a lease.
    """
    return 0 < len(px) <= 6 and int(px) <= LONGEST_LEASE_MS


class OperationsBase:
    """One alias, one driver.

    Args:
        runtime: What the alias shares in this process.
        io: Reaches Redis.
        value_keys: Makes Redis keys of callers' keys.
    """

    def __init__(self, runtime: Runtime, io: Io, value_keys: ValueKeys) -> None:
        self._runtime = runtime
        self._io = io
        self._value_keys = value_keys
        self._redis_key = value_keys.redis_key
        self._prefix_of = runtime.prefixes.of
        # A key function assigned to this object alone makes keys that the link cannot map back.
        self.near = runtime.near if value_keys is runtime.value_keys else None
        """This process's copies, where these operations may use them."""
        self._announcer = None if runtime.watch is None else runtime.watch.announcer
        self._tracking = None if runtime.watch is None else runtime.watch.tracking
        self._flights = runtime.flights
        self._raises = runtime.options.on_error == "raise"
        self._internal = runtime.redis_keys
        self._dictionaries = runtime.dictionaries.known

    def _prefix(self, key: Key) -> Prefix:
        return self._prefix_of(key if type(key) is str else str(key))

    def _degraded(
        self, fault: RedisFault, prefix: Prefix, fallback: Fallback, lost: Iterable[bytes] = ()
    ) -> Fallback:
        """What a call returns when Redis failed it, as ``ON_ERROR`` says.

        Args:
            fault: What happened.
            prefix: Whose counts it goes to.
            fallback: What is returned.
            lost: Redis keys whose old values must not stand: they are deleted once Redis is back.

        Raises:
            RedisFault: ``ON_ERROR`` is "raise"; or the configuration is wrong, which no waiting mends.
        """
        prefix.counts.slots[ERRORS] += 1
        self._remember(fault, lost)
        if self._raises or isinstance(fault, RedisMisconfigured):
            raise fault
        return fallback

    def _remember(self, fault: RedisFault, lost: Iterable[bytes]) -> None:
        """See to it that these keys are deleted once Redis is back."""
        if isinstance(fault, RedisUnavailable | RedisRefused) and (keys := dict.fromkeys(lost)):
            self._runtime.recovery.remember(keys)
            # Their leases, if they have any, are not void.
            self._flights.leave(keys)

    async def _ask_to_keep(self, asked: Sequence[bytes], started: int) -> tuple[list[Any], bool]:
        """The replies to a read of which copies are to be kept, and whether they may be."""
        if self._tracking is None:
            return await self._io.ask_many(asked, started, reads=True), True
        return await self._io.ask_tracked(asked, started, self._tracking)

    def _copy(
        self,
        near: NearCache,
        key: str,
        redis_key: bytes,
        started: int,
        prefix: Prefix,
        reply: Any,
        value: Any,
        left: Any,
    ) -> NearEntry | None:
        """A copy to keep of what was read in this process; None where none may be kept.

        Args:
            near: Where to.
            key: As the caller wrote it.
            redis_key: As Redis has it.
            started: When the read began.
            prefix: Of the key.
            reply: To GET.
            value: As decoded.
            left: The reply to PTTL: milliseconds, -1 if the key never expires, -2 if there is none.
        """
        if type(left) is not int:  # an error reply
            return None
        if (reply is None) != (left == -2):  # written, or expired, between the two commands
            return None
        if reply is not None:
            is_unasked_counter = prefix.rule is None and reply[:1] in COUNTABLE
            if value is MISSING or is_unasked_counter:
                return None
        deadline = near.deadline(started, left)
        entry = entry_of(key, redis_key, value, reply, prefix.codec.opened, deadline, prefix.counts)
        if prefix.sampler is not None and entry.copy is not absent:
            entry.copy = self._sampling(prefix, key, entry.copy)
        return entry

    def _sampling(self, prefix: Prefix, key: str, copy: Copy | None) -> Copy:
        """What hands out a near copy whose hits are drawn to be compared with their origin."""
        blocking = type(self)(self._runtime, self._runtime.blocking_io, self._value_keys)

        def handed_out(kept: Any) -> Any:
            blocking._hit(prefix, key, None)
            return kept if copy is None else copy(kept)

        return handed_out

    def _hit(self, prefix: Prefix, key: Key, version: int | None) -> None:
        """Have a hit compared with its origin, if it is drawn; to be asked for only where some are."""
        raise NotImplementedError

    def _written(self, key: Key, version: int | None) -> None:
        """Drop this process's copy of a key: it was written, or may have been."""
        near = self._runtime.near
        if near is None:
            return
        if type(key) is str and version is None and self.near is not None:
            near.drop(key)
        elif (same := self._value_keys.default_key(key, version)) is not None:
            near.drop(same)

    async def _tell(self, signal: CacheSignal, key: Key, version: int | None, **details: Any) -> None:
        """Send a signal about a key; to be asked for only where somebody listens."""
        version = self._value_keys.version if version is None else version
        await self._io.tell(signal, self._runtime.alias, key=key, version=version, **details)

    async def _tell_all(self, kind: str, names: tuple[str, ...], removed: int | None) -> None:
        """Send `cache_invalidated`; to be asked for only where somebody listens."""
        await self._io.tell(cache_invalidated, self._runtime.alias, kind=kind, names=names, removed=removed)

    def _write(
        self, command: bytes, started: int, *redis_keys: bytes, after: Sequence[bytes] = ()
    ) -> Awaitable[Any]:
        """Send a write; announce it in the same round trip where near caches hear of it in no other way.

        Args:
            command: The write, whose reply is returned.
            started: When the call began.
            redis_keys: What it writes.
            after: Commands that go behind it in the same round trip; their replies do not matter.
        """
        announcer = self._announcer
        announcement = None if announcer is None else announcer.announcement(redis_keys, started)
        if announcement is None and not after:
            return self._io.ask(command, started)
        return self._write_and(command, after, announcement, started)

    async def _write_voiding(
        self, command: bytes, started: int, *redis_keys: bytes, after: Sequence[bytes] = ()
    ) -> Any:
        """Send a write that voids the computations of its keys and drops their stale copies.

        In front of the write, so that a computation which is voided cannot store between the two; one that
        begins between them loads what the caller has made true before this call.
        """
        before = self._voiding(redis_keys)
        return (await self._write_all([*before, command, *after], started, redis_keys))[len(before)]

    def _voiding(self, redis_keys: Sequence[bytes]) -> list[bytes]:
        """Commands that void what is computed for keys, and drop what was kept of them."""
        names = self._internal
        return [
            commands.of_keys(b"UNLINK", map(names.lease, redis_keys)),
            *(commands.drop_copy(names.side(key)) for key in redis_keys),
        ]

    async def _write_and(
        self, command: bytes, after: Sequence[bytes], announcement: bytes | None, started: int
    ) -> Any:
        if announcement is None or self._announcer is None:
            return (await self._io.ask_many((command, *after), started))[0]
        reply, *_, heard = await self._io.ask_many((command, *after, announcement), started)
        self._announcer.announced(heard, started)
        return reply

    async def _write_all(
        self, asked: Sequence[bytes], started: int, redis_keys: Sequence[bytes]
    ) -> list[Any]:
        """Send writes, and reads behind them, as `_write` does; return their replies."""
        announcer = self._announcer
        announcement = None if announcer is None else announcer.announcement(redis_keys, started)
        if announcer is None or announcement is None:
            return await self._io.ask_many(asked, started)
        *replies, heard = await self._io.ask_many([*asked, announcement], started)
        announcer.announced(heard, started)
        return replies

    def _checked(self, reply: Any) -> Any:
        """A reply that is not an error.

        Raises:
            RedisFault: The server is at fault.
            redis.exceptions.ResponseError: The key or the arguments are.
        """
        if isinstance(reply, redis_errors.ResponseError):
            raise fault_in(reply, self._runtime.server) or reply
        return reply

    def _decoded(self, reply: Any, prefix: Prefix, redis_key: bytes) -> Any:
        """The value in a reply to GET, `Tagged` if it has tags; `MISSING` for none, or none of ours."""
        if reply is None:
            return MISSING
        if type(reply) is not bytes:
            if isinstance(reply, redis_errors.ResponseError) and (
                fault := fault_in(reply, self._runtime.server)
            ):
                raise fault
            prefix.counts.slots[UNDECODABLE] += 1  # a list or a hash lies there
            return MISSING
        try:
            return prefix.codec.read(reply, redis_key)
        except Undecodable:
            prefix.counts.slots[UNDECODABLE] += 1
            return MISSING

    async def _learns(self) -> bool:
        """Fetch the dictionaries that values were met with in vain; tell whether one of them came."""
        return bool(self._dictionaries.wanted) and await self._runtime.dictionaries.learn(self._answer)

    async def _answer(self, *words: bytes | str) -> Any:
        return self._checked(await self._io.ask(commands.command(*words), now(), reads=True))

    def _px(self, prefix: Prefix, timeout: Any) -> bytes | None:
        """A timeout in milliseconds; empty for ever; None where nothing is to be kept at all."""
        if timeout is DEFAULT_TIMEOUT:
            return prefix.clock.px()
        if timeout is not None and timeout <= 0:
            return None
        return milliseconds(timeout)

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
            if reads:
                return self._checked(await self._io.ask(command(redis_key), now(), reads=True))
            return self._checked(await self._write_voiding(command(redis_key), now(), redis_key))
        except RedisFault as fault:
            return self._degraded(fault, self._prefix(key), fallback)
        finally:
            if not reads:
                self._written(key, version)

    async def _run_script(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Iterable[bytes],
        started: int,
        *,
        reads: bool = False,
        after: Sequence[bytes] = (),
    ) -> Any:
        """The reply of a script, which is sent whole where the server does not know it yet."""
        arguments = tuple(arguments)
        asked = commands.evalsha(script, keys, arguments)
        reply = await self._ask_or_write(asked, keys, started, reads, after)
        if isinstance(reply, redis_errors.NoScriptError):
            asked = commands.eval_(script, keys, arguments)
            reply = await self._ask_or_write(asked, keys, started, reads, after)
        return reply

    def _ask_or_write(
        self, command: bytes, keys: Sequence[bytes], started: int, reads: bool, after: Sequence[bytes] = ()
    ) -> Awaitable[Any]:
        if reads:
            return self._io.ask(command, started, reads=True)
        return self._write(command, started, *keys, after=after)

    def _never_twice(self, fault: RedisFault) -> RedisFault:
        """The fault of a write that does something else when it is repeated."""
        if isinstance(fault, RedisUnavailable) and fault.sent:
            uncertain = WriteUncertain(f"Redis may or may not have carried out the write: {fault}", sent=True)
            uncertain.__cause__ = fault
            return uncertain
        return fault

    def _contended(self, prefix: Prefix, key: Key) -> RuntimeError:
        prefix.counts.slots[ERRORS] += 1
        return RuntimeError(f"Other writers kept changing {key!r}; nothing was written.")
