"""Reads that have a value computed anew, behind their caller's back, before it ends."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from django_callcache.cache import commands
from django_callcache.cache.counters import HITS, MISSES
from django_callcache.cache.operations.base import FAILED, MISSING, now
from django_callcache.cache.operations.computations import (
    NO_EXPIRY,
    Computation,
    ComputationOperations,
    fingerprint,
    new_token,
)
from django_callcache.cache.single_flight import Flight
from django_callcache.exceptions import RedisFault
from django_callcache.signals import are_reads_heard, cache_hit, cache_miss

logger = logging.getLogger(__name__)


class RefreshOperations(ComputationOperations):
    """Refresh ahead: nobody waits, and nothing is served past its end."""

    async def _read_ahead(self, wanted: Computation) -> Any:
        """The value at a key, computed anew in the background if it is about to end."""
        key, prefix = wanted.key, wanted.prefix
        near = self.near if wanted.version is None and type(key) is str else None
        if near is not None:
            value = near.get(key, MISSING, FAILED)
            if value is not FAILED:
                if are_reads_heard():
                    signal = cache_miss if value is MISSING else cache_hit
                    await self._tell(signal, key, wanted.version, near=True)
                return value
        side = commands.command("HGET", self._internal.side(wanted.redis_key), "t")
        asked = (commands.get(wanted.redis_key), commands.pttl(wanted.redis_key), side)
        token = None
        if near is not None and prefix.is_near:
            token = near.begin()
            if token is None:
                self._runtime.listen()
        started = now()
        try:
            (reply, left, cost), may_keep = await self._asked_ahead(asked, started, token)
            value, stamps = await self._current(reply, prefix, wanted.redis_key, started)
        except RedisFault as fault:
            return self._degraded(fault, prefix, FAILED)
        if value is MISSING:
            if self._dictionaries.wanted and await self._learns():
                return await self._read_ahead(wanted)
            prefix.counts.read(str(key), MISSES, now() - started)
            if cache_miss.receivers:
                await self._tell(cache_miss, key, wanted.version, near=False)
            return MISSING
        prefix.counts.read(str(key), HITS, now() - started)
        if prefix.sampler is not None:
            self._hit(prefix, key, wanted.version)
        if cache_hit.receivers:
            await self._tell(cache_hit, key, wanted.version, near=False)
        if type(left) is int and left >= 0 and type(cost) is bytes:
            left -= _head_start(int(cost), wanted.options.refresh_ahead)
            if left <= 0:
                await self._refresh(wanted, value, reply)
                return value
        if near is not None and token is not None and may_keep and not stamps:
            # The copy ends when the refresh is due, so that somebody asks Redis then.
            copy = self._copy(near, key, wanted.redis_key, started, prefix, reply, value, left)
            if copy is not None:
                near.fill((copy,), token)
        return value

    async def _asked_ahead(
        self, asked: Sequence[bytes], started: int, token: int | None
    ) -> tuple[list[Any], bool]:
        """The replies, and whether a copy may be kept of what they show."""
        if token is not None:
            return await self._ask_to_keep(asked, started)
        return await self._io.ask_many(asked, started, reads=True), False

    async def _refresh(self, wanted: Computation, value: Any, blob: bytes) -> None:
        """Compute a value anew behind the caller's back, unless somebody does, or there is no room."""
        flight, leads = self._flights.join(wanted.redis_key, wanted.options.lock_timeout)
        if not leads:
            return
        flight.is_watched = False
        if not self._io.detach(partial(self._refreshed, wanted, flight, value, fingerprint(blob))):
            self._flights.land(flight, None)

    async def _refreshed(self, wanted: Computation, flight: Flight, value: Any, seen: bytes) -> None:
        try:
            claim = await self._asked(wanted, new_token(), seen, is_open=False)
            if claim.lease:
                if claim.expiry != NO_EXPIRY:  # else it has been deleted since it was read
                    claim = claim._replace(stale=value)
                await self._compute_behind(wanted, flight, claim)
        except RedisFault as fault:
            logger.debug("%s refresh=off error=%s", self._named(wanted), type(fault).__name__)
        finally:
            self._flights.land(flight, None)


def _head_start(cost_ms: int, beta: float) -> int:
    """Milliseconds before its end that a value is computed anew this time.

    Source: XFetch (Vattani, Chierichetti, Lowenstein: "Optimal probabilistic cache stampede prevention",
    VLDB 2015): cost * beta * -ln(random).
    """
    return math.ceil(-math.log(1 - random.random()) * cost_ms * beta)  # noqa: S311
