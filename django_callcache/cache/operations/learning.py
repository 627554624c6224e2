"""What a write of an entry teaches the TTL policy of its prefix, where that is one that learns.

Beside the value, in its side record and for longer than the value lives, lies what is remembered of the key.
It is read once for a write whose TTL the policy decides, and written in the write's own round trip; reads of
the cache know nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from django_callcache.cache import commands
from django_callcache.cache.operations.base import OperationsBase, now
from django_callcache.cache.prefixes import Prefix, milliseconds
from django_callcache.cache.tracer import Tracer
from django_callcache.cache.updated_at import updated_at_of
from django_callcache.cache.value_keys import Key
from django_callcache.exceptions import RedisFault
from django_callcache.lua import Script
from django_callcache.ttl import Decision, KeyRecord, Load
from django_callcache.ttl.key_record import GRACE_SECONDS

ESTIMATE, REMOVED = b"e", b"i"
"""Fields of the side record: what is remembered of the key; when it was deleted since (unix seconds, and
``p`` behind them where a poll found it changed)."""

POLLED = b"p"

GRACE_MS = int(GRACE_SECONDS * 1000)
EARLY_SECONDS = 1.0
"""How much sooner than expected a value may be gone and still count as expired."""

MARK_REMOVED = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local time = redis.call('TIME')
return redis.call('HSETNX', KEYS[1], ARGV[1], time[1] .. string.format('.%06d', time[2]) .. ARGV[2])
""")
"""Note the first deletion since the last load, where anything is remembered. KEYS: side.
ARGV: field, what goes behind the time.
"""


class Remembered(NamedTuple):
    """What Redis knows of a key before a write."""

    now: float
    """Unix seconds by the clock of Redis, which all processes share."""
    record: KeyRecord | None = None
    removed_at: float | None = None
    """When it was deleted since its last load."""
    is_polled: bool = False
    """Whether a poll found it changed then."""
    exists: bool = False
    """Whether there is a value."""


class LearningOperations(OperationsBase):
    """Writes that are learnt from."""

    async def explain_ttl(self, key: Key, version: int | None = None) -> Decision:
        """The TTL that a write of this key without a timeout would get now, and why.

        Policies that learn answer for the value as it was last loaded. Nothing is learnt from asking.
        """
        prefix = self._prefix(key)
        if prefix.learner is None:
            return prefix.clock.decide()
        try:
            (known,) = await self._asked_for([self._redis_key(key, version)])
        except RedisFault as fault:
            return self._degraded(fault, prefix, prefix.clock.decide())
        return prefix.learner.explain(known.record, known.now, self._runtime.profile)

    async def _life(
        self,
        prefix: Prefix,
        timeout: Any,
        px: bytes,
        redis_key: bytes,
        value: object,
        blob: bytes,
        *,
        is_reload: bool = False,
    ) -> tuple[bytes, Sequence[bytes]]:
        """Milliseconds that an entry written now may live, and the commands that go behind its write.

        Args:
            prefix: Of the key.
            timeout: As the caller gave it.
            px: What it comes to where nothing is learnt.
            redis_key: Where the entry will lie.
            value: Of the entry.
            blob: The value as encoded.
            is_reload: Whether it was computed anew, rather than written by somebody who knew it had changed.
        """
        if self._runtime.exchange.tracer is not None:
            self._trace(self._runtime.exchange.tracer, prefix, redis_key, value, blob)
        if prefix.learner is not None and timeout is DEFAULT_TIMEOUT:
            for known in await self._remembered([redis_key]):
                return self._taken(prefix, redis_key, value, blob, known, is_reload=is_reload)
        return px, ()

    def _longest(self, prefix: Prefix, timeout: Any, px: bytes) -> bytes:
        """Milliseconds that `_life` may come to."""
        if prefix.learner is not None and timeout is DEFAULT_TIMEOUT:
            return milliseconds(prefix.learner.longest)
        return px

    async def _remembered(self, redis_keys: Sequence[bytes]) -> list[Remembered]:
        """What Redis knows of keys before they are written; nothing where it fails, as the write will too."""
        try:
            return await self._asked_for(redis_keys)
        except RedisFault:
            return []

    async def _asked_for(self, redis_keys: Sequence[bytes]) -> list[Remembered]:
        asked = [commands.command("TIME")]
        for redis_key in redis_keys:
            side = self._internal.side(redis_key)
            asked += [commands.command("HMGET", side, ESTIMATE, REMOVED), commands.exists(redis_key)]
        (seconds, microseconds), *found = map(
            self._checked, await self._io.ask_many(asked, now(), reads=True)
        )
        clock = int(seconds) + int(microseconds) / 1e6
        return [
            Remembered(
                clock,
                KeyRecord.unpack(record),
                None if removed is None else float(removed.removesuffix(POLLED)),
                removed is not None and removed.endswith(POLLED),
                bool(exists),
            )
            for (record, removed), exists in zip(found[::2], found[1::2], strict=True)
        ]

    def _taken(
        self,
        prefix: Prefix,
        redis_key: bytes,
        value: object,
        blob: bytes,
        known: Remembered,
        *,
        is_reload: bool = False,
    ) -> tuple[bytes, Sequence[bytes]]:
        """Learn from a write; see `_life`."""
        learner, rule = prefix.learner, prefix.rule
        assert learner is not None  # noqa: S101
        previous, removed_at, is_lost = known.record, known.removed_at, False
        if previous is not None and removed_at is None:
            if known.exists and not is_reload:
                removed_at = known.now  # overwritten, by somebody who knows the value
            elif not known.exists:
                is_lost = known.now < previous.expires_at - EARLY_SECONDS
        load = Load(
            now=known.now,
            digest=self._digest(prefix, redis_key, blob),
            updated_at=updated_at_of(value, rule.updated_at) if rule and rule.updated_at else None,
            previous=previous,
            removed_at=removed_at,
            is_polled=known.is_polled,
            is_lost=is_lost,
        )
        verdict = learner.take(load, self._runtime.profile)
        px = milliseconds(verdict.ttl_seconds)
        grace = max(GRACE_MS, int(prefix.filling.grace * 1000), int(px))
        return px, self._kept(self._internal.side(redis_key), verdict.record, int(px) + grace)

    def _trace(self, tracer: Tracer, prefix: Prefix, redis_key: bytes, value: object, blob: bytes) -> None:
        """Note a write for the recording that goes on."""
        field = prefix.rule and prefix.rule.updated_at
        updated_at = updated_at_of(value, field) if field else None
        tracer.wrote(prefix.name, redis_key, lambda: self._digest(prefix, redis_key, blob), updated_at)

    def _digest(self, prefix: Prefix, redis_key: bytes, blob: bytes) -> bytes:
        """What a value is compared by."""
        return self._runtime.digest_of(prefix.codec.opened(blob, redis_key)[1], redis_key)

    def _kept(self, side: bytes, record: KeyRecord, lasts_ms: int) -> Sequence[bytes]:
        """Commands that remember a load for longer than its value lives."""
        return (
            commands.command("HSET", side, ESTIMATE, record.pack()),
            commands.command("HDEL", side, REMOVED),
            commands.pexpire(side, b"%d" % lasts_ms),
        )

    def _removal(self, prefix: Prefix, redis_key: bytes, *, is_polled: bool = False) -> Sequence[bytes]:
        """Commands that note a deletion, behind it."""
        if self._runtime.exchange.tracer is not None:
            self._runtime.exchange.tracer.removed(prefix.name, redis_key)
        if prefix.learner is None:
            return ()
        arguments = REMOVED, POLLED if is_polled else b""
        return (commands.eval_(MARK_REMOVED, (self._internal.side(redis_key),), arguments),)
