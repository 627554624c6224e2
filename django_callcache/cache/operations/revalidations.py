"""Hits compared with their origin, behind their caller's back: what is stale is measured, not promised.

A comparison is a computation like any other: it has a flight and a lease, so it is not made while somebody
computes, and what it loads is stored only if nobody has written or invalidated the key meanwhile. What is
found unchanged is not stored anew: it keeps the time that it had left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from asgiref.sync import iscoroutinefunction
from redis import exceptions as redis_errors

from django_callcache.cache import commands, revalidation
from django_callcache.cache.counters import CHECKED, STALE
from django_callcache.cache.filling import FillContext
from django_callcache.cache.loading import sources
from django_callcache.cache.operations.base import MISSING, now
from django_callcache.cache.operations.computations import Computation, fingerprint, new_token
from django_callcache.cache.operations.refreshes import RefreshOperations
from django_callcache.cache.revalidation import HitSampler, permit_words, read_staleness
from django_callcache.cache.running import run
from django_callcache.cache.single_flight import Flight
from django_callcache.exceptions import RedisFault

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Comparison:
    """What a loader says of a value that was there."""

    is_same: bool | None = None
    """None where nobody can tell."""


class RevalidationOperations(RefreshOperations):
    """Sampled revalidation."""

    def _hit_with(self, wanted: Computation) -> None:
        """The same as `_hit` by the caller's own loader, where its prefix has none."""
        sampler = wanted.prefix.sampler
        if sampler is None or not sampler.passes():
            return
        if sources.find(self._runtime.alias, str(wanted.key)) is None and sampler.may_start():
            self._doer(is_coroutine=iscoroutinefunction(wanted.loader))._compare_behind(wanted, sampler)

    def _doer(self, *, is_coroutine: bool) -> Self:
        """Operations that hold up nobody: on the running event loop only what is a coroutine function."""
        io: Any = self._runtime.blocking_io
        if is_coroutine:
            try:
                asyncio.get_running_loop()
                io = self._runtime.async_io()
            except RuntimeError:
                pass
        return self if io is self._io else type(self)(self._runtime, io, self._value_keys)

    def _compare_behind(self, wanted: Computation, sampler: HitSampler) -> None:
        """Compare a hit with its origin, unless its key is computed anyway, or there is no room."""
        flight, leads = self._flights.join(wanted.redis_key, wanted.options.lock_timeout)
        if not leads:
            return
        flight.is_watched = False
        if not self._io.detach(partial(self._compared, wanted, flight, sampler)):
            self._flights.land(flight, None)

    async def _compared(self, wanted: Computation, flight: Flight, sampler: HitSampler) -> None:
        try:
            found = await self._found(wanted, flight, sampler)
            if found is not None:
                await self._note(wanted, sampler, found)
        except (RedisFault, redis_errors.ResponseError) as fault:
            logger.debug("%s revalidation=off error=%s", self._named(wanted), type(fault).__name__)
        except Exception:
            logger.warning("%s revalidation=off loader=failed", self._named(wanted), exc_info=True)
        finally:
            self._flights.land(flight, None)

    async def _found(self, wanted: Computation, flight: Flight, sampler: HitSampler) -> bytes | None:
        """What a comparison finds; None where there is nothing to compare, or it is not the time."""
        prefix, redis_key = wanted.prefix, wanted.redis_key
        permit = commands.command(*permit_words(self._internal, sampler.prefix))
        is_permitted, present = map(
            self._checked, await self._io.ask_many((permit, commands.get(redis_key)), now())
        )
        if is_permitted is None or present is None:
            return None
        value, stamps = await self._current(present, prefix, redis_key, now())
        if value is MISSING or (stamps and not wanted.tag_ids):  # by other tags than those it would get
            return None
        asking = replace(wanted, options=wanted.options.changed(grace=0.0))
        claim = await self._asked(asking, new_token(), fingerprint(present), is_open=False)
        if not claim.lease:
            return None
        comparison = Comparison()
        loader = self._comparing(wanted, prefix.codec.opened(present, redis_key)[1], comparison)
        await self._compute(replace(wanted, loader=loader), flight, claim)
        landing = flight.done.result()
        if comparison.is_same is None:
            sampler.warn_of_unstable(self._named(wanted))
        elif landing is not None and comparison.is_same and landing.is_current:
            return revalidation.FRESH
        elif landing is not None and not comparison.is_same and landing.is_stored:
            return revalidation.STALE
        return revalidation.UNCLEAR

    def _comparing(self, wanted: Computation, kept: bytes, comparison: Comparison) -> Callable[..., Any]:
        """A loader that stores nothing where it finds the bytes that are kept."""

        async def load(context: FillContext) -> Any:
            value = await self._io.call(wanted.bound(context))
            found = self._payload(wanted, value)
            if found == kept:
                comparison.is_same = True
            elif found == self._payload(wanted, await self._io.call(wanted.bound(wanted.context(MISSING)))):
                comparison.is_same = False
            if comparison.is_same is not False:
                context.skip()
            return value

        return (lambda context: run(load(context))) if self._io.blocks else load

    def _payload(self, wanted: Computation, value: Any) -> bytes:
        """What values are compared by: the serialized bytes."""
        codec = wanted.prefix.codec
        return codec.opened(codec.encode(value, wanted.redis_key), wanted.redis_key)[1]

    async def _note(self, wanted: Computation, sampler: HitSampler, found: bytes) -> None:
        """Count what was found, here and for all processes."""
        if found != revalidation.UNCLEAR:
            wanted.prefix.counts.slots[CHECKED] += 1
        if found == revalidation.STALE:
            wanted.prefix.counts.slots[STALE] += 1
        # A TTL that people have decided tells nothing of the target's factor, which would run away meanwhile.
        is_overridden = wanted.prefix.clock.decision().is_override
        target = None if is_overridden else sampler.staleness.target
        arguments = revalidation.note_arguments(found, target)
        reply = await self._run_script(
            revalidation.NOTE, (self._internal.checked(sampler.prefix),), arguments, now()
        )
        sampler.staleness.known = read_staleness(self._checked(reply))
