"""What people decide about TTLs: to pin a prefix, and to pause all that adapts.

Each says in Redis what is to hold; every process of the site obeys within seconds, this one at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from django_callcache.cache import commands
from django_callcache.cache.operations.base import OperationsBase, now
from django_callcache.cache.prefixes import Prefix
from django_callcache.cache.shared_overrides import DROP, PAUSE, PIN, ended, read_overrides, written
from django_callcache.conf import parameters_of
from django_callcache.exceptions import PinRefused
from django_callcache.outbox.processes import flat_pairs
from django_callcache.outbox.stat_buckets import OTHER
from django_callcache.ttl import FixedTtl, Override, Overrides, Pin

LONGEST_SECONDS = 366 * 86400.0
"""That a pin or a pause with an end may last."""
REASON_LENGTH = 500
NAME_LENGTH = 254


class PinBounds(NamedTuple):
    """Seconds that a prefix may be pinned to."""

    least: float
    most: float


class OverrideOperations(OperationsBase):
    """Pins and the pause. They raise where Redis fails, whatever ``ON_ERROR`` says."""

    async def ttl_overrides(self) -> Overrides:
        """The pins and the pause that hold now, read from Redis; this process obeys them from now on.

        Raises:
            RedisFault: There was no reply in time.
        """
        return (await self._known())[0]

    async def pin_ttl(
        self, prefix: str, seconds: float, *, by: str, reason: str = "", lasts: float | None = None
    ) -> Pin:
        """Give all entries of a prefix one TTL, in place of what its policy answers, in all processes.

        It takes the place of a pin that is there. Entries that are there keep the time they have, and a
        timeout that a caller gives holds as ever. The policy goes on learning.

        Args:
            prefix: As `prefix_of` names it.
            seconds: Within `pin_bounds`.
            by: Who pins it.
            reason: Why, for the others.
            lasts: Seconds after which it ends by itself; None: until `unpin_ttl`.

        Raises:
            PinRefused: The prefix, the seconds or the duration cannot be; the message says why.
            RedisFault: Redis did not take it.
        """
        bounds = self._pin_bounds(self._pinnable(prefix))
        if not bounds.least <= seconds <= bounds.most:
            raise PinRefused(
                f"{prefix!r} cannot be pinned to {seconds!r} s: give {bounds.least:g} to {bounds.most:g} "
                'seconds. MIN_TTL, MAX_TTL and "max_ttl" of its rule are the bounds.'
            )
        started_at, until = await self._begins(lasts)
        pin = Pin(
            ttl_seconds=float(seconds),
            by=by[:NAME_LENGTH],
            since=started_at,
            until=until,
            reason=reason[:REASON_LENGTH],
        )
        await self._write_override([commands.command("HSET", self._key, PIN + prefix.encode(), written(pin))])
        return pin

    async def unpin_ttl(self, prefix: str) -> bool:
        """Let the policy of a prefix decide again; tell whether it was pinned.

        Raises:
            RedisFault: Redis did not take it.
        """
        was_pinned = prefix in (await self.ttl_overrides()).pins
        removed, *_ = await self._write_override([commands.command("HDEL", self._key, PIN + prefix.encode())])
        return was_pinned and bool(removed)

    async def pause_ttl(self, *, by: str, reason: str = "", lasts: float | None = None) -> bool:
        """Let ``DEFAULT_TTL`` hold wherever a policy adapts, in all processes; tell whether this is new.

        Fixed TTLs and pins hold as before. The policies go on learning.

        Args:
            by: Who pauses.
            reason: Why, for the others.
            lasts: Seconds after which it ends by itself; None: until `resume_ttl`.

        Raises:
            PinRefused: It cannot last so long.
            RedisFault: Redis did not take it.
        """
        started_at, until = await self._begins(lasts)
        pause = Override(by=by[:NAME_LENGTH], since=started_at, until=until, reason=reason[:REASON_LENGTH])
        taken, *_ = await self._write_override([commands.command("HSETNX", self._key, PAUSE, written(pause))])
        return bool(taken)

    async def resume_ttl(self) -> bool:
        """Let the policies decide again that adapt; tell whether they were paused.

        Raises:
            RedisFault: Redis did not take it.
        """
        was_paused = (await self.ttl_overrides()).pause is not None
        removed, *_ = await self._write_override([commands.command("HDEL", self._key, PAUSE)])
        return was_paused and bool(removed)

    def pin_bounds(self, prefix: str) -> PinBounds:
        """Seconds that a prefix may be pinned to: ``MIN_TTL`` to ``MAX_TTL``, or its rule's ``max_ttl``.

        Where its policy answers more than that on its own, up to that.

        Raises:
            PinRefused: It is no prefix by itself.
        """
        return self._pin_bounds(self._pinnable(prefix))

    @property
    def _key(self) -> bytes:
        return self._internal.overrides()

    def _pinnable(self, prefix: str) -> Prefix:
        """What holds for the keys of a prefix that has a policy of its own."""
        found = self._prefix_of(prefix)
        if found.rule is None and found.name == OTHER:
            raise PinRefused(
                f"{prefix!r} is no prefix by itself: its keys count as one with all others. Keys are grouped "
                "up to their first colon, or by a rule in RULES; give it a rule."
            )
        if found.name != prefix:
            raise PinRefused(
                f"{prefix!r} is no prefix by itself: its keys belong to {found.name!r}. Pin that, or give "
                f"{prefix!r} a rule in RULES."
            )
        return found

    def _pin_bounds(self, prefix: Prefix) -> PinBounds:
        parameters = parameters_of(self._runtime.settings.ttl, prefix.rule)
        policy = prefix.clock.policy
        if policy.learns:
            return PinBounds(parameters.min_ttl, parameters.max_ttl)
        own = policy.ttl_seconds if isinstance(policy, FixedTtl) else parameters.default_ttl
        own = parameters.min_ttl if own is None else own
        return PinBounds(min(parameters.min_ttl, own), max(parameters.max_ttl, parameters.peak_ttl, own))

    async def _known(self) -> tuple[Overrides, dict[bytes, bytes], float]:
        """What holds now, the fields of the hash, and the time by the clock of Redis."""
        asked = [commands.command("TIME"), commands.command("HGETALL", self._key)]
        time, reply = map(self._checked, await self._io.ask_many(asked, now(), reads=True))
        fields, seconds = flat_pairs(reply), int(time[0]) + int(time[1]) / 1e6
        known = read_overrides(fields)
        self._runtime.overrides.obey(known)
        return known.at(seconds), fields, seconds

    async def _begins(self, lasts: float | None) -> tuple[float, float | None]:
        """When what is decided now begins and ends; what has ended is removed before."""
        if lasts is not None and not 0 < lasts <= LONGEST_SECONDS:
            raise PinRefused(
                f"It cannot last {lasts!r} s: give seconds above 0, {LONGEST_SECONDS:,.0f} at most, or leave "
                "the end open."
            )
        _, fields, seconds = await self._known()
        dropped = [
            commands.eval_(DROP, (self._key,), (name, text)) for name, text in ended(fields, seconds).items()
        ]
        if dropped:
            await self._write_override(dropped)
        return seconds, None if lasts is None else seconds + math.ceil(lasts)

    async def _write_override(self, asked: Sequence[bytes]) -> list[object]:
        """Send writes of the hash, and obey what it holds then; return their replies."""
        *replies, fields = map(
            self._checked,
            await self._io.ask_many([*asked, commands.command("HGETALL", self._key)], now()),
        )
        self._runtime.overrides.obey(read_overrides(flat_pairs(fields)))
        return replies
