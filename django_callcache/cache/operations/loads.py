"""Reading through the cache: what is missing comes from the loader of the key's prefix.

One key is loaded once, however many ask, as `get_or_set` does it. Many keys are loaded by one call of the
loader, but for those that somebody else loads already: their records are waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice
from typing import Any, NamedTuple, TypeAlias

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from django_callcache.cache.filling import FillContext
from django_callcache.cache.lease_keeper import keeper
from django_callcache.cache.loading import Records, Source, sources
from django_callcache.cache.operations.base import MISSING
from django_callcache.cache.operations.batches import BatchOperations
from django_callcache.cache.operations.computations import NO_LEASE, Claim, Computation, new_token
from django_callcache.cache.operations.fills import FLIGHTS, FillOperations
from django_callcache.cache.prefixes import Prefix
from django_callcache.cache.single_flight import Flight, Landing
from django_callcache.cache.value_keys import Key
from django_callcache.exceptions import RedisFault

logger = logging.getLogger(__name__)

LOADED_AT_ONCE = 500
"""Records that one call of a loader is asked for at the most."""
ABSENT_TTL = 30.0
"""As `PrefixRule.absent_ttl`, for prefixes without a rule."""


Led: TypeAlias = tuple[Computation, Flight]
"""A record that is wanted, and the flight of it."""


class Taken(NamedTuple):
    """A record that this caller loads."""

    wanted: Computation
    flight: Flight
    claim: Claim


class LoadOperations(FillOperations, BatchOperations):
    """Records by their keys, from the cache or from where they come from."""

    async def load(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """The record at a key, from its loader where the cache has none.

        That a record does not exist is remembered for the prefix's ``absent_ttl``: as a stored None,
        so `get` answers None meanwhile. Where the loader fails, a record that is within its prefix's
        ``grace`` is served.

        Args:
            key: Its prefix has a ``source``, or a loader that was registered.
            default: What stands for a record that does not exist.
            version: Left out, the alias's ``VERSION``.

        Raises:
            LookupError: No loader knows the key.
            Exception: What the loader raises, where there is nothing to serve.
        """
        source = sources.of(self._runtime.alias, key)
        record = await self.get_or_set(key, self._loader_of(source, key), version=version)
        return default if record is None else record

    async def load_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        """The records at several keys, by their keys; those that do not exist are left out.

        A loader is asked once for all that are missing, at most 500 at a time, but for those that other
        threads, tasks and processes load already. Nothing is stored over what was written or deleted
        meanwhile.

        Raises:
            LookupError: No loader knows one of the keys; nothing was read.
            LoaderTimeout: The prefix's ``hard_timeout`` has passed while others loaded.
            Exception: What a loader raises, unless all it was asked for can be served within its grace.
        """
        wanted = list(dict.fromkeys(keys))
        source_of = {key: sources.of(self._runtime.alias, key) for key in wanted}
        found: dict[str, Any] = dict(await self.get_many(wanted, version))
        missing = sorted((key for key in wanted if key not in found), key=lambda key: source_of[key].prefix)
        for _, group in groupby(missing, key=lambda key: source_of[key].prefix):
            for chunk in _chunks(group):
                found |= await self._load_chunk(source_of[chunk[0]], chunk, version)
        return {key: found[key] for key in wanted if found[key] is not None}

    def _hit(self, prefix: Prefix, key: Key, version: int | None) -> None:
        """Have a hit of a record compared with what its loader says, if it is drawn."""
        sampler = prefix.sampler
        if sampler is None or not sampler.passes():
            return
        name = str(key)
        source = sources.find(self._runtime.alias, name)
        if source is not None and sampler.may_start():
            doer = self._doer(is_coroutine=source.is_coroutine)
            loader = doer._loader_of(source, name)
            wanted = doer._wanted(name, version, loader, DEFAULT_TIMEOUT, prefix.filling)
            doer._compare_behind(wanted, sampler)

    def _loader_of(self, source: Source, key: str) -> Callable[[FillContext], Any]:
        """What computes the record at a key, for the face that asks."""
        name = source.name_of(key)

        def load(context: FillContext) -> Any:
            return self._one(source.read([name]), name, key, context)

        async def aload(context: FillContext) -> Any:
            return self._one(await source.aread([name]), name, key, context)

        return load if self._io.blocks else aload

    def _one(self, records: Records, name: str, key: str, context: FillContext) -> Any:
        """A record of those that were read, or None, which is kept for a shorter time."""
        record = records.get(name)
        if record is None:
            context.set_options(timeout=self._absent_ttl(key), grace=0.0)
        return record

    def _absent_ttl(self, key: str) -> float:
        rule = self._prefix(key).rule
        return ABSENT_TTL if rule is None else rule.absent_ttl

    async def _load_chunk(self, source: Source, keys: Sequence[str], version: int | None) -> dict[str, Any]:
        """The records at some keys: loaded by one call, but for those that others load already."""
        found: dict[str, Any] = {}
        pending = [
            self._wanted(key, version, None, DEFAULT_TIMEOUT, self._prefix(key).filling) for key in keys
        ]
        for _ in range(FLIGHTS):
            led, followed = self._joined(pending)
            # What this caller leads comes first: nobody waits for one who waits.
            found |= await self._load_led(source, led)
            for wanted, flight in followed:
                await self._follow(wanted, flight, found)
            pending = [wanted for wanted in pending if wanted.key not in found]
            if not pending:
                return found
        names = [source.name_of(wanted.key) for wanted in pending]
        records = await self._read_records(source, names)
        return found | {wanted.key: records.get(name) for wanted, name in zip(pending, names, strict=True)}

    def _joined(self, computations: Iterable[Computation]) -> tuple[list[Led], list[Led]]:
        """The flights of computations: those that the caller leads, and those of others."""
        led: list[Led] = []
        followed: list[Led] = []
        for wanted in computations:
            flight, leads = self._flights.join(wanted.redis_key, wanted.options.lock_timeout)
            (led if leads else followed).append((wanted, flight))
        return led, followed

    async def _follow(self, wanted: Computation, flight: Flight, found: dict[str, Any]) -> None:
        """Take what another's flight brings, if it brings anything; or what is stale meanwhile."""
        if wanted.options.grace:
            stale = (await self._peek(wanted)).found
            if stale is not MISSING:
                found[wanted.key] = stale
                return
        if await self._awaited(wanted, flight):
            landing = flight.done.result()
            if landing is not None and flight.serves(landing, wanted.arrived):
                found[wanted.key] = self._copied(landing, wanted)

    async def _load_led(self, source: Source, led: Sequence[Led]) -> dict[str, Any]:
        """Load what no other process does; then wait for those that do, holding nothing they could want."""
        found: dict[str, Any] = {}
        rest, waits = led, False
        try:
            while rest:
                rest, waits = await self._load_free(source, rest, found, waits=waits), True
            return found
        finally:
            for _, flight in led:
                self._flights.land(flight, None)

    async def _load_free(
        self, source: Source, led: Sequence[Led], found: dict[str, Any], *, waits: bool
    ) -> list[Led]:
        """Load by one call what nobody else does; return what other processes load.

        Args:
            source: Where records come from.
            led: The flights of them.
            found: Gets the records.
            waits: Whether to wait for the first; who loads it has most likely loaded the others too then.
        """
        taken: list[Taken] = []
        held: list[Led] = []
        claim = Claim()
        try:
            for at, (wanted, flight) in enumerate(led):
                is_awaited = waits and at == 0
                # A server that has failed is not asked again for the rest.
                if not claim.is_redis_down:
                    claim = await (self._claim(wanted) if is_awaited else self._claim_at_once(wanted))
                if claim.found is not MISSING:
                    found[wanted.key] = claim.found
                    is_whole = claim.blob is not None
                    landing = Landing(claim.found, claim.blob, is_current=True, asked_at=claim.asked_at)
                    self._flights.land(flight, landing if is_whole else None)
                elif claim.lease or claim.is_redis_down or is_awaited:
                    taken.append(Taken(wanted, flight, claim))
                else:
                    held.append((wanted, flight))
            if taken:
                await self._load_taken(source, taken, found)
        except GeneratorExit:  # nothing can be awaited any more: the leases run out
            raise
        except BaseException:
            for each in taken:
                await self._release(each.wanted.redis_key, each.claim)
            raise
        return held

    async def _claim_at_once(self, wanted: Computation) -> Claim:
        """The right to compute, or what makes it needless; neither where another process computes."""
        try:
            return await self._asked(wanted, new_token(), b"", is_open=False)
        except RedisFault as fault:
            self._degraded(fault, wanted.prefix, None)
            return NO_LEASE

    async def _load_taken(self, source: Source, taken: list[Taken], found: dict[str, Any]) -> None:
        """Load and store; what is done is taken from the list."""
        names = [source.name_of(each.wanted.key) for each in taken]
        try:
            with (
                self._flights.leading(*(each.flight for each in taken)),
                keeper.holding(partial(self._renew_all, tuple(taken)), taken[0].wanted.options.lock_timeout),
            ):
                records = await self._read_records(source, names)
        except Exception as error:
            for each in taken:
                self._flights.fail(each.flight, error)
            if any(each.claim.stale is MISSING for each in taken):
                raise
            alias, prefix = self._runtime.alias, source.prefix
            logger.warning("alias=%s prefix=%s loader=failed served=stale", alias, prefix, exc_info=True)
            for each in taken:
                await self._release(each.wanted.redis_key, each.claim)
            found |= {each.wanted.key: each.claim.stale for each in taken}
            return
        for each, name in zip(tuple(taken), names, strict=True):
            context = each.wanted.context(MISSING)
            record = self._one(records, name, each.wanted.key, context)
            landing = await self._landing(each.wanted, each.claim, record, context)
            del taken[0]
            self._flights.land(each.flight, landing)
            # What somebody else has written meanwhile is newer.
            found[each.wanted.key] = landing.value

    def _renew_all(self, taken: Sequence[Taken]) -> None:
        """Prolong leases; called in the keeper's thread."""
        for each in taken:
            self._renew(each.wanted.redis_key, each.claim.lease)

    async def _read_records(self, source: Source, names: Sequence[str]) -> Records:
        if self._io.blocks:
            return source.read(names)
        return await source.aread(names)


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(keys)
    while chunk := list(islice(remaining, LOADED_AT_ONCE)):
        yield chunk
