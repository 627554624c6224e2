"""Which hits are compared with their origin, and what the comparisons of all processes have found.

A hit is drawn where it happens, by a counter; everything else happens behind the caller's back. What is found
is kept in Redis, in a hash for each prefix, so that one target holds for all processes and for the next ones.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from django_callcache.lua import Script
from django_callcache.redis_keys import RedisKeys
from django_callcache.ttl import Staleness, StalenessTarget
from django_callcache.ttl.staleness import HALVED_SECONDS, KEPT, LOWEST, step

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Between two comparisons of a prefix at least, over all processes: what the origin can always bear."""
KEPT_SECONDS = 35 * 86400
"""Nothing is known any more of a prefix of which nothing was compared for so long."""

FRESH, STALE, UNCLEAR = b"fresh", b"stale", b"unclear"

NOTE = Script("""
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local keep, lowest, halved = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
if ARGV[1] ~= 'unclear' then
  local known = redis.call('HMGET', KEYS[1], 'n', 's', 'log', 'at')
  local function number(text) return tonumber(text or '0') end
  local idle = math.max(0, now - number(known[4]))
  local log = number(known[3]) * 0.5 ^ (idle / halved) + tonumber(ARGV[2])
  local function put(name, value) redis.call('HSET', KEYS[1], name, string.format('%.17g', value)) end
  put('n', number(known[1]) * keep + 1)
  put('s', number(known[2]) * keep + (ARGV[1] == 'stale' and 1 or 0))
  put('log', math.max(lowest, math.min(0, log)))
  put('at', now)
end
redis.call('EXPIRE', KEYS[1], ARGV[6])
return redis.call('HGETALL', KEYS[1])
""")
"""Add what a comparison has found, as `Staleness.after` does, and reply all that is known.

KEYS: the prefix's hash. ARGV: fresh, stale or unclear; how far the logarithm of the factor moves; what is
left of older comparisons; the lowest logarithm; seconds after which it is halved; seconds to keep all this.
"""


class HitSampler:
    """Draws the hits of a prefix that are compared with their origin. Any number of threads may share one.

    Args:
        prefix: Of the rule.
        share: Of the hits.
        target: The share of them that may be stale; None only measures.
        draw: Returns a random number from 0 to 1.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(
        self,
        prefix: str,
        share: float,
        target: float | None,
        *,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.prefix = prefix
        self.share = share
        self.staleness = StalenessTarget(target)
        self._draw = draw
        self._clock = clock
        self._next_at = 0.0
        self._left = self._gap()
        self._has_warned = False

    def passes(self) -> bool:
        """Count a hit; tell whether it is one of the sample."""
        self._left -= 1
        if self._left > 0:
            return False
        self._left = self._gap()
        return True

    def may_start(self) -> bool:
        """Tell whether this process may compare again by now; others are asked later."""
        now = self._clock()
        if now < self._next_at:
            return False
        self._next_at = now + PAUSE_SECONDS
        return True

    def warn_of_unstable(self, where: str) -> None:
        """Say once that values cannot be compared."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s revalidation=unclear: two loads in a row gave different bytes, so nobody can tell "
                "whether a hit is stale. Let the loader leave out what differs at each load.",
                where,
            )

    def _gap(self) -> int:
        """How many hits further the next of the sample lies: each is one with the same chance."""
        if self.share >= 1:
            return 1
        return int(math.log(1 - self._draw()) / math.log(1 - self.share)) + 1


def permit_words(keys: RedisKeys, prefix: str) -> tuple[bytes | str, ...]:
    """The command whose reply is None where a process has compared a moment ago."""
    return "SET", keys.checking(prefix), "1", "NX", "PX", str(max(int(PAUSE_SECONDS * 1000), 1))


def note_arguments(found: bytes, target: float | None) -> tuple[bytes, ...]:
    """The script's arguments that add what a comparison has found."""
    moves = step(is_stale=found == STALE, target=target)
    numbers = (moves, KEPT, LOWEST, HALVED_SECONDS, KEPT_SECONDS)
    return found, *(repr(number).encode() for number in numbers)


def read_staleness(reply: Iterable[Any]) -> Staleness:
    """What is known of a prefix, from the reply to HGETALL or to the script."""
    parts = iter(reply)
    known = dict(zip(parts, parts, strict=True))
    return Staleness(
        checks=float(known.get(b"n", 0)),
        stale=float(known.get(b"s", 0)),
        log_factor=float(known.get(b"log", 0)),
        checked_at=float(known.get(b"at", 0)),
        fresh_count=int(known.get(FRESH, 0)),
        stale_count=int(known.get(STALE, 0)),
        unclear_count=int(known.get(UNCLEAR, 0)),
    )
