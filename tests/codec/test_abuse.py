"""What someone who can write to Redis, but has no secret, can make of it: misses."""

from __future__ import annotations

import pickle
import tracemalloc

import pytest
import zstandard

from django_callcache.codec import Codec, Encoding, KeyRing, blob
from django_callcache.codec.sealing import SealingKey, sealed_name
from django_callcache.exceptions import Undecodable

REDIS_KEY = b"crm:1:campaign:7"
RING = KeyRing(["correct horse battery staple", "an older secret"])
CODEC = Codec("default", RING, Encoding())
SMALL = {"id": 7, "name": "Campaign 7", "tags": ["a", "b"]}
LARGE = {"id": 7, "text": "hello there " * 300}

detonations = []


def detonate():
    detonations.append("executed")


class Bomb:
    def __reduce__(self):
        return detonate, ()


PICKLED_BOMB = pickle.dumps(Bomb(), 5)


def codec(alias="default", **fields):
    return Codec(alias, RING, Encoding(**fields))


def seal(header, payload, key=None, *, redis_key=REDIS_KEY):
    """Build a blob as whoever has the key would."""
    opening = header + b"default\0" + sealed_name(redis_key) + b"\0"
    return header + payload + (key or RING.first).seal(opening, payload)


def stored_blobs():
    return {
        "pickle": codec().encode(SMALL, REDIS_KEY),
        "msgpack": codec(serializer="msgpack").encode(SMALL, REDIS_KEY),
        "json": codec(serializer="json").encode(SMALL, REDIS_KEY),
        "pickle-zstd": codec().encode(LARGE, REDIS_KEY),
        "json-zstd": codec(serializer="json").encode(LARGE, REDIS_KEY),
        "tags": codec().encode_tagged(SMALL, REDIS_KEY, [b"stamp--1"]),
        "tags-zstd": codec().encode_tagged(LARGE, REDIS_KEY, [b"stamp--1", b"stamp--2"]),
    }


@pytest.mark.parametrize("stored", stored_blobs().values(), ids=stored_blobs().keys())
class TestDamage:
    def test_damage__every_bit(self, stored):
        """Any flipped bit makes a value undecodable (F-S2)."""
        for position in range(len(stored)):
            for bit in range(8):
                broken = bytearray(stored)
                broken[position] ^= 1 << bit
                with pytest.raises(Undecodable):
                    CODEC.decode(bytes(broken), REDIS_KEY)

    def test_damage__every_header_byte(self, stored):
        """Any other byte in a header makes a value undecodable, digits of integers included."""
        for position in range(4):
            for byte in set(range(256)) - {stored[position]}:
                broken = bytearray(stored)
                broken[position] = byte
                with pytest.raises(Undecodable):
                    CODEC.decode(bytes(broken), REDIS_KEY)

    def test_damage__every_length(self, stored):
        """A value that was cut at any length, lost its beginning, or has grown, is undecodable (F-S2)."""
        broken = [stored[:length] for length in range(len(stored))]
        broken += [stored[1:], stored[2:], stored[4:], stored[8:], stored + b"\0", b"\0" + stored, stored * 2]
        for blob_of_another_length in broken:
            with pytest.raises(Undecodable):
                CODEC.decode(blob_of_another_length, REDIS_KEY)

    @pytest.mark.parametrize("other", [b"crm:1:campaign:8", b"crm:2:campaign:7", b"web:1:campaign:7", b""])
    def test_copied__to_another_key(self, stored, other):
        """A value that turns up under another key, version or prefix is undecodable (F-S3)."""
        with pytest.raises(Undecodable, match="seal"):
            CODEC.decode(stored, other)

    def test_copied__to_another_alias(self, stored):
        """A value of another cache is undecodable (F-S3)."""
        with pytest.raises(Undecodable, match="seal"):
            codec("sessions").decode(stored, REDIS_KEY)

    def test_sealed__by_another_project(self, stored):
        """A value sealed with a secret that is not ours is undecodable."""
        with pytest.raises(Undecodable):
            Codec("default", KeyRing(["another project"]), Encoding()).decode(stored, REDIS_KEY)


class TestKeyBoundary:
    def test_key__with_zero_byte(self):
        """A key may contain a zero byte; its values are its own."""
        for value in (SMALL, LARGE):
            stored = CODEC.encode(value, b"crm:1:a\0b")

            assert CODEC.decode(stored, b"crm:1:a\0b") == value
            with pytest.raises(Undecodable):
                CODEC.decode(stored, b"crm:1:a")

    def test_key__cut_in_two(self):
        """A visitor's key cannot be turned into the beginning of another key's payload."""
        pickled_text = pickle.dumps(Bomb(), 0)
        chosen_key = REDIS_KEY + b"\0" + pickled_text
        stored = CODEC.encode(SMALL, chosen_key)
        moved = stored[:4] + pickled_text + b"\0" + stored[4:]

        with pytest.raises(Undecodable, match="seal"):
            CODEC.decode(moved, REDIS_KEY)
        assert detonations == []

    def test_alias__moved_into_the_key(self):
        """Alias and key do not run into each other."""
        stored = codec("a").encode(SMALL, b"b:1:k")

        with pytest.raises(Undecodable, match="seal"):
            codec("ab").decode(stored, b":1:k")


class TestMaliciousPickle:
    def test_bomb__is_live(self):
        """The pickle used here does execute when loaded: the other tests prove something."""
        pickle.loads(PICKLED_BOMB)
        assert detonations.pop() == "executed"

    @pytest.mark.parametrize(
        "forged",
        [
            PICKLED_BOMB,
            pickle.dumps(Bomb(), 0),
            pickle.dumps(Bomb(), 2),
            b"\x01\x00" + RING.first.id + PICKLED_BOMB,
            b"\x01\x00" + RING.first.id + PICKLED_BOMB + b"\0" * 16,
            b"\x01\x00" + RING.first.id + PICKLED_BOMB + RING.first.seal(b"", PICKLED_BOMB),
            b"\x01\x00" + RING.keys[1].id + PICKLED_BOMB + b"\0" * 16,
            seal(b"\x01\x00" + RING.first.id, PICKLED_BOMB, SealingKey("guessed")),
            seal(b"\x01\x00" + RING.first.id, PICKLED_BOMB, RING.keys[1]),
            seal(b"\x01\x00\xff\xfe", PICKLED_BOMB),
            seal(b"\x01\x00" + RING.first.id, PICKLED_BOMB, redis_key=b"crm:1:campaign:8"),
            b"\x01\x01" + RING.first.id + b"\0\0\0\x40" + zstandard.compress(PICKLED_BOMB) + b"\0" * 16,
            b"\x01\x08" + RING.first.id + b"\x01stamp--1" + PICKLED_BOMB + b"\0" * 16,
            zstandard.compress(PICKLED_BOMB),
        ],
    )
    def test_forged__nothing_executes(self, forged):
        """A pickle without a valid seal is never loaded: raw, under a right header, or inside zstd (F-S1)."""
        for reading in (CODEC.decode, CODEC.decode_tagged):
            with pytest.raises(Undecodable):
                reading(forged, REDIS_KEY)
        assert detonations == []

    def test_transplant__header_changed_only(self):
        """Bytes that were sealed as JSON are not loaded as pickle."""
        text = pickle.dumps(Bomb(), 0).decode()
        stored = codec(serializer="msgpack").encode(text, REDIS_KEY)

        with pytest.raises(Undecodable, match="seal"):
            CODEC.decode(b"\x01" + stored[1:], REDIS_KEY)
        assert detonations == []


class TestNotForThisRelease:
    """Sealed by a key of ours, so that nothing but the flag can be the reason."""

    def test_flag__dictionary(self):
        """A value that needs a dictionary is refused with that reason."""
        frame = zstandard.compress(pickle.dumps(SMALL, 5))
        with pytest.raises(Undecodable, match="dictionary"):
            CODEC.decode(seal(b"\x01\x03" + RING.first.id + b"DICT" + b"\0\0\0\x30", frame), REDIS_KEY)

    def test_flag__aead(self):
        """An encrypted value is refused with that reason where nothing is to be decrypted."""
        with pytest.raises(Undecodable, match="encrypted"):
            CODEC.decode(seal(b"\x01\x04" + RING.first.id, pickle.dumps(SMALL, 5)), REDIS_KEY)

    @pytest.mark.parametrize("start", [b"\x04\x00", b"\x00\x00", b"\x01\x10", b"\x01\x80", b"\x80\x05"])
    def test_header__unknown(self, start):
        """An unknown format or flag is refused, whatever its seal says."""
        with pytest.raises(Undecodable, match="unknown"):
            CODEC.decode(seal(start + RING.first.id, pickle.dumps(SMALL, 5)), REDIS_KEY)

    def test_legacy__django_redis(self):
        """Values of other backends are undecodable: pickles, JSON text, nothing at all."""
        for legacy in (pickle.dumps(SMALL), b'{"id": 7}', b"null", b'"text"', b"[1]", b"", b"\0"):
            with pytest.raises(Undecodable):
                CODEC.decode(legacy, REDIS_KEY)


class TestSealedGarbage:
    """Sealed by a key of ours: what a bug in another process could leave."""

    @pytest.mark.parametrize("value_format", [blob.PICKLE, blob.MSGPACK, blob.JSON])
    @pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x80\x05", b"\x80\x05.", b'{"', b"\xff" * 50])
    def test_payload__garbage(self, value_format, payload):
        """A payload that the serializer cannot load is undecodable."""
        with pytest.raises(Undecodable, match="loaded") as caught:
            CODEC.decode(seal(bytes((value_format, 0)) + RING.first.id, payload), REDIS_KEY)
        assert caught.value.__cause__ is not None

    @pytest.mark.parametrize(
        ("value_format", "payload"),
        [
            (blob.MSGPACK, b"\x91" * 1_000_000),
            (blob.JSON, b"[" * 1_000_000),
            (blob.PICKLE, b"\x80\x05" + b"(" * 1000),
        ],
    )
    def test_payload__nested_without_end(self, value_format, payload):
        """Nesting without end is undecodable and takes no stack."""
        with pytest.raises(Undecodable, match="loaded"):
            CODEC.decode(seal(bytes((value_format, 0)) + RING.first.id, payload), REDIS_KEY)

    @pytest.mark.parametrize(
        "payload", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
    )
    def test_msgpack__length_without_content(self, payload):
        """A length in msgpack allocates nothing before its content is there."""
        stored = seal(b"\x02\x00" + RING.first.id, payload)

        assert peak_of_decoding(stored) < 1_000_000


@pytest.fixture(scope="module")
def frame():
    """256 MiB of zeros in some 8 kB."""
    compressor = zstandard.ZstdCompressor().compressobj(size=256 * 1024 * 1024)
    chunk = bytes(1024 * 1024)
    frame = b"".join(compressor.compress(chunk) for _ in range(256)) + compressor.flush()
    assert len(frame) < 40_000
    return frame


class TestDecompressionBomb:
    """A small value that would become a large one (F-S5)."""

    @pytest.mark.parametrize("declared", [256 * 1024 * 1024, 2**32 - 1, 32 * 1024 * 1024, 1000, 0])
    def test_bomb__sealed(self, frame, declared):
        """Even sealed, a bomb is refused before memory is taken for it, whatever length it declares."""
        stored = seal(b"\x01\x01" + RING.first.id + declared.to_bytes(4, "big"), frame)

        assert peak_of_decoding(stored) < 1_000_000

    def test_bomb__unsealed(self, frame):
        """Without a seal it is not looked at."""
        stored = b"\x01\x01" + RING.first.id + (1000).to_bytes(4, "big") + frame + bytes(16)

        assert peak_of_decoding(stored) < 1_000_000


def peak_of_decoding(stored):
    """Bytes that Python took at most while it refused a blob."""
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable):
            CODEC.decode(stored, REDIS_KEY)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
