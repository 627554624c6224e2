"""Operations that compute what is missing: once, whoever asks, and never stored once it was invalidated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from django_callcache.cache.filling import FillToken, ForFill
from django_callcache.cache.operations.base import FAILED, MISSING, now
from django_callcache.cache.operations.computations import NO_LEASE, UNBOUNDED, Claim, Computation
from django_callcache.cache.operations.revalidations import RevalidationOperations
from django_callcache.cache.single_flight import Flight, Landing
from django_callcache.cache.value_keys import Key

NOTHING_GIVEN = (None,) * 6

FLIGHTS = 3
"""Flights that a caller waits for before it computes on its own: one under way, and two that begin later."""


class FillOperations(RevalidationOperations):
    """Values that callers bring along the means to compute."""

    async def get_or_set(
        self,
        key: Key,
        default: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        grace: float | None = None,
        refresh_ahead: float | None = None,
        soft_timeout: float | None = None,
        hard_timeout: float | None = None,
        lock_timeout: float | None = None,
        jitter: float | None = None,
        tags: Iterable[str] = (),
        force: bool = False,
    ) -> Any:
        """The value at a key; where there is none, ``default`` (called if callable) is stored and returned.

        A callable is called once, however many threads, tasks and processes ask: the others wait for what
        it returns. An exception of it goes to those who wait in this process, and is never stored; a None
        is stored like any value. What was deleted, or set by somebody else, while it was computed is
        returned to the caller and not stored. The asyncio method takes coroutine functions too.

        A callable with exactly one required positional parameter gets a `FillContext`.

        Args:
            key: Anything with a text form.
            default: The value, or what computes it.
            timeout: Seconds, as for `set`.
            version: Left out, the alias's ``VERSION``.
            grace: Seconds after its end for which a value may be served stale. This and what follows is
                documented at `PrefixRule`, whose fields of the same names are the defaults.
            refresh_ahead: How eagerly a value is computed anew before its end.
            soft_timeout: Seconds to wait for the callable where there is a stale value.
            hard_timeout: Seconds to wait for the callable in any case.
            lock_timeout: Seconds after which a callable is taken to hang.
            jitter: Part of the TTL that is taken off at random.
            tags: As for `set`, of what is stored. Where one is dropped while the value is computed, nobody
                who asks after that gets the value.
            force: Compute it although there is a value, which is read until then and replaced. A value that
                somebody else began to compute before this call does not do.

        Raises:
            LoaderTimeout: ``hard_timeout`` has passed and there is no stale value.
            TypeError: As for `set`.
            ValueError: An option that cannot be, or tags as for `set`.
        """
        prefix = self._prefix(key)
        ids = self._tag_ids(tags, prefix) if tags else ()
        options = prefix.filling
        if jitter is None and options.jitter and timeout is not DEFAULT_TIMEOUT:
            jitter = 0.0
        given = grace, refresh_ahead, soft_timeout, hard_timeout, lock_timeout, jitter
        if given != NOTHING_GIVEN:
            options = options.changed(*given)
            prefix.leaves_copies = prefix.leaves_copies or options.grace > 0
        if force and callable(default):
            return await self._forced(self._wanted(key, version, default, timeout, options, ids))
        if force:
            await self.set(key, default, timeout, version, tags=tags)
            return default
        if options.refresh_ahead and callable(default):
            value = await self._read_ahead(self._wanted(key, version, default, timeout, options, ids))
        else:
            value = await self.read(key, version, missing=MISSING, failed=FAILED)
        if value is not MISSING and value is not FAILED:
            if prefix.sampler is not None and callable(default):
                self._hit_with(self._wanted(key, version, default, timeout, options, ids))
            return value
        if not callable(default):
            return await self._given(key, default, timeout, version, value, ids)
        wanted = self._wanted(key, version, default, timeout, options, ids)
        return await self._computed(wanted, is_redis_down=value is FAILED)

    async def get_for_fill(
        self, key: Key, default: Any = None, version: int | None = None, *, tags: Iterable[str] = ()
    ) -> ForFill:
        """The value at a key, or the right to store one that is computed from now on.

            value, token = cache.get_for_fill("campaign:7")
            if token is not None:
                value = load()
                cache.fill("campaign:7", value, token)

        Nobody waits here: several callers may compute at a time, and the first to fill wins.

        Args:
            key: Anything with a text form.
            default: What stands for a value that is not there.
            version: Left out, the alias's ``VERSION``.
            tags: As for `set`, of what `fill` will store: they are to be stated before it is computed, so
                that one which is dropped meanwhile is seen to be.

        Returns:
            value: The value, or ``default``.
            token: What `fill` takes; None where there is a value. It is good for the prefix's
                ``lock_timeout`` (30 s).

        Raises:
            TypeError: As for `set`.
            ValueError: Tags as for `set`.
        """
        prefix = self._prefix(key)
        ids = self._tag_ids(tags, prefix) if tags else ()
        value = await self.read(key, version, missing=MISSING, failed=FAILED)
        if value is not MISSING and value is not FAILED:
            return ForFill(value, None)
        wanted = self._wanted(key, version, None, DEFAULT_TIMEOUT, prefix.filling.changed(grace=0.0), ids)
        claim = NO_LEASE if value is FAILED else await self._claim(wanted, is_open=True)
        if claim.found is not MISSING:
            return ForFill(claim.found, None)
        return ForFill(default, FillToken(wanted.redis_key, *claim[:3], claim.stamps))

    async def fill(
        self,
        key: Key,
        value: Any,
        token: FillToken,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        """Store what was computed since `get_for_fill` gave the token; tell whether it was stored.

        It is not where the key was deleted, set or filled since then, by anybody, nor where one of its tags
        was dropped, nor where the token is too old. The value is good for its caller all the same.

        Raises:
            ValueError: The token is another key's, or None: there was a value.
        """
        if not isinstance(token, FillToken) or token.redis_key != self._redis_key(key, version):
            raise ValueError(
                f"{token!r} is no token for {key!r}: give the one that get_for_fill(key) returned."
            )
        options = self._prefix(key).filling
        if timeout is not DEFAULT_TIMEOUT:
            options = options.changed(jitter=0.0)
        wanted = self._wanted(key, version, None, timeout, options)
        claim = Claim(token.lease, token.seen, token.expiry, stamps=token.stamps)
        return (await self._landing(wanted, claim, value, wanted.context(MISSING))).is_stored

    async def _given(
        self,
        key: Key,
        value: Any,
        timeout: float | None,
        version: int | None,
        found: Any,
        tag_ids: Sequence[bytes],
    ) -> Any:
        """A value that needs no computing, stored unless somebody was faster."""
        # A server that has just failed is not asked again: the caller has waited long enough.
        if found is FAILED or await self._add(key, value, timeout, version, tag_ids):
            return value
        return await self.read(key, version, missing=value, failed=value)

    async def _computed(self, wanted: Computation, *, is_redis_down: bool) -> Any:
        """The value, computed by this caller or by the one who began before it."""
        unasked_ns = int(self._runtime.options.max_staleness * 1e9) if is_redis_down else 0
        for _ in range(FLIGHTS):
            flight, leads = self._flights.join(wanted.redis_key, wanted.options.lock_timeout)
            if leads:
                return await self._lead(wanted, flight, is_redis_down=is_redis_down)
            if wanted.options.grace and not is_redis_down:
                found = (await self._peek(wanted)).found
                if found is not MISSING:
                    return found
            has_landed = await self._awaited(wanted, flight)
            if has_landed is None:
                break
            if not has_landed:
                continue
            landing = flight.done.result()
            if landing is not None and flight.serves(landing, wanted.arrived, unasked_ns):
                return self._copied(landing, wanted)
        return await self._compute_alone(wanted)

    async def _forced(self, wanted: Computation) -> Any:
        """The value, computed from now on by this caller or by one who began after it came."""
        for _ in range(FLIGHTS):
            flight, leads = self._flights.join(wanted.redis_key, wanted.options.lock_timeout)
            if leads:
                return await self._lead_over(wanted, flight)
            has_landed = await self._awaited(wanted, flight)
            if has_landed is None:
                break
            if has_landed and flight.started_at >= wanted.arrived:
                landing = flight.done.result()
                if landing is not None:
                    return self._copied(landing, wanted)
        return await self._compute_alone(wanted)

    async def _awaited(self, wanted: Computation, flight: Flight) -> bool | None:
        """Wait for another's flight; tell whether it has landed, None where it waits for this caller.

        Raises:
            LoaderTimeout: The caller's patience is at its end.
        """
        with self._flights.waiting(flight, blocks=self._io.blocks) as may_wait:
            if not may_wait:
                return None
            overdue_in = (flight.overdue_at - now()) * 1e-9
            has_landed = await self._io.landed(flight.done, min(overdue_in, wanted.patience()))
        if not has_landed and wanted.patience() <= 0:
            raise wanted.too_slow()
        return has_landed

    async def _lead_over(self, wanted: Computation, flight: Flight) -> Any:
        """Compute although there is a value; store what comes of it over that very value."""
        try:
            return await self._compute(wanted, flight, await self._claim_over(wanted))
        finally:
            self._flights.land(flight, None)

    async def _lead(self, wanted: Computation, flight: Flight, *, is_redis_down: bool) -> Any:
        """Compute, unless another process has; end the flight in any case."""
        is_behind = False
        try:
            claim = NO_LEASE if is_redis_down else await self._claim(wanted)
            if claim.found is not MISSING:
                if claim.blob is not None:
                    landing = Landing(claim.found, claim.blob, is_current=True, asked_at=claim.asked_at)
                    self._flights.land(flight, landing)
                return claim.found
            if wanted.patience(claim.stale is not MISSING) < UNBOUNDED:
                is_behind = self._io.detach(partial(self._compute_behind, wanted, flight, claim))
            if not is_behind:
                return await self._compute(wanted, flight, claim)
        finally:
            if not is_behind:
                self._flights.land(flight, None)
        return await self._outlasted(wanted, flight, claim)

    async def _outlasted(self, wanted: Computation, flight: Flight, claim: Claim) -> Any:
        """The value if it is there in time, else the stale one; the loader goes on."""
        has_landed = await self._io.landed(flight.done, wanted.patience(claim.stale is not MISSING))
        if has_landed and (claim.stale is MISSING or flight.done.exception() is None):
            landing = flight.done.result()
            return await self._compute_alone(wanted) if landing is None else landing.value
        flight.is_watched = False
        if claim.stale is not MISSING:
            return claim.stale
        raise wanted.too_slow()
