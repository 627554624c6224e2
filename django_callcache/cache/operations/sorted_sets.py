"""Sorted sets in Redis, by django-redis's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django_callcache.cache.operations.collections import CollectionOperations, as_it_is
from django_callcache.cache.value_keys import Key

Bound = float | str


class SortedSetOperations(CollectionOperations):
    """Commands on sorted sets; a fault in degraded mode gives an empty answer."""

    async def zadd(
        self,
        key: Key,
        mapping: Mapping[Any, float],
        nx: bool = False,
        xx: bool = False,
        ch: bool = False,
        incr: bool = False,
        gt: bool = False,
        lt: bool = False,
        version: int | None = None,
    ) -> int | float | None:
        """Give members of a sorted set their scores, as Redis's ZADD with these flags.

        Returns:
            How many are new (changed, with ``ch``); with ``incr`` the new score, None if it was not set.
        """
        stated = {"NX": nx, "XX": xx, "GT": gt, "LT": lt, "CH": ch, "INCR": incr}
        flags = [name for name, is_set in stated.items() if is_set]
        pairs = [part for item, score in mapping.items() for part in (score, self._member(key, item))]
        return await self._ask(
            _score if incr else int, None, "ZADD", self._redis_key(key, version), *flags, *pairs
        )

    async def zcard(self, key: Key, version: int | None = None) -> int:
        """The size of a sorted set."""
        return await self._ask(int, 0, "ZCARD", self._redis_key(key, version))

    async def zcount(self, key: Key, min: Bound, max: Bound, version: int | None = None) -> int:  # noqa: A002
        """How many members have a score between two bounds."""
        return await self._ask(int, 0, "ZCOUNT", self._redis_key(key, version), min, max)

    async def zincrby(self, key: Key, amount: float, value: Any, version: int | None = None) -> float | None:
        """Add to a member's score; return the sum."""
        return await self._ask(
            _score, None, "ZINCRBY", self._redis_key(key, version), amount, self._member(key, value)
        )

    async def zpopmax(self, key: Key, count: int | None = None, version: int | None = None) -> Any:
        """Take the members with the highest scores: a list with a count, else one pair or None."""
        return await self._pop("ZPOPMAX", key, count, version)

    async def zpopmin(self, key: Key, count: int | None = None, version: int | None = None) -> Any:
        """Take the members with the lowest scores: a list with a count, else one pair or None."""
        return await self._pop("ZPOPMIN", key, count, version)

    async def zrange(
        self,
        key: Key,
        start: int,
        end: int,
        desc: bool = False,
        withscores: bool = False,
        score_cast_func: Callable[[float], Any] = float,
        version: int | None = None,
    ) -> list[Any]:
        """Members by rank, lowest score first; pairs with scores where asked for."""
        name = "ZREVRANGE" if desc else "ZRANGE"
        return await self._ranked_list(name, key, version, start, end, withscores, score_cast_func)

    async def zrevrange(
        self,
        key: Key,
        start: int,
        end: int,
        withscores: bool = False,
        score_cast_func: Callable[[float], Any] = float,
        version: int | None = None,
    ) -> list[Any]:
        """Members by rank, highest score first; see `zrange`."""
        return await self._ranked_list("ZREVRANGE", key, version, start, end, withscores, score_cast_func)

    async def zrangebyscore(
        self,
        key: Key,
        min: Bound,  # noqa: A002
        max: Bound,  # noqa: A002
        start: int | None = None,
        num: int | None = None,
        withscores: bool = False,
        score_cast_func: Callable[[float], Any] = float,
        version: int | None = None,
    ) -> list[Any]:
        """Members with a score between two bounds, lowest first, ``num`` of them from ``start`` on."""
        limit = _limit(start, num)
        return await self._ranked_list(
            "ZRANGEBYSCORE", key, version, min, max, withscores, score_cast_func, *limit
        )

    async def zrevrangebyscore(
        self,
        key: Key,
        max: Bound,  # noqa: A002
        min: Bound,  # noqa: A002
        start: int | None = None,
        num: int | None = None,
        withscores: bool = False,
        score_cast_func: Callable[[float], Any] = float,
        version: int | None = None,
    ) -> list[Any]:
        """Members with a score between two bounds, highest first; see `zrangebyscore`."""
        limit = _limit(start, num)
        return await self._ranked_list(
            "ZREVRANGEBYSCORE", key, version, max, min, withscores, score_cast_func, *limit
        )

    async def zrank(self, key: Key, value: Any, withscore: bool = False, version: int | None = None) -> Any:
        """A member's rank, lowest score first; with its score where asked for; None if it is absent."""
        flags = ("WITHSCORE",) if withscore else ()
        redis_key, member = self._redis_key(key, version), self._member(key, value)
        return await self._ask(as_it_is, None, "ZRANK", redis_key, member, *flags)

    async def zrem(self, key: Key, *values: Any, version: int | None = None) -> int:
        """Remove members from a sorted set; return how many there were."""
        members = [self._member(key, value) for value in values]
        return await self._ask(int, 0, "ZREM", self._redis_key(key, version), *members)

    async def zremrangebyscore(self, key: Key, min: Bound, max: Bound, version: int | None = None) -> int:  # noqa: A002
        """Remove the members with a score between two bounds; return how many there were."""
        return await self._ask(int, 0, "ZREMRANGEBYSCORE", self._redis_key(key, version), min, max)

    async def zscore(self, key: Key, value: Any, version: int | None = None) -> float | None:
        """A member's score; None if it is absent."""
        return await self._ask(
            _score, None, "ZSCORE", self._redis_key(key, version), self._member(key, value)
        )

    async def _pop(self, name: str, key: Key, count: int | None, version: int | None) -> Any:
        parts = () if count is None else (count,)
        flat: list[bytes] = await self._ask(list, [], name, self._redis_key(key, version), *parts)
        pairs = self._pairs(key, flat, float)
        return pairs if count is not None else (pairs[0] if pairs else None)

    async def _ranked_list(
        self,
        name: str,
        key: Key,
        version: int | None,
        first: Bound,
        last: Bound,
        withscores: bool,
        score_cast_func: Callable[[float], Any],
        *limit: Bound,
    ) -> list[Any]:
        flags = ("WITHSCORES",) if withscores else ()
        reply: list[bytes] = await self._ask(
            list, [], name, self._redis_key(key, version), first, last, *flags, *limit
        )
        return self._pairs(key, reply, score_cast_func) if withscores else self._list_of(key)(reply)

    def _pairs(self, key: Key, flat: list[bytes], cast: Callable[[float], Any]) -> list[tuple[Any, Any]]:
        """Members with their scores; decoded one by one, so that one left out takes its score along."""
        decode = self._list_of(key)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [(value, cast(float(score))) for member, score in pairs for value in decode((member,))]


def _score(reply: bytes | None) -> float | None:
    return None if reply is None else float(reply)


def _limit(start: int | None, num: int | None) -> tuple[Bound, ...]:
    if (start is None) != (num is None):
        raise ValueError("give both start and num, or neither")
    return () if start is None or num is None else ("LIMIT", start, num)
