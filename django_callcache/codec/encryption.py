"""AES-256-GCM for the values of sensitive prefixes: the one face of the library ``cryptography``.

The key of each secret is derived by HKDF (RFC 5869) with SHA-256, apart from the key that seals.
Nonces are random and 96 bits long: a key may encrypt 2**32 values before two of them meet by more than a
chance of 2**-32 (NIST SP 800-38D, section 8.3). Rotate the secret before that.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from django_callcache.codec.blob import NONCE_BYTES

KEY_BYTES = 32
_DERIVATION = b"callcache.aead1"


class Cipher:
    """Encrypts and decrypts by the key of one secret, which it does not hold as text or bytes."""

    __slots__ = ("_aead",)

    def __init__(self, secret: bytes) -> None:
        derivation = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=_DERIVATION)
        self._aead = AESGCM(derivation.derive(secret))

    def __repr__(self) -> str:
        return "<Cipher>"

    def encrypt(self, payload: bytes, associated: bytes) -> bytes:
        """Return nonce, ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, payload, associated)

    def decrypt(self, encrypted: bytes, associated: bytes) -> bytes | None:
        """Return the payload; None where the tag does not fit, or there is none."""
        try:
            return self._aead.decrypt(encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:], associated)
        except InvalidTag:
            return None
