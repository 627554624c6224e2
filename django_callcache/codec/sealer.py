"""Sealer: puts payloads under the seal of one cache, and opens what is under it.

The seal is a signature, or for sensitive prefixes the tag of an encrypted payload; both cover header, alias
and Redis key, so what turns up under another key is not opened.
"""

from __future__ import annotations

from hmac import compare_digest

from django_callcache.codec import blob as layout
from django_callcache.codec.integers import INTEGER_STARTS
from django_callcache.codec.sealing import KeyRing, SealingKey, sealed_name
from django_callcache.exceptions import Undecodable


class Sealer:
    """Seals by the newest key of a ring, opens by all.

    Args:
        alias: Name of the cache.
        ring: Keys to seal and verify with; one that can encrypt, where that is wanted.
        encrypts: Whether payloads are encrypted.
    """

    __slots__ = ("_ring", "encrypts", "key", "scope")

    def __init__(self, alias: str, ring: KeyRing, *, encrypts: bool = False) -> None:
        if "\0" in alias:
            raise ValueError("the name of a cache cannot contain a zero byte")
        if encrypts and ring.first.cipher is None:
            raise ValueError("encryption needs a key ring that can encrypt")
        self._ring = ring
        self.encrypts = encrypts
        self.key = ring.first
        """Seals."""
        self.scope = alias.encode() + b"\0"
        """What a seal takes in between header and Redis key."""

    @property
    def added_bytes(self) -> int:
        """What sealing adds to a payload, its header not counted."""
        return layout.SEAL_BYTES + (layout.NONCE_BYTES if self.encrypts else 0)

    def is_current(self, start: bytes) -> bool:
        """Tell by its first `PLAIN_HEADER_BYTES` whether a value is sealed the way new ones are."""
        if start[:1] and start[0] in INTEGER_STARTS:
            return not self.encrypts
        is_ours = len(start) >= layout.PLAIN_HEADER_BYTES and start[layout.KEY_ID] == self.key.id
        return is_ours and bool(start[1] & layout.AEAD) == self.encrypts

    def sealed(
        self, value_format: int, flags: int, extension: bytes, payload: bytes, redis_key: bytes
    ) -> bytes:
        """Put a payload behind its header and under a seal."""
        if not self.encrypts or self.key.cipher is None:
            header = bytes((value_format, flags)) + self.key.id + extension
            return header + payload + self.key.seal(self._opening(header, redis_key), payload)
        header = bytes((value_format, flags | layout.AEAD)) + self.key.id + extension
        return header + self.key.cipher.encrypt(payload, self._opening(header, redis_key))

    def opened(self, parts: layout.Blob, redis_key: bytes) -> tuple[SealingKey, bytes]:
        """The key that sealed a blob, and its payload in clear, compressed as it was.

        Raises:
            Undecodable: The seal fits no key.
        """
        keys = self._ring.keys_named(parts.key_id)
        if not keys:
            raise Undecodable(f"no secret has the key id {parts.key_id.hex()}")
        opening = self._opening(parts.header, redis_key)
        for key in keys:
            if not parts.flags & layout.AEAD:
                if compare_digest(key.seal(opening, parts.payload), parts.seal):
                    return key, parts.payload
            elif key.cipher is None:
                raise Undecodable("the value is encrypted, and no prefix of this cache is sensitive")
            elif (payload := key.cipher.decrypt(parts.payload + parts.seal, opening)) is not None:
                return key, payload
        raise Undecodable("the seal does not fit")

    def _opening(self, header: bytes, redis_key: bytes) -> bytes:
        return header + self.scope + sealed_name(redis_key) + b"\0"
