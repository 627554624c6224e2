"""Sets, sorted sets and hashes in Redis, by django-redis's names.

Members and hash values are sealed like values, but to the alias instead of the key: Redis
moves members between keys by itself (``smove``, ``sunionstore``). Equal members must encode
to equal bytes, as strings, numbers and tuples of them do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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

Answer = TypeVar("Answer")


class CollectionOperations(OperationsBase):
    """Commands on collections; a fault in degraded mode gives an empty answer."""

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


def as_it_is(reply: Any) -> Any:
    """Convert nothing."""
    return reply
