"""How the processes of an alias share zstd dictionaries: through one hash in Redis.

Which prefix uses which dictionary is read with a process's first flush and once a minute. A value whose
dictionary is not known yet makes its reader fetch it in the same call; one that Redis does not have either
makes the value a miss, and is not asked for again for a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from redis import exceptions as redis_errors

from django_callcache.codec import Dictionaries, Dictionary, DictionaryRecords, KeyRing
from django_callcache.codec.dictionary_records import CURRENT, field_of
from django_callcache.exceptions import RedisFault, Undecodable

logger = logging.getLogger(__name__)

Ask = Callable[..., Awaitable[Any]]
"""Sends a command, given by its words, and returns the reply; raises what went wrong."""


class SharedDictionaries:
    """What a process knows of one alias's dictionaries.

    Args:
        alias: The alias's name in seals.
        ring: Keys that verify what Redis holds.
        name: The hash's Redis key.
    """

    def __init__(self, alias: str, ring: KeyRing, name: bytes) -> None:
        self.known = Dictionaries()
        self.records = DictionaryRecords(alias, ring, name)
        self.was_read = False
        """Whether this process has looked yet."""
        self._alias = alias
        self._name = name
        self._current: Mapping[str, bytes] = {}

    def of_prefix(self, name: str) -> Dictionary | None:
        """The dictionary that new values of a prefix are compressed with."""
        return self.known.get(self._current.get(name, b""))

    async def refresh(self, ask: Ask) -> None:
        """Read which prefix uses which dictionary, and those of them that are not known yet.

        Raises:
            RedisFault, redis.exceptions.RedisError: Nothing was learnt.
        """
        self.was_read = True
        current = self._opened(await ask("HGET", self._name, CURRENT))
        lacking = {each for each in current.values() if each not in self.known}
        if lacking:
            await self._fetch(ask, lacking)
        self._current = current

    async def learn(self, ask: Ask) -> bool:
        """Fetch the dictionaries that values were met with in vain; tell whether one of them came."""
        wanted = set(self.known.wanted)
        try:
            await self._fetch(ask, wanted)
        except RedisFault:
            self.known.wanted.difference_update(wanted)
            return False
        except redis_errors.ResponseError:
            for dictionary_id in wanted:
                self.known.give_up(dictionary_id)
            return False
        return any(dictionary_id in self.known for dictionary_id in wanted)

    async def read_all(self, ask: Ask) -> None:
        """Read every dictionary that there is, for who is about to meet values of any age.

        Raises:
            RedisFault, redis.exceptions.RedisError: As for `refresh`.
        """
        await self.refresh(ask)
        fields = await ask("HKEYS", self._name)
        await self._fetch(ask, {_id_of(field) for field in fields} - {b""})

    async def _fetch(self, ask: Ask, wanted: Iterable[bytes]) -> None:
        ids = [each for each in wanted if each not in self.known]
        if not ids:
            return
        replies = await ask("HMGET", self._name, *map(field_of, ids))
        for dictionary_id, record in zip(ids, replies, strict=True):
            try:
                if record is None:
                    raise Undecodable("Redis does not have it")
                self.known.learn(self.records.open(record, dictionary_id))
            except Undecodable as error:
                self.known.give_up(dictionary_id)
                logger.warning("alias=%s dictionary=%s missing=%s", self._alias, dictionary_id.hex(), error)

    def _opened(self, record: bytes | None) -> dict[str, bytes]:
        try:
            return {} if record is None else self.records.open_current(record)
        except Undecodable as error:
            logger.warning("alias=%s dictionaries=unused %s", self._alias, error)
            return {}


def _id_of(field: bytes) -> bytes:
    """The id of the dictionary in a field; empty for a field of another kind."""
    try:
        return bytes.fromhex(field.decode())
    except ValueError:
        return b""
