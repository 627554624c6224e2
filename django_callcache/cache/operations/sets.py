"""Sets in Redis, by django-redis's names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from django_callcache.cache import commands
from django_callcache.cache.operations.base import now
from django_callcache.cache.operations.collections import CollectionOperations, as_it_is
from django_callcache.cache.value_keys import Key
from django_callcache.exceptions import RedisFault

_COMBINATIONS: dict[str, Callable[..., set[bytes]]] = {
    "SDIFF": set.difference,
    "SINTER": set.intersection,
    "SUNION": set.union,
}


class SetOperations(CollectionOperations):
    """Commands on sets; a fault in degraded mode gives an empty answer."""

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
            cursor, page = await self._ask(as_it_is, nothing, *command)
            for member in self._list_of(key)(page):
                yield member
            if cursor == b"0":
                return

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

    def _all(self, keys: Iterable[Key], version: int | None) -> tuple[bytes, ...]:
        return tuple(self._redis_key(key, version) for key in keys)

    def _set_of(self, key: Key) -> Callable[[Iterable[bytes]], set[Any]]:
        return lambda members: set(self._list_of(key)(members))

    def _one_of(self, key: Key) -> Callable[[bytes | None], Any]:
        return lambda member: None if member is None else next(iter(self._list_of(key)((member,))), None)


def _flags(reply: list[int]) -> list[bool]:
    return [bool(flag) for flag in reply]


def _refuse_match(match: str | None) -> None:
    if match:
        raise ValueError(
            "members are sealed, so Redis cannot match them: leave match out and filter the result"
        )
