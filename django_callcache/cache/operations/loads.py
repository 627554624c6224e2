"""Reading through the cache: what is missing comes from the loader of the key's prefix.

One key is loaded once, however many ask, as `get_or_set` does it. Many keys are loaded by one
call of the loader; two such calls at a time may load the same, and the first to store wins.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from django_callcache.cache.filling import FillContext
from django_callcache.cache.loading import Records, Source, sources
from django_callcache.cache.operations.base import MISSING
from django_callcache.cache.operations.batches import BatchOperations
from django_callcache.cache.operations.computations import NO_LEASE, Claim, Computation
from django_callcache.cache.operations.fills import FillOperations
from django_callcache.cache.prefixes import Prefix
from django_callcache.cache.value_keys import Key

logger = logging.getLogger(__name__)

LOADED_AT_ONCE = 500
"""Records that one call of a loader is asked for at the most."""
ABSENT_TTL = 30.0
"""As `PrefixRule.absent_ttl`, for prefixes without a rule."""


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

        A loader is asked once for all that are missing, at most 500 at a time. Nothing is stored over
        what was written or deleted meanwhile.

        Raises:
            LookupError: No loader knows one of the keys; nothing was read.
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

    async def _load_chunk(
        self, source: Source, keys: Sequence[str], version: int | None
    ) -> Mapping[str, Any]:
        """Load what is missing and store it where that is still right."""
        computations = [
            self._wanted(key, version, None, DEFAULT_TIMEOUT, self._prefix(key).filling) for key in keys
        ]
        claims: list[Claim] = []
        for each in computations:  # a server that has failed is not asked again for the rest
            is_down = bool(claims) and claims[-1].is_redis_down
            claims.append(NO_LEASE if is_down else await self._claim(each, is_open=True))
        found = {
            key: claim.found for key, claim in zip(keys, claims, strict=True) if claim.found is not MISSING
        }
        pending = [pair for pair in zip(computations, claims, strict=True) if pair[1].found is MISSING]
        if not pending:
            return found
        names = [source.name_of(computation.key) for computation, _ in pending]
        try:
            records = await self._read_records(source, names)
        except Exception:
            for computation, claim in pending:
                await self._release(computation.redis_key, claim)
            if any(claim.stale is MISSING for _, claim in pending):
                raise
            logger.warning(
                "alias=%s prefix=%s loader=failed served=stale",
                self._runtime.alias,
                source.prefix,
                exc_info=True,
            )
            return found | {computation.key: claim.stale for computation, claim in pending}
        for (computation, claim), name in zip(pending, names, strict=True):
            found[computation.key] = await self._landed(computation, claim, records, name)
        return found

    async def _landed(self, computation: Computation, claim: Claim, records: Records, name: str) -> Any:
        """Store a record; what callers get, which is what somebody else has written meanwhile."""
        context = computation.context(MISSING)
        record = self._one(records, name, computation.key, context)
        return (await self._landing(computation, claim, record, context)).value

    async def _read_records(self, source: Source, names: Sequence[str]) -> Records:
        if self._io.blocks:
            return source.read(names)
        return await source.aread(names)


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(keys)
    while chunk := list(islice(remaining, LOADED_AT_ONCE)):
        yield chunk
