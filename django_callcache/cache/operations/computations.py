"""How one value is computed: the lease that others wait for, the loader, and what becomes of its result.

`fills` decides who computes. Here is the one place that encodes and stores a computed value.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from redis import exceptions as redis_errors

from django_callcache.cache import commands
from django_callcache.cache.counters import SETS
from django_callcache.cache.filling import FillContext, FillOptions, takes_context
from django_callcache.cache.lease_keeper import LEASE_SECONDS, keeper
from django_callcache.cache.operations.base import MISSING, now
from django_callcache.cache.operations.entries import EntryOperations
from django_callcache.cache.operations.fill_scripts import CLAIM, FILL, RELEASE, RENEW
from django_callcache.cache.prefixes import Prefix
from django_callcache.cache.running import run
from django_callcache.cache.single_flight import Flight, Landing
from django_callcache.cache.value_keys import Key
from django_callcache.exceptions import (
    BacklogFull,
    LoaderTimeout,
    RedisFault,
    SyncNotRecorded,
    Uncertain,
)
from django_callcache.signals import cache_written

logger = logging.getLogger(__name__)

UNBOUNDED = math.inf

REPLACED = 3
"""Values of others that are replaced in turn, before a computation over them is no longer stored."""

NESTED_SECONDS = 1.0
"""How long a loader's own call waits for another process: that one may wait for this loader's key."""

POLL_SECONDS = (0.006, 0.1)
POLL_SHARE = 0.12
"""Who waits for another process asks again after this part of the time it has waited, within the bounds.

Source: `benchmarks.stampede`, 32 processes on two CPUs. Asking more often takes the loader its time."""


NO_EXPIRY = b"0"


class Claim(NamedTuple):
    """What asking for the right to compute brought."""

    lease: bytes = b""
    """Empty where there is none: what is computed is not stored."""
    seen: bytes = b""
    """SHA-1 of the value that is to be replaced; empty for none."""
    expiry: bytes = NO_EXPIRY
    """When that one ends, in unix ms; 0: never, or there is none."""
    found: Any = MISSING
    """A value that needs no computing, stale where ``blob`` is None."""
    blob: bytes | None = None
    stale: Any = MISSING
    """What to fall back on."""
    stamps: Sequence[bytes] = ()
    """Of the tags, from before the computation."""
    is_redis_down: bool = False
    asked_at: int = 0
    """When Redis was asked, in nanoseconds."""


NO_LEASE = Claim(is_redis_down=True)

NOT_THE_LOADERS = (RedisFault, BacklogFull, SyncNotRecorded, Uncertain)
"""Errors of storing, which no stale value hides from callers that want to hear of them."""


@dataclass(slots=True)
class Computation:
    """What one caller wants computed, and how."""

    key: Key
    version: int | None
    prefix: Prefix
    redis_key: bytes
    loader: Callable[..., Any] | None
    timeout: Any
    options: FillOptions
    tag_ids: Sequence[bytes] = ()
    arrived: int = field(default_factory=now)
    """When the caller came, in nanoseconds."""

    def patience(self, has_stale: bool = False) -> float:
        """Seconds that the caller will still wait."""
        options = self.options
        limits = [options.hard_timeout, options.soft_timeout if has_stale else None]
        stated = [seconds for seconds in limits if seconds is not None]
        return min(stated) - (now() - self.arrived) * 1e-9 if stated else UNBOUNDED

    def too_slow(self) -> LoaderTimeout:
        """What to raise when the caller's patience is at its end."""
        return LoaderTimeout(
            f"The loader of {self.key!r} took longer than {self.options.hard_timeout:g} seconds; "
            "it goes on in the background."
        )

    def bound(self, context: FillContext) -> Callable[[], Any]:
        """The loader, with its context where it takes one."""
        loader: Any = self.loader
        return partial(loader, context) if takes_context(loader) else loader

    def context(self, stale: Any) -> FillContext:
        """What the loader gets that asks for it."""
        has_stale = stale is not MISSING
        return FillContext(stale if has_stale else None, has_stale, self.timeout, self.options)


class ComputationOperations(EntryOperations):
    """Leases, loaders and their results."""

    def _wanted(
        self,
        key: Key,
        version: int | None,
        loader: Any,
        timeout: Any,
        options: FillOptions,
        tag_ids: Sequence[bytes] = (),
    ) -> Computation:
        redis_key = self._redis_key(key, version)
        return Computation(key, version, self._prefix(key), redis_key, loader, timeout, options, tag_ids)

    async def _peek(self, wanted: Computation) -> Claim:
        """The value if it is there by now, or the stale one, where somebody else computes."""
        try:
            return await self._asked(wanted, b"", b"", is_open=False)
        except RedisFault as fault:
            self._degraded(fault, wanted.prefix, None)
            return NO_LEASE

    async def _claim(self, wanted: Computation, *, seen: bytes = b"", is_open: bool = False) -> Claim:
        """The right to compute, or what makes it needless.

        While another process computes, this waits for it; with a stale value it does not. An open claim
        never waits: it shares what others hold.
        """
        asked_at = now()
        limit = NESTED_SECONDS if self._flights.is_leading else wanted.options.lock_timeout
        token = new_token(b"o" if is_open else b"l")
        try:
            while True:
                claim = await self._asked(wanted, token, seen, is_open=is_open)
                if claim.lease or claim.found is not MISSING:
                    return claim
                waited = (now() - asked_at) * 1e-9
                if waited >= limit:
                    return Claim()
                if wanted.patience() <= 0:
                    raise wanted.too_slow()
                shortest, longest = POLL_SECONDS
                await self._io.pause(min(max(waited * POLL_SHARE, shortest), longest))
        except RedisFault as fault:
            self._degraded(fault, wanted.prefix, None)
            return NO_LEASE

    async def _claim_over(self, wanted: Computation) -> Claim:
        """The right to compute over the present value; no lease where others keep writing, or computing."""
        # A stale copy is no reason not to compute.
        asking = replace(wanted, options=wanted.options.changed(grace=0.0))
        for _ in range(REPLACED):
            try:
                reply = await self._io.ask(commands.get(wanted.redis_key), now(), reads=True)
                present = self._checked(reply)
            except RedisFault as fault:
                self._degraded(fault, wanted.prefix, None)
                return NO_LEASE
            except redis_errors.ResponseError:  # a collection lies there
                present = None
            claim = await self._claim(asking, seen=fingerprint(present) if present else b"")
            if claim.found is MISSING:
                return claim
        return Claim()

    async def _asked(self, wanted: Computation, token: bytes, seen: bytes, *, is_open: bool) -> Claim:
        """One question to Redis; neither lease nor value where somebody else computes."""
        options = wanted.options
        lasts = options.lock_timeout if is_open else min(LEASE_SECONDS, options.lock_timeout)
        while True:
            asked_at = now()
            state, what, expiry, copy = self._checked(
                await self._run_script(
                    CLAIM,
                    self._fill_keys(wanted.redis_key),
                    (
                        *(token, b"%d" % (lasts * 1000), seen, self._value_keys.group(wanted.redis_key)),
                        *(b"%d" % (options.grace * 1000), b"open" if is_open else b""),
                    ),
                    asked_at,
                )
            )
            stale = await self._opened(copy, wanted) if copy else MISSING
            if state == b"granted":
                return Claim(what, seen, expiry, stale=stale, stamps=await self._stamps_before(wanted))
            if state == b"held":
                stamps = await self._stamps_before(wanted) if is_open else ()
                return Claim(what if is_open else b"", found=stale, stamps=stamps)
            value = await self._opened(what, wanted)
            if value is not MISSING:
                return Claim(found=value, blob=what, asked_at=asked_at)
            seen = fingerprint(what)  # no value of ours: to be replaced

    async def _stamps_before(self, wanted: Computation) -> Sequence[bytes]:
        """The stamps of the tags, taken under the lease: a tag that is dropped from now on is seen to be."""
        if not wanted.tag_ids:
            return ()
        px = self._px(wanted.prefix, wanted.timeout)
        longest = b"1" if px is None else self._longest(wanted.prefix, wanted.timeout, px)
        return await self._stamps(wanted.tag_ids, longest, now())

    async def _opened(self, blob: bytes, wanted: Computation) -> Any:
        value, _ = await self._current(blob, wanted.prefix, wanted.redis_key, now())
        if value is MISSING and await self._learns():
            value, _ = await self._current(blob, wanted.prefix, wanted.redis_key, now())
        return value

    async def _compute(self, wanted: Computation, flight: Flight, claim: Claim) -> Any:
        """Run the loader, store its result, and end the flight."""
        context = wanted.context(claim.stale)
        started = now()
        try:
            value = await self._loaded(wanted, flight, claim, context)
            landing = await self._landing(wanted, claim, value, context, now() - started)
            self._flights.land(flight, landing)
            return landing.value
        except GeneratorExit:  # nothing can be awaited any more: the lease runs out
            raise
        except BaseException as error:
            await self._release(wanted.redis_key, claim)
            if isinstance(error, Exception):
                self._flights.fail(flight, error)
            is_the_loaders = isinstance(error, Exception) and not isinstance(error, NOT_THE_LOADERS)
            if claim.stale is MISSING or not is_the_loaders:
                raise
            logger.warning("%s loader=failed served=stale", self._named(wanted), exc_info=True)
            return claim.stale
        finally:
            self._flights.land(flight, None)  # cancelled: one of the waiters takes over

    async def _loaded(self, wanted: Computation, flight: Flight, claim: Claim, context: FillContext) -> Any:
        """What the loader returns; meanwhile its lease is renewed."""
        renew = partial(self._renew, wanted.redis_key, claim.lease)
        with self._flights.leading(flight), keeper.holding(renew, wanted.options.lock_timeout):
            return await self._io.call(wanted.bound(context))

    async def _compute_behind(self, wanted: Computation, flight: Flight, claim: Claim) -> None:
        """Compute while no caller waits, or none may wait to the end."""
        try:
            await self._compute(wanted, flight, claim)
        except Exception:
            if not flight.is_watched:
                logger.warning("%s loader=failed", self._named(wanted), exc_info=True)

    async def _compute_alone(self, wanted: Computation) -> Any:
        """Compute without waiting for anybody; what comes of it is not stored."""
        return await self._io.call(wanted.bound(wanted.context(MISSING)))

    async def _landing(
        self, wanted: Computation, claim: Claim, value: Any, context: FillContext, elapsed: int | None = None
    ) -> Landing:
        """Store what was computed, if that is still right, and say what callers get."""
        if context.is_skipped:
            return await self._unstored(wanted, claim, value, None)
        prefix = wanted.prefix
        blob = self._encoded(prefix, value, wanted.redis_key, claim.stamps)
        px = self._px(prefix, context.timeout)
        if px is None or not claim.lease:
            return await self._unstored(wanted, claim, value, blob)
        px, after = await self._life(
            prefix, context.timeout, px, wanted.redis_key, value, blob, is_reload=True
        )
        px = _shortened(px, context.options.jitter)
        asked_at = now()
        try:
            reply = await self._fill(wanted, claim, px, blob, context, elapsed, after)
            # Behind the write: who comes from now on finds it, and sees by itself whether the tags hold.
            is_current = await self._retained(claim.stamps, px, now())
            theirs = await self._opened(reply, wanted) if type(reply) is bytes else MISSING
        except RedisFault as fault:
            self._degraded(fault, prefix, None)
            return Landing(value, blob, is_current=None)
        if reply == 1:
            if cache_written.receivers and not prefix.is_synced:  # of a synced one it is told already
                await self._tell(cache_written, wanted.key, wanted.version)
            return Landing(value, blob, is_current, asked_at, is_stored=is_current)
        if theirs is MISSING:
            return Landing(value, blob, is_current=False)
        return Landing(theirs, reply, is_current=True, asked_at=asked_at)

    async def _unstored(self, wanted: Computation, claim: Claim, value: Any, blob: bytes | None) -> Landing:
        """What callers get of a value that is not to be stored."""
        asked_at = now()
        is_current = await self._release(wanted.redis_key, claim)
        if is_current and claim.stamps:
            try:
                is_current = await self._hold(claim.stamps, now())
            except RedisFault:
                is_current = None
        return Landing(value, blob, is_current, asked_at)

    async def _fill(
        self,
        wanted: Computation,
        claim: Claim,
        px: bytes,
        blob: bytes,
        context: FillContext,
        elapsed: int | None,
        after: Sequence[bytes],
    ) -> Any:
        """The reply of the script that stores."""
        started, prefix = now(), wanted.prefix
        cost = b""
        if elapsed is not None and wanted.options.refresh_ahead:
            cost = b"%d" % (elapsed // 1_000_000)
        beside = (
            *(claim.seen, claim.expiry, self._value_keys.group(wanted.redis_key)),
            *(b"%d" % (context.options.grace * 1000), cost),
        )
        if prefix.is_synced:
            key, version = wanted.key, wanted.version
            return await self._record(
                prefix, key, version, b"fill", px, blob, started, lease=(claim.lease, *beside), after=after
            )
        try:
            keys = self._fill_keys(wanted.redis_key)
            reply = self._checked(
                await self._run_script(FILL, keys, (claim.lease, px, blob, *beside), started, after=after)
            )
        finally:
            self._written(wanted.key, wanted.version)
        if reply == 1:
            prefix.counts.wrote(SETS, now() - started)
            prefix.counts.keeps(px)
        return reply

    def _fill_keys(self, redis_key: bytes) -> tuple[bytes, ...]:
        names = self._internal
        return redis_key, names.lease(redis_key), names.side(redis_key), names.fence(redis_key)

    async def _release(self, redis_key: bytes, claim: Claim) -> bool | None:
        """Give a lease back; tell whether nothing has voided it, None where Redis did not answer."""
        if not claim.lease:
            return None if claim.is_redis_down else False
        try:
            keys = self._internal.lease(redis_key), self._internal.fence(redis_key)
            arguments = claim.lease, self._value_keys.group(redis_key)
            return bool(self._checked(await self._run_script(RELEASE, keys, arguments, now())))
        except (RedisFault, redis_errors.ResponseError):
            return None  # it runs out by itself

    def _renew(self, redis_key: bytes, lease: bytes) -> None:
        """Prolong a lease; called in the keeper's thread."""
        if lease:
            arguments = lease, b"%d" % (LEASE_SECONDS * 1000)
            script = commands.eval_(RENEW, (self._internal.lease(redis_key),), arguments)
            run(self._runtime.blocking_io.ask(script, now()))

    def _named(self, wanted: Computation) -> str:
        return f"alias={self._runtime.alias} prefix={wanted.prefix.name}"

    def _copied(self, landing: Landing, wanted: Computation) -> Any:
        """What a waiter gets: an object of its own."""
        if landing.blob is None:
            return landing.value
        return wanted.prefix.codec.decode(landing.blob, wanted.redis_key)


def new_token(kind: bytes = b"l") -> bytes:
    """A text that no other lease has: of a computation, or open (``o``)."""
    return kind + secrets.token_hex(8).encode()[1:]


def fingerprint(blob: bytes) -> bytes:
    """What a script knows a value by (``redis.sha1hex``)."""
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest().encode()


def _shortened(px: bytes, jitter: float) -> bytes:
    """A TTL with a random part taken off."""
    if not px or not jitter:
        return px
    return b"%d" % max(int(px) * (1 - jitter * random.random()), 1)  # noqa: S311
