"""Sets, sorted sets and hashes in Redis, by django-redis's names.

Members and hash values are sealed like values, but to the alias instead of the key: Redis
moves members between keys by itself (``smove``, ``sunionstore``). Equal members must encode
to equal bytes, as strings, numbers and tuples of them do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from django_callcache.cache import commands
from django_callcache.cache.counters import UNDECODABLE
from django_callcache.cache.operations.base import OperationsBase, now
from django_callcache.cache.value_keys import Key
from django_callcache.exceptions import RedisFault, SyncNotRecorded, Undecodable

MEMBER = b""
"""What stands for the key in a member's seal."""

WRITES = frozenset(
    {
        "SADD", "SREM", "SPOP", "SMOVE", "SDIFFSTORE", "SINTERSTORE", "SUNIONSTORE",
        "HSET", "HDEL", "ZADD", "ZINCRBY", "ZREM", "ZPOPMAX", "ZPOPMIN", "ZREMRANGEBYSCORE",
    }
)  # fmt: skip

NEVER_TWICE = frozenset({"SPOP", "ZINCRBY", "ZPOPMAX", "ZPOPMIN"})
"""Commands that do something else when they are repeated, as ZADD does with INCR."""

_COMBINATIONS: dict[str, Callable[..., set[bytes]]] = {
    "SDIFF": set.difference,
    "SINTER": set.intersection,
    "SUNION": set.union,
}

Answer = TypeVar("Answer")
Bound = float | str


class CollectionOperations(OperationsBase):
    """Commands on collections; a fault in degraded mode gives an empty answer."""

    async def sadd(self, key: Key, *values: Any, version: int | None = None) -> int:
        """Add members to a set; return how many are new."""
        return await self._ask(int, 0, "SADD", self._redis_key(key, version), *self._members(key, values))

    async def srem(self, key: Key, *members: Any, version: int | None = None) -> int:
        """Remove members from a set; return how many there were."""
        return await self._ask(int, 0, "SREM", self._redis_key(key, version), *self._members(key, members))

    async def scard(self, key: Key, version: int | None = None) -> int:
        """The size of a set."""
        return await self._ask(int, 0, "SCARD", self._redis_key(key, version))

    async def sismember(self, key: Key, member: Any, version: int | None = None) -> bool:
        """Tell whether a set has a member."""
        return await self._ask(
            bool, False, "SISMEMBER", self._redis_key(key, version), self._member(key, member)
        )

    async def smismember(self, key: Key, *members: Any, version: int | None = None) -> list[bool]:
        """Tell of each member whether a set has it."""
        encoded = self._members(key, members)
        absent = [False] * len(members)
        return await self._ask(_flags, absent, "SMISMEMBER", self._redis_key(key, version), *encoded)

    async def smembers(self, key: Key, version: int | None = None) -> set[Any]:
        """The members of a set."""
        return await self._ask(self._set_of(key), set(), "SMEMBERS", self._redis_key(key, version))

    async def sdiff(self, *keys: Key, version: int | None = None) -> set[Any]:
        """Members of the first set that are in none of the others."""
        return await self._combined("SDIFF", keys, version)

    async def sinter(self, *keys: Key, version: int | None = None) -> set[Any]:
        """Members that are in every set."""
        return await self._combined("SINTER", keys, version)

    async def sunion(self, *keys: Key, version: int | None = None) -> set[Any]:
        """Members that are in any set."""
        return await self._combined("SUNION", keys, version)

    async def sdiffstore(
        self, dest: Key, *keys: Key, version_dest: int | None = None, version_keys: int | None = None
    ) -> int:
        """Store what `sdiff` gives; return its size.

        Raises:
            ValueError: The keys lie in different slots of a Redis Cluster.
        """
        return await self._store("SDIFFSTORE", dest, version_dest, keys, version_keys)

    async def sinterstore(self, dest: Key, *keys: Key, version: int | None = None) -> int:
        """Store what `sinter` gives; return its size. See `sdiffstore`."""
        return await self._store("SINTERSTORE", dest, version, keys, version)

    async def sunionstore(self, destination: Key, *keys: Key, version: int | None = None) -> int:
        """Store what `sunion` gives; return its size. See `sdiffstore`."""
        return await self._store("SUNIONSTORE", destination, version, keys, version)

    async def smove(self, source: Key, destination: Key, member: Any, version: int | None = None) -> bool:
        """Move a member from one set to another; tell whether it was there.

        Raises:
            ValueError: They lie in different slots of a Redis Cluster.
        """
        names = self._all((source, destination), version)
        self._refuse_apart("smove", names)
        return await self._ask(bool, False, "SMOVE", *names, self._member(source, member))

    async def spop(self, key: Key, count: int | None = None, version: int | None = None) -> Any:
        """Take a member from a set at random; a set of members where a count is given."""
        redis_key = self._redis_key(key, version)
        if count is None:
            return await self._ask(self._one_of(key), None, "SPOP", redis_key)
        return await self._ask(self._set_of(key), set(), "SPOP", redis_key, count)

    async def srandmember(self, key: Key, count: int | None = None, version: int | None = None) -> Any:
        """Look at a member of a set at random; a list of members where a count is given."""
        redis_key = self._redis_key(key, version)
        if count is None:
            return await self._ask(self._one_of(key), None, "SRANDMEMBER", redis_key)
        return await self._ask(self._list_of(key), [], "SRANDMEMBER", redis_key, count)

    async def sscan(
        self, key: Key, match: str | None = None, count: int | None = 10, version: int | None = None
    ) -> set[Any]:
        """The first page of a set's members.

        Raises:
            ValueError: ``match`` is given: members are sealed, so Redis cannot match them.
        """
        _refuse_match(match)
        command = ("SSCAN", self._redis_key(key, version), 0, "COUNT", count or 10)
        return await self._ask(lambda reply: self._set_of(key)(reply[1]), set(), *command)

    async def sscan_iter(
        self, key: Key, match: str | None = None, count: int | None = 10, version: int | None = None
    ) -> AsyncIterator[Any]:
        """The members of a set, fetched step by step.

        Raises:
            ValueError: ``match`` is given, as for `sscan`.
        """
        _refuse_match(match)
        cursor: Any = 0
        nothing: Any = (b"0", [])
        while True:
            command = ("SSCAN", self._redis_key(key, version), cursor, "COUNT", count or 10)
            cursor, page = await self._ask(_as_it_is, nothing, *command)
            for member in self._list_of(key)(page):
                yield member
            if cursor == b"0":
                return

    async def hset(
        self,
        key: Key,
        field: str | None = None,
        value: Any = None,
        mapping: Mapping[str, Any] | None = None,
        version: int | None = None,
    ) -> int:
        """Set fields of a hash, one or a mapping; return how many are new."""
        fields = {} if field is None else {field: value}
        fields.update(mapping or {})
        flat = [part for name, item in fields.items() for part in (name, self._item(key, item))]
        return await self._ask(int, 0, "HSET", self._redis_key(key, version), *flat)

    async def hget(self, key: Key, field: str, default: Any = None, version: int | None = None) -> Any:
        """The value of a hash's field."""
        found = await self._ask(_as_it_is, None, "HGET", self._redis_key(key, version), field)
        values = self._list_of(key)(() if found is None else (found,))
        return values[0] if values else default

    async def hgetall(self, key: Key, version: int | None = None) -> dict[str, Any]:
        """The fields of a hash with their values."""
        flat: list[bytes] = await self._ask(list, [], "HGETALL", self._redis_key(key, version))
        fields = zip(flat[::2], flat[1::2], strict=True)
        decode = self._list_of(key)
        return {_name(field): value for field, sealed in fields for value in decode((sealed,))}

    async def hdel(self, key: Key, field: str, version: int | None = None) -> int:
        """Remove a field from a hash; return how many there were."""
        return await self._ask(int, 0, "HDEL", self._redis_key(key, version), field)

    async def hlen(self, key: Key, version: int | None = None) -> int:
        """How many fields a hash has."""
        return await self._ask(int, 0, "HLEN", self._redis_key(key, version))

    async def hkeys(self, key: Key, version: int | None = None) -> list[str]:
        """The names of a hash's fields."""
        return await self._ask(
            lambda reply: [_name(field) for field in reply], [], "HKEYS", self._redis_key(key, version)
        )

    async def hexists(self, key: Key, field: str, version: int | None = None) -> bool:
        """Tell whether a hash has a field."""
        return await self._ask(bool, False, "HEXISTS", self._redis_key(key, version), field)

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
        return await self._ask(_as_it_is, None, "ZRANK", redis_key, member, *flags)

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

    async def _ask(
        self, convert: Callable[[Any], Answer], fallback: Answer, name: str, key: bytes, *parts: Any
    ) -> Answer:
        """The converted reply of a command; the fallback where Redis failed and may."""
        if name in WRITES:
            self._refuse_synced(key, *(parts[:1] if name == "SMOVE" else ()))
        try:
            return convert(self._checked(await self._io.ask(commands.command(name, key, *parts), now())))
        except RedisFault as fault:
            if name in NEVER_TWICE or (name == "ZADD" and "INCR" in parts):
                fault = self._never_twice(fault)
            return self._degraded(fault, self._prefix(self._value_keys.caller_key(key)), fallback)

    async def _combined(self, name: str, keys: Sequence[Key], version: int | None) -> set[Any]:
        """What a command makes of several sets; made here of those in different slots of a cluster."""
        names = self._all(keys, version)
        convert = self._set_of(keys[0])
        if self._share_slot(names):
            return await self._ask(convert, set(), name, *names)
        asked = [commands.command("SMEMBERS", each) for each in names]
        try:
            replies = await self._io.ask_many(asked, now(), reads=True)
            first, *others = [set(self._checked(reply)) for reply in replies]
        except RedisFault as fault:
            return self._degraded(fault, self._prefix(keys[0]), set())
        return convert(list(_COMBINATIONS[name](first, *others)))

    def _share_slot(self, redis_keys: Sequence[bytes]) -> bool:
        return all(self._internal.share_slot(redis_keys[0], other) for other in redis_keys[1:])

    def _refuse_apart(self, name: str, redis_keys: Sequence[bytes]) -> None:
        """Refuse what a cluster does within one slot alone.

        Raises:
            ValueError: The keys lie in several.
        """
        if not self._share_slot(redis_keys):
            raise ValueError(
                f"{name}() writes to keys in different slots of a Redis Cluster, not possible in one step. "
                "Give the keys a hash tag in common, such as 'calls:{7}:today' and 'calls:{7}:all'."
            )

    def _refuse_synced(self, *redis_keys: bytes) -> None:
        """Refuse to write a collection where writes are meant for the remote store.

        Raises:
            SyncNotRecorded: Collections are not synced.
        """
        for redis_key in redis_keys:
            key = self._value_keys.caller_key(redis_key)
            prefix = self._prefix(key)
            if prefix.is_synced:
                raise SyncNotRecorded(
                    f"Sets, sorted sets and hashes are not synced, but the prefix {prefix.name!r} is. "
                    "Store the whole collection with set(), or choose a prefix without it."
                )

    async def _store(
        self, name: str, dest: Key, version_dest: int | None, keys: Iterable[Key], version: int | None
    ) -> int:
        """The size of the set that was stored, in place of whatever lay there."""
        names = self._redis_key(dest, version_dest), *self._all(keys, version)
        self._refuse_apart(name.lower(), names)
        try:
            return await self._ask(int, 0, name, *names)
        finally:
            self._written(dest, version_dest)

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

    def _all(self, keys: Iterable[Key], version: int | None) -> tuple[bytes, ...]:
        return tuple(self._redis_key(key, version) for key in keys)

    def _member(self, key: Key, value: Any) -> bytes:
        return self._prefix(key).codec.encode_alike(value, MEMBER)

    def _item(self, key: Key, value: Any) -> bytes:
        return self._prefix(key).codec.encode_item(value, MEMBER)

    def _members(self, key: Key, values: Iterable[Any]) -> list[bytes]:
        return [self._member(key, value) for value in values]

    def _list_of(self, key: Key) -> Callable[[Iterable[bytes]], list[Any]]:
        """Decodes members; those that are not ours are left out, and counted."""
        prefix = self._prefix(key)

        def decode(members: Iterable[bytes]) -> list[Any]:
            values = []
            for member in members:
                try:
                    values.append(prefix.codec.decode(member, MEMBER))
                except Undecodable:
                    prefix.counts.slots[UNDECODABLE] += 1
            return values

        return decode

    def _set_of(self, key: Key) -> Callable[[Iterable[bytes]], set[Any]]:
        return lambda members: set(self._list_of(key)(members))

    def _one_of(self, key: Key) -> Callable[[bytes | None], Any]:
        return lambda member: None if member is None else next(iter(self._list_of(key)((member,))), None)

    def _pairs(self, key: Key, flat: list[bytes], cast: Callable[[float], Any]) -> list[tuple[Any, Any]]:
        """Members with their scores; decoded one by one, so that one left out takes its score along."""
        decode = self._list_of(key)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [(value, cast(float(score))) for member, score in pairs for value in decode((member,))]


def _name(field: bytes) -> str:
    return field.decode(errors="replace")


def _flags(reply: list[int]) -> list[bool]:
    return [bool(flag) for flag in reply]


def _score(reply: bytes | None) -> float | None:
    return None if reply is None else float(reply)


def _as_it_is(reply: Any) -> Any:
    return reply


def _limit(start: int | None, num: int | None) -> tuple[Bound, ...]:
    if (start is None) != (num is None):
        raise ValueError("give both start and num, or neither")
    return () if start is None or num is None else ("LIMIT", start, num)


def _refuse_match(match: str | None) -> None:
    if match:
        raise ValueError(
            "members are sealed, so Redis cannot match them: leave match out and filter the result"
        )
