"""GuardedCodec: for prefixes whose values are checked before they are stored, encrypted, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django_callcache.codec.codec import Codec
from django_callcache.codec.compression import Dictionary
from django_callcache.codec.dictionaries import Dictionaries
from django_callcache.codec.encoding import Encoding
from django_callcache.codec.sealing import KeyRing
from django_callcache.exceptions import InvalidValue

Check = Callable[[object, bytes], None]
"""Takes a value and its Redis key; raises `InvalidValue`."""


class GuardedCodec(Codec):
    """A codec that no value passes unchecked, or in clear, on its way to Redis.

    Args:
        alias: As for `Codec`.
        ring: As for `Codec`; one that can encrypt, where that is wanted.
        encoding: As for `Codec`.
        dictionaries: As for `Codec`.
        encrypts: Whether values are encrypted, integers too.
        check: Refuses values that must not be stored; members and fields of collections are not checked.
    """

    lets_redis_count = False

    __slots__ = ("_check",)

    def __init__(
        self,
        alias: str,
        ring: KeyRing,
        encoding: Encoding,
        dictionaries: Dictionaries | None = None,
        *,
        encrypts: bool = False,
        check: Check | None = None,
    ) -> None:
        super().__init__(alias, ring, encoding, dictionaries, encrypts=encrypts)
        self._check = check

    def compress_with(self, dictionary: Dictionary | None) -> None:
        """Use a dictionary, but for values that are encrypted: it holds pieces of others in clear."""
        super().compress_with(None if self.is_sensitive else dictionary)

    def encode(self, value: object, redis_key: bytes) -> bytes:
        """See `Codec.encode`.

        Raises:
            InvalidValue: The check refuses it.
        """
        if self._check is not None:
            self._check(value, redis_key)
        return self._encrypted(value, redis_key) if self.is_sensitive else super().encode(value, redis_key)

    def encode_tagged(self, value: object, redis_key: bytes, stamps: Sequence[bytes]) -> bytes:
        """See `Codec.encode_tagged`.

        Raises:
            InvalidValue: The check refuses it.
        """
        if self._check is not None:
            self._check(value, redis_key)
        return super().encode_tagged(value, redis_key, stamps)

    def encode_alike(self, value: object, redis_key: bytes) -> bytes:
        """See `Codec.encode_alike`.

        Raises:
            InvalidValue: Values are encrypted, and so never alike.
        """
        if self.is_sensitive:
            raise InvalidValue(
                "Members of sets cannot be encrypted, since Redis compares them. Store the set as one value, "
                "or under a prefix that is not sensitive."
            )
        return super().encode_alike(value, redis_key)

    def encode_item(self, value: object, redis_key: bytes) -> bytes:
        """See `Codec.encode_item`."""
        if self.is_sensitive:
            return self._encrypted(value, redis_key)
        return super().encode_item(value, redis_key)

    def independent(self, blob: bytes, redis_key: bytes) -> bytes:
        """See `Codec.independent`; what was stored before the prefix became sensitive is encrypted now."""
        blob = super().independent(blob, redis_key)
        return (self.resealed(blob, redis_key) or blob) if self.is_sensitive else blob

    def _encrypted(self, value: object, redis_key: bytes) -> bytes:
        return self._encode_with_care(self._header[0], self._dumps(value), redis_key, (), None)
