"""Values of sensitive prefixes: encrypted, bound to their key, readable by every key of the ring."""

from __future__ import annotations

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from django_callcache.codec import Codec, Dictionary, Encoding, GuardedCodec, KeyRing, blob
from django_callcache.codec.compression import train
from django_callcache.codec.encryption import Cipher
from django_callcache.exceptions import InvalidValue, Undecodable, ValueTooLarge

REDIS_KEY = b"crm:1:contact:7"
SECRET = "correct horse battery staple"
VALUES = [
    {"name": "Alice Example", "phone": "+57 300 555 0199"},
    "Alice Example " * 200,
    41887766,
    -1,
    2**80,
    None,
    (1, "Alice Example"),
]


def ring(*secrets):
    return KeyRing(secrets or (SECRET,), Cipher)


def codec(*secrets, alias="default", **fields):
    return GuardedCodec(alias, ring(*secrets), Encoding(**fields), encrypts=True)


def plain_codec(*secrets, **fields):
    return Codec("default", ring(*secrets), Encoding(**fields))


class TestEncrypted:
    @pytest.mark.parametrize(
        "value", VALUES, ids=[type(value).__name__ + str(i) for i, value in enumerate(VALUES)]
    )
    def test_encode__comes_back(self, value):
        """Every value comes back as it was, integers too, and no two encodings are alike."""
        one = codec()
        stored = one.encode(value, REDIS_KEY)
        assert one.decode(stored, REDIS_KEY) == value
        assert stored[1] & blob.AEAD
        assert stored != one.encode(value, REDIS_KEY)

    @pytest.mark.parametrize("serializer", ["pickle", "msgpack", "json"])
    @pytest.mark.parametrize("value", VALUES[:3])
    def test_encode__nothing_readable(self, serializer, value):
        """No part of the value can be read in what is stored, nor what a compressor would make of it."""
        stored = codec(serializer=serializer).encode(value, REDIS_KEY)
        for piece in (b"Alice", b"Example", b"300 555", b"41887766", zstandard.FRAME_HEADER):
            assert piece not in stored

    def test_encode__is_aes_256_gcm(self):
        """The bytes are what AES-256-GCM gives under the key that HKDF derives, with the seal's opening."""
        stored = codec(serializer="json").encode({"a": 1}, REDIS_KEY)
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"callcache.aead1").derive(SECRET.encode())
        opening = stored[:4] + b"default\0" + REDIS_KEY + b"\0"
        assert AESGCM(key).decrypt(stored[4:16], stored[16:], opening) == b'{"a":1}'

    @pytest.mark.parametrize("value", VALUES[:3])
    def test_damage__every_byte_and_length(self, value):
        """Any changed byte and any other length makes a value undecodable (F-S2)."""
        one = codec()
        stored = one.encode(value, REDIS_KEY)
        for position in range(len(stored)):
            broken = bytearray(stored)
            broken[position] ^= 1 << position % 8
            with pytest.raises(Undecodable):
                one.decode(bytes(broken), REDIS_KEY)
            with pytest.raises(Undecodable):
                one.decode(stored[:position], REDIS_KEY)

    def test_copied__elsewhere(self):
        """A value under another key, or of another alias, is undecodable (F-S3)."""
        stored = codec().encode(VALUES[0], REDIS_KEY)
        with pytest.raises(Undecodable, match="seal"):
            codec().decode(stored, b"crm:1:contact:8")
        with pytest.raises(Undecodable, match="seal"):
            codec(alias="sessions").decode(stored, REDIS_KEY)

    def test_tags(self):
        """Stamps of tags stand beside an encrypted value, and are under its tag."""
        stored = codec().encode_tagged("Alice", REDIS_KEY, [b"stamp--1"])
        assert codec().decode_tagged(stored, REDIS_KEY) == ("Alice", (b"stamp--1",))
        assert b"Alice" not in stored
        with pytest.raises(Undecodable):
            codec().decode(stored.replace(b"stamp--1", b"stamp--2"), REDIS_KEY)

    def test_size__nonce_counts(self):
        """The nonce counts where a value is measured."""
        value = b"x" * 1000
        size = len(codec(compress=False).encode(value, REDIS_KEY))
        codec(compress=False, max_value_bytes=size).encode(value, REDIS_KEY)
        with pytest.raises(ValueTooLarge):
            codec(compress=False, max_value_bytes=size - 1).encode(value, REDIS_KEY)

    def test_dictionary__not_used(self):
        """A dictionary, which holds pieces of values in clear, is not used for new values."""
        samples = [b'{"name": "Alice %d", "phone": "+57 300 %d"}' % (n, n * 7) for n in range(400)]
        one = codec()
        one.compress_with(Dictionary(train(samples, 1024).data))
        assert not one.encode(samples[0] * 3, REDIS_KEY)[1] & blob.DICTIONARY

    def test_opened__decrypted(self):
        """What is kept in the process is the value in clear, so that hits cost no decryption."""
        stored = codec().encode(VALUES[1], REDIS_KEY)
        loads, payload = codec().opened(stored, REDIS_KEY)
        assert loads(payload) == VALUES[1]

    def test_members__refused(self):
        """Members of sets, which Redis compares, are refused; fields of hashes are encrypted."""
        with pytest.raises(InvalidValue, match="compares"):
            codec().encode_alike("Alice", b"")
        assert b"Alice" not in codec().encode_item("Alice", b"")

    def test_without_cipher(self):
        """A ring that cannot encrypt is refused; a reader without cipher says what is wrong."""
        with pytest.raises(ValueError, match="encrypt"):
            GuardedCodec("default", KeyRing([SECRET]), Encoding(), encrypts=True)
        stored = codec().encode("x", REDIS_KEY)
        with pytest.raises(Undecodable, match="encrypted"):
            Codec("default", KeyRing([SECRET]), Encoding()).decode(stored, REDIS_KEY)

    def test_repr__no_secret(self):
        """Neither ring nor cipher shows the secret."""
        keys = ring()
        assert SECRET not in repr(keys) + repr(keys.first) + repr(keys.first.cipher)
        assert SECRET not in repr(vars(type(keys.first.cipher)))


class TestRotation:
    def test_old_secret__kept_and_dropped(self):
        """A value of an older secret is read as long as the ring holds it, then it is undecodable."""
        stored = codec("old").encode("x", REDIS_KEY)
        assert codec("new", "old").decode(stored, REDIS_KEY) == "x"
        with pytest.raises(Undecodable, match="key id"):
            codec("new").decode(stored, REDIS_KEY)

    @pytest.mark.parametrize("value", VALUES)
    @pytest.mark.parametrize("make", [codec, plain_codec])
    def test_resealed__newest_secret(self, value, make):
        """What an older secret sealed is sealed by the newest: the same value, tags and compression."""
        old = make("old")
        stored = old.encode_tagged(value, REDIS_KEY, [b"stamp--1"])
        anew = make("new", "old").resealed(stored, REDIS_KEY)
        assert make("new").decode_tagged(anew, REDIS_KEY) == (value, (b"stamp--1",))
        assert anew[1] == stored[1]
        assert make("new", "old").resealed(anew, REDIS_KEY) is None

    def test_resealed__becomes_sensitive(self):
        """What was stored in clear is encrypted once its prefix is sensitive, and the other way round."""
        for value in (VALUES[0], VALUES[2]):
            clear = plain_codec("new").encode(value, REDIS_KEY)
            hidden = codec("new").resealed(clear, REDIS_KEY)
            assert hidden[1] & blob.AEAD
            assert codec("new").decode(hidden, REDIS_KEY) == value
            shown = plain_codec("new").resealed(hidden, REDIS_KEY)
            assert not shown[1] & blob.AEAD
            assert plain_codec("new").decode(shown, REDIS_KEY) == value

    def test_resealed__integer_in_clear(self):
        """An integer of a prefix that is not sensitive needs no secret."""
        assert plain_codec("new").resealed(b"5", REDIS_KEY) is None

    def test_independent__encrypted(self):
        """What leaves for the remote store is encrypted, also where it was stored before."""
        clear = plain_codec().encode("Alice", REDIS_KEY)
        assert b"Alice" not in codec().independent(clear, REDIS_KEY)
        assert codec().decode(codec().independent(clear, REDIS_KEY), REDIS_KEY) == "Alice"

    def test_resealed__forged(self):
        """Bytes without a valid seal are not given one."""
        stored = codec("old").encode("x", REDIS_KEY)
        with pytest.raises(Undecodable):
            codec("new", "old").resealed(stored[:-1] + b"?", REDIS_KEY)
