"""Keys: derivation, rotation, silence."""

from __future__ import annotations

import copy
import pickle
from hashlib import blake2b
from itertools import count

import pytest

from django_callcache.codec import Codec, Encoding, KeyRing
from django_callcache.codec.sealing import SealingKey, sealed_name
from django_callcache.exceptions import Undecodable

REDIS_KEY = b"crm:1:campaign:7"


def codec(*secrets):
    return Codec("default", KeyRing(secrets), Encoding())


def colliding_secrets():
    """Two secrets whose keys share their id; a birthday among 65,536 ids, so found at once."""
    seen = {}
    for number in count():
        secret = f"secret {number}"
        other = seen.setdefault(SealingKey(secret).id, secret)
        if other != secret:
            return other, secret
    return None


class TestSealingKey:
    def test_seal__is_a_keyed_blake2b(self):
        """The seal is what RFC 7693 gives for the derived key, and the id is a hash of that key."""
        material = blake2b(b"secret").digest()
        derived = blake2b(key=material, digest_size=32, person=b"callcache.seal1").digest()
        key = SealingKey("secret")

        assert (
            key.seal(b"opening", b"payload")
            == blake2b(b"openingpayload", key=derived, digest_size=16).digest()
        )
        assert key.id == blake2b(derived, digest_size=2, person=b"callcache.keyid1").digest()

    def test_seal__hasher_is_left_alone(self):
        """Sealing twice gives the same seal."""
        key = SealingKey("secret")

        assert key.seal(b"a", b"b") == key.seal(b"a", b"b")

    @pytest.mark.parametrize("secret", ["x", "x" * 64, "x" * 65, "x" * 5000, "contraseña", "\ud800"])
    def test_secret__any_text(self, secret):
        """Secrets may be short, longer than a BLAKE2b key, or text that UTF-8 does not know."""
        assert len(SealingKey(secret).seal(b"", b"")) == 16


class TestKeyRing:
    def test_rotation__old_secret_kept(self):
        """What an old secret sealed is readable while that secret is in the ring; the first one seals."""
        old, both, new = codec("old"), codec("new", "old"), codec("new")
        blob = old.encode("value", REDIS_KEY)

        assert both.decode(blob, REDIS_KEY) == "value"
        assert new.decode(both.encode("value", REDIS_KEY), REDIS_KEY) == "value"
        with pytest.raises(Undecodable, match="key id"):
            new.decode(blob, REDIS_KEY)

    def test_rotation__new_secret_deployed_in_two_steps(self):
        """A process that has the new secret second reads what those that seal with it write."""
        assert codec("old", "new").decode(codec("new", "old").encode([1], REDIS_KEY), REDIS_KEY) == [1]

    def test_key_ids__shared_by_two_keys(self):
        """Two keys with one id both verify, in either order, plain and compressed."""
        first, second = colliding_secrets()
        for value in ("small", "large " * 1000):
            for sealing, other in ((first, second), (second, first)):
                blob = codec(sealing).encode(value, REDIS_KEY)

                assert codec(sealing, other).decode(blob, REDIS_KEY) == value
                assert codec(other, sealing).decode(blob, REDIS_KEY) == value
                with pytest.raises(Undecodable, match="seal"):
                    codec(other).decode(blob, REDIS_KEY)

    def test_secrets__repeated(self):
        """A secret named twice is one key."""
        assert len(KeyRing(["a", "b", "a"]).keys) == 2

    def test_secrets__none_or_empty(self):
        """A ring without a secret, or with an empty one, is refused."""
        for secrets in ([], [""], ["good", ""]):
            with pytest.raises(ValueError, match="secret"):
                KeyRing(secrets)

    def test_secrets__one_string(self):
        """One string instead of a sequence is refused: each letter would be a secret."""
        with pytest.raises(TypeError, match="sequence"):
            KeyRing("hunter2")

    def test_repr__no_secret(self):
        """Neither repr nor attributes show a secret or a derived key."""
        ring = KeyRing(["hunter2-first", "hunter2-second"])

        shown = repr(ring) + repr(ring.keys) + repr(ring.first._keyed) + repr(ring._by_id)

        assert "hunter2" not in shown
        assert ring.first.id.hex() in repr(ring)

    def test_pickle__refused(self):
        """Keys cannot be pickled into some other store."""
        for copying in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                copying(KeyRing(["secret"]))


class TestSealedName:
    def test_sealed_name__ordinary_key(self):
        """A key without a zero byte stands for itself."""
        assert sealed_name(REDIS_KEY) == REDIS_KEY

    def test_sealed_name__zero_byte(self):
        """A key with a zero byte is replaced by a stand-in that begins with one and has no other."""
        names = {sealed_name(b"a\0b"), sealed_name(b"a\0c"), sealed_name(b"\0a")}

        assert len(names) == 3
        assert all(name[0] == 0 and 0 not in name[1:] for name in names)
