"""The seal: a keyed BLAKE2b (RFC 7693) that ties a payload to its header, its cache and its Redis key.

It covers header | alias | 0 | Redis key | 0 | payload. Bytes without a valid seal are never unpickled.
It does not tell an older value of the same key from a newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Protocol

from django_callcache.codec.blob import SEAL_BYTES

KEY_ID_BYTES = 2
_DERIVATION = b"callcache.seal1"
_IDENTIFICATION = b"callcache.keyid1"


class Encryption(Protocol):
    """Encrypts and decrypts by the key of one secret."""

    def encrypt(self, payload: bytes, associated: bytes) -> bytes: ...
    def decrypt(self, encrypted: bytes, associated: bytes) -> bytes | None: ...


MakeCipher = Callable[[bytes], Encryption]


class SealingKey:
    """A key derived from one secret; holds neither as text nor as bytes."""

    __slots__ = ("_keyed", "cipher", "id")

    def __init__(self, secret: str, make_cipher: MakeCipher | None = None) -> None:
        # "surrogatepass" because an encoding error would carry the secret.
        encoded = secret.encode("utf-8", "surrogatepass")
        self.cipher = None if make_cipher is None else make_cipher(encoded)
        """Encrypts values; None where no prefix is sensitive."""
        # Hashed first because a BLAKE2b key has 64 bytes at most.
        material = blake2b(encoded).digest()
        derived = blake2b(key=material, digest_size=32, person=_DERIVATION).digest()
        self.id: bytes = blake2b(derived, digest_size=KEY_ID_BYTES, person=_IDENTIFICATION).digest()
        """Two bytes that tell which key sealed a blob; two keys may share them."""
        self._keyed = blake2b(key=derived, digest_size=SEAL_BYTES)

    def __repr__(self) -> str:
        return f"<SealingKey {self.id.hex()}>"

    def hasher(self, opening: bytes) -> blake2b:
        """Make a hash object that has taken in the key and a beginning: to be copied, never updated."""
        hasher = self._keyed.copy()
        hasher.update(opening)
        return hasher

    def seal(self, opening: bytes, payload: bytes) -> bytes:
        """Compute the seal of a payload behind header, alias and key."""
        hasher = self.hasher(opening)
        hasher.update(payload)
        return hasher.digest()


class KeyRing:
    """The keys of a project: the first seals, all verify.

    To rotate, put the new secret first and keep the old one until what it sealed has expired.

    Args:
        secrets: Newest first; at least one, none empty.
        make_cipher: Makes what encrypts of a secret; left out where nothing is to be encrypted.
    """

    __slots__ = ("_by_id", "keys")

    def __init__(self, secrets: Sequence[str], make_cipher: MakeCipher | None = None) -> None:
        if isinstance(secrets, str):
            raise TypeError("a sequence of secrets is wanted, not one string")
        if not secrets or not all(secrets):
            raise ValueError("at least one secret is needed, and none may be empty")
        self.keys = tuple(SealingKey(secret, make_cipher) for secret in dict.fromkeys(secrets))
        by_id: dict[bytes, tuple[SealingKey, ...]] = {}
        for key in self.keys:
            by_id[key.id] = (*by_id.get(key.id, ()), key)
        self._by_id = by_id

    def __repr__(self) -> str:
        return f"<KeyRing {' '.join(key.id.hex() for key in self.keys)}>"

    @property
    def first(self) -> SealingKey:
        """The key that seals."""
        return self.keys[0]

    def keys_named(self, key_id: bytes) -> tuple[SealingKey, ...]:
        """The keys with an id: none, one, or (by chance, 1 in 65,536) more."""
        return self._by_id.get(key_id, ())


def sealed_name(redis_key: bytes) -> bytes:
    """What a seal takes in for a Redis key: the key itself, or a stand-in if it contains a zero byte.

    The zero byte is what separates key and payload. Were it let through, a blob of the key ``a\\0b`` could be
    cut into one of the key ``a`` whose payload begins with ``b``: and keys are often a visitor's choice.
    No key without a zero byte looks like the stand-in, which begins with one.
    """
    if 0 in redis_key:
        return b"\0" + blake2b(redis_key, digest_size=32).hexdigest().encode()
    return redis_key
