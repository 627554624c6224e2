"""Compares near copies with Redis: that nobody serves what is not true any more is measured, not believed.

Every few seconds each process draws some of its copies and reads the ends of the values in Redis, which tell
one value from another. A copy that differs has `MAX_STALENESS` to go: announcements are under way. One that
is served after that breaks the promise, and is counted. The idea is that of Meta's Polaris, which watches
from outside whether caches answer as they should. Copies that a dropped tag voids look the same in Redis:
they are not seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions as redis_errors

from django_callcache.cache.near import MARK_BYTES, NearCache, NearEntry

logger = logging.getLogger(__name__)

SAMPLE = 100
"""Copies compared at a time."""


class NearProbe:
    """Looks at the copies of one alias in this process.

    Args:
        near: The copies.
        redis_key: Makes the Redis key of a caller's key.
        ask: Returns the replies to commands that change nothing, error replies included.
        max_staleness: Seconds that a copy may be served after its value has changed.
        alias: For the log.
    """

    def __init__(
        self,
        near: NearCache,
        redis_key: Callable[[str], bytes],
        ask: Callable[[Sequence[Sequence[bytes | str | int]]], list[Any]],
        max_staleness: float,
        alias: str,
    ) -> None:
        self._near = near
        self._redis_key = redis_key
        self._ask = ask
        self._max_staleness = max_staleness
        self._alias = alias

    def look(self, wait: Callable[[float], object]) -> int:
        """Compare a sample; return how many copies are served that should not be.

        Args:
            wait: Waits for some seconds; asked only where a copy differs.

        Raises:
            RedisFault: Redis cannot be asked.
        """
        sample = self._near.sample(SAMPLE, self._max_staleness)
        differing = self._differing(sample) if sample else []
        stale = 0
        if differing:
            wait(self._max_staleness)
            stale = sum(self._near.serves(entry) for entry in differing)
        self._near.checked += len(sample)
        self._near.inconsistent += stale
        if stale:
            logger.error("alias=%s near=inconsistent copies=%d of=%d", self._alias, stale, len(sample))
        return stale

    def _differing(self, sample: Sequence[NearEntry]) -> list[NearEntry]:
        """Copies of values that are not in Redis now."""
        replies = self._ask([("GETRANGE", self._redis_key(entry.key), -MARK_BYTES, -1) for entry in sample])
        return [
            entry
            for entry, reply in zip(sample, replies, strict=True)
            if reply != entry.mark and not _tells_nothing(reply)
        ]


def _tells_nothing(reply: Any) -> bool:
    """Tell an error reply that says nothing of the value: all but that another type lies there."""
    return isinstance(reply, redis_errors.ResponseError) and "WRONGTYPE" not in str(reply)
