"""Dictionaries as they are stored: sealed, for whoever forges one decides what is unpickled.

A value's seal covers its compressed bytes and the dictionary's id, not what the dictionary makes of them.
So a dictionary counts only under a seal of this project, and only under the id that its content has.
"""

from __future__ import annotations

from collections.abc import Mapping

from django_callcache.codec.blob import KEY_ID
from django_callcache.codec.codec import Codec
from django_callcache.codec.compression import DICTIONARY_ID_BYTES, MAX_DICTIONARY_BYTES, Dictionary
from django_callcache.codec.encoding import Encoding
from django_callcache.codec.sealing import KeyRing
from django_callcache.exceptions import Undecodable

CURRENT = b"current"
"""Field that tells which prefix uses which dictionary; the others are named by `field_of`."""

_ENCODING = Encoding(serializer="msgpack", compress=False)


def field_of(dictionary_id: bytes) -> bytes:
    """Return the field that holds a dictionary."""
    return dictionary_id.hex().encode()


class DictionaryRecords:
    """Seals and opens the fields of one cache's hash of dictionaries.

    Args:
        alias: Name of the cache.
        ring: Keys to seal and verify with.
        name: The hash's Redis key, which no value can have.
    """

    def __init__(self, alias: str, ring: KeyRing, name: bytes) -> None:
        self._codec = Codec(alias, ring, _ENCODING)
        self._newest_key_id = ring.first.id
        self._name = name

    def seal(self, dictionary: Dictionary) -> bytes:
        """Return the record of a dictionary."""
        return self._codec.encode(dictionary.data, self._sealed_name(field_of(dictionary.id)))

    def open(self, record: bytes, dictionary_id: bytes) -> Dictionary:
        """Return the dictionary in a record.

        Raises:
            Undecodable: It is not sealed by us for this id, or is no dictionary.
        """
        data = self._codec.decode(record, self._sealed_name(field_of(dictionary_id)))
        if not isinstance(data, bytes) or len(data) > MAX_DICTIONARY_BYTES:
            raise Undecodable("the record holds no dictionary")
        dictionary = Dictionary(data)
        if dictionary.id != dictionary_id:
            raise Undecodable("the record holds another dictionary")
        return dictionary

    def seal_current(self, current: Mapping[str, bytes]) -> bytes:
        """Return the record of which prefix uses which dictionary."""
        return self._codec.encode(dict(current), self._sealed_name(CURRENT))

    def open_current(self, record: bytes) -> dict[str, bytes]:
        """Return which prefix uses which dictionary, by id.

        Raises:
            Undecodable: It is not sealed by us.
        """
        current = self._codec.decode(record, self._sealed_name(CURRENT))
        if not isinstance(current, dict) or not all(
            isinstance(name, str) and isinstance(each, bytes) and len(each) == DICTIONARY_ID_BYTES
            for name, each in current.items()
        ):
            raise Undecodable("the record does not say which prefix uses which dictionary")
        return current

    def is_sealed_by_the_newest_secret(self, record: bytes) -> bool:
        """Tell whether a record outlives the secrets that are being phased out."""
        return record[KEY_ID] == self._newest_key_id

    def _sealed_name(self, field: bytes) -> bytes:
        return self._name + b"|" + field
