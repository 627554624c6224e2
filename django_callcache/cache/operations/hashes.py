"""Hashes in Redis, by django-redis's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_callcache.cache.operations.collections import CollectionOperations, as_it_is
from django_callcache.cache.value_keys import Key


class HashOperations(CollectionOperations):
    """Commands on hashes; a fault in degraded mode gives an empty answer."""

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
        found = await self._ask(as_it_is, None, "HGET", self._redis_key(key, version), field)
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


def _name(field: bytes) -> str:
    return field.decode(errors="replace")
