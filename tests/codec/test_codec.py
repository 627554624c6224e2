"""Values to bytes and back."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import pickle
import random
import threading
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_callcache.codec import Codec, Encoding, KeyRing, Tagged
from django_callcache.exceptions import CallCacheError, Undecodable, ValueTooLarge

REDIS_KEY = b"crm:1:campaign:7"
RING = KeyRing(["correct horse battery staple"])
CAMPAIGN = {
    "id": 7, "name": "Campaña de otoño", "status": "active", "agents": 12, "budget": 1250.5,
    "channel": None, "tags": ["sales", "perú"], "open": True,
}  # fmt: skip

plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(), children, max_size=5),
    max_leaves=20,
)
few = settings(deadline=None, max_examples=60)


class Status(enum.IntEnum):
    ACTIVE = 1


class Unloadable:
    """Pickles; what happens at loading is the error it is given."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        return explode, (self.error,)


def explode(error):
    raise error


def codec(alias="default", **fields):
    return Codec(alias, RING, Encoding(**fields))


def round_trip(value, **fields):
    chosen = codec(**fields)
    return chosen.decode(chosen.encode(value, REDIS_KEY), REDIS_KEY)


class TestIntegers:
    @pytest.mark.parametrize("value", [0, 1, -5, 10, 2**63 - 1, -(2**63), 2**70, -(10**4000)])
    @pytest.mark.parametrize("serializer", ["pickle", "msgpack", "json"])
    def test_integer__is_text(self, value, serializer):
        """An int is stored as the decimal text that Redis counts with, whatever the serializer."""
        chosen = codec(serializer=serializer)
        blob = chosen.encode(value, REDIS_KEY)

        assert blob == str(value).encode()
        assert chosen.decode(blob, REDIS_KEY) == value
        assert type(chosen.decode(blob, REDIS_KEY)) is int

    @pytest.mark.parametrize("value", [True, False, Status.ACTIVE])
    def test_integer__only_exactly_int(self, value):
        """Booleans and enums are sealed, and come back as what they are."""
        chosen = codec()
        blob = chosen.encode(value, REDIS_KEY)

        assert blob[0] == 1
        assert chosen.decode(blob, REDIS_KEY) is value

    def test_integer__more_digits_than_text_may_have(self):
        """An int that Python refuses to write as text goes through the serializer."""
        value = -(10**6000)
        blob = codec().encode(value, REDIS_KEY)

        assert blob[0] == 1
        assert codec().decode(blob, REDIS_KEY) == value

    @pytest.mark.parametrize(
        "text",
        [b"-", b"--1", b"-0", b"00", b"007", b"00123", b"12x", b"1 ", b"1\n", b"1_000", b"1.5", b"1e3",
         b"- 1", b"+1", b" 1", b"\xd9\xa1", b"9" * 5000, b"null", b"1\0"],
    )  # fmt: skip
    def test_integer__not_canonical(self, text):
        """Text that Redis would not have written for an integer is refused."""
        with pytest.raises(Undecodable):
            codec().decode(text, REDIS_KEY)


class TestRoundTrip:
    @given(plain_values)
    @few
    def test_pickle__any_plain_value(self, value):
        """pickle gives back what was stored."""
        assert round_trip(value) == value

    @given(plain_values)
    @few
    def test_msgpack__any_plain_value(self, value):
        """msgpack gives back plain values."""
        assert round_trip(value, serializer="msgpack") == value

    @given(plain_values)
    @few
    def test_json__any_plain_value(self, value):
        """JSON gives back plain values."""
        assert round_trip(value, serializer="json") == value

    @given(st.binary(max_size=4000), st.binary(min_size=1, max_size=40), st.integers(0, 2000))
    @few
    def test_pickle__any_bytes_any_key(self, value, redis_key, threshold):
        """Any bytes under any Redis key come back, compressed or not."""
        chosen = codec(compress_threshold=threshold)

        assert chosen.decode(chosen.encode(value, redis_key), redis_key) == value

    @pytest.mark.parametrize(
        "value",
        [
            None,
            (),
            (1, ("a", None)),
            {1, 2},
            b"bytes",
            1.5,
            math.inf,
            datetime.datetime(2026, 1, 5, 10, 0, tzinfo=datetime.UTC),
            datetime.timedelta(hours=1),
            decimal.Decimal("1250.50"),
            uuid.UUID(int=7),
            CAMPAIGN,
            "large " * 1000,
        ],
        ids=repr,
    )
    def test_pickle__types(self, value):
        """pickle keeps types that the other formats do not have."""
        result = round_trip(value)

        assert result == value
        assert type(result) is type(value)

    @pytest.mark.parametrize("serializer", ["msgpack", "json"])
    def test_msgspec__tuple(self, serializer):
        """A tuple comes back as a list from the formats that have no tuples."""
        assert round_trip((1, (2,)), serializer=serializer) == [1, [2]]

    @pytest.mark.parametrize("serializer", ["pickle", "msgpack", "json"])
    @pytest.mark.parametrize("value", [None, True, "", [], {}, Status.ACTIVE])
    def test_every_serializer__falsy_and_small(self, serializer, value):
        """None, booleans and empty values are values like others."""
        assert round_trip(value, serializer=serializer) == value

    def test_decode__written_with_another_serializer(self):
        """A change of serializer, compression or threshold leaves old values readable."""
        for fields in ({}, {"serializer": "msgpack"}, {"serializer": "json"}, {"compress_threshold": 0}):
            blob = codec(**fields).encode(CAMPAIGN, REDIS_KEY)
            for others in ({}, {"serializer": "json", "compress": False}):
                assert codec(**others).decode(blob, REDIS_KEY) == CAMPAIGN


class TestUnserializable:
    def test_pickle__error_of_pickle(self):
        """What pickle cannot take raises pickle's own error, as with Django's backends."""
        with pytest.raises((pickle.PicklingError, AttributeError, TypeError)) as caught:
            codec().encode(lambda: None, REDIS_KEY)
        assert not isinstance(caught.value, CallCacheError)

    @pytest.mark.parametrize("serializer", ["msgpack", "json"])
    def test_msgspec__error_of_msgspec(self, serializer):
        """What msgspec cannot take raises TypeError."""
        with pytest.raises(TypeError):
            codec(serializer=serializer).encode(object(), REDIS_KEY)


class TestUnloadable:
    @pytest.mark.parametrize(
        "error", [ImportError("gone"), AttributeError("gone"), RecursionError(), KeyError(1)]
    )
    def test_loads__fails(self, error):
        """A sealed value that fails to load, for whatever reason, is undecodable, with its cause."""
        blob = codec().encode(Unloadable(error), REDIS_KEY)

        with pytest.raises(Undecodable) as caught:
            codec().decode(blob, REDIS_KEY)

        assert type(caught.value.__cause__) is type(error)
        assert "gone" not in str(caught.value)

    def test_loads__fails_after_compression(self):
        """The same holds for a compressed value."""
        blob = codec().encode(["pad " * 1000, Unloadable(ImportError("gone"))], REDIS_KEY)

        with pytest.raises(Undecodable):
            codec().decode(blob, REDIS_KEY)

    @pytest.mark.parametrize("padding", ["", "pad " * 1000])
    def test_loads__out_of_memory(self, padding):
        """Running out of memory says nothing about the value and is not hidden."""
        blob = codec().encode([padding, Unloadable(MemoryError())], REDIS_KEY)

        with pytest.raises(MemoryError):
            codec().decode(blob, REDIS_KEY)


class TestCompression:
    def test_compress__from_threshold(self):
        """Compression begins at the threshold in serialized bytes, and only where it is on."""
        value = "a" * 500
        size = len(pickle.dumps(value, 5))

        assert codec(compress_threshold=size + 1).encode(value, REDIS_KEY)[1] == 0
        assert codec(compress_threshold=size).encode(value, REDIS_KEY)[1] == 1
        assert codec(compress_threshold=0, compress=False).encode(value, REDIS_KEY)[1] == 0

    @given(st.binary(max_size=400), st.integers(1, 20))
    @few
    def test_compress__never_larger(self, noise, repeats):
        """A stored value is never larger for having been compressed."""
        value = noise * repeats

        compressed = codec(compress_threshold=0).encode(value, REDIS_KEY)
        plain = codec(compress=False).encode(value, REDIS_KEY)

        assert len(compressed) <= len(plain)
        assert compressed[1] == (len(compressed) < len(plain))

    def test_compress__incompressible(self):
        """What does not shrink is stored plain."""
        value = random.Random(7).randbytes(100_000)

        assert codec().encode(value, REDIS_KEY)[1] == 0
        assert round_trip(value) == value

    def test_threads__share_one_codec(self):
        """Threads that share a codec get their own values back."""
        shared = codec(compress_threshold=0)
        wrong = []
        start = threading.Barrier(8)

        def work(number):
            start.wait()
            for turn in range(150):
                value = {"thread": number, "turn": turn, "text": f"{number}-{turn} " * 3000}
                key = b"crm:1:%d:%d" % (number, turn)
                if shared.decode(shared.encode(value, key), key) != value:
                    wrong.append((number, turn))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert wrong == []


class TestLimits:
    def test_value__too_large(self):
        """A value over max_value_bytes is refused, exactly at the bound, with a message that has no value."""
        value = random.Random(7).randbytes(2000)
        size = len(codec().encode(value, REDIS_KEY))

        assert len(codec(max_value_bytes=size).encode(value, REDIS_KEY)) == size
        for compress in (True, False):
            with pytest.raises(ValueTooLarge, match=f"{size:,}.*{size - 1:,}"):
                codec(max_value_bytes=size - 1, compress=compress).encode(value, REDIS_KEY)

    def test_value__small_bound(self):
        """The bound holds for small values too."""
        with pytest.raises(ValueTooLarge):
            codec(max_value_bytes=20).encode("", REDIS_KEY)

    def test_value__compressed_under_the_bound(self):
        """What counts for max_value_bytes is what lies in Redis."""
        assert round_trip("a" * 100_000, max_value_bytes=2000) == "a" * 100_000

    def test_raw__too_large(self):
        """What no reader would decompress is not written."""
        with pytest.raises(ValueTooLarge, match="max_raw_bytes"):
            codec(max_raw_bytes=50_000).encode("a" * 100_000, REDIS_KEY)

    def test_raw__too_large_for_this_reader(self):
        """A reader with a lower bound refuses before it decompresses."""
        blob = codec().encode("a" * 100_000, REDIS_KEY)

        with pytest.raises(Undecodable, match="max_raw_bytes"):
            codec(max_raw_bytes=50_000).decode(blob, REDIS_KEY)


class TestTagged:
    STAMPS = (b"\0" * 8, b"stamp--1", b"\xff" * 8)

    @pytest.mark.parametrize("value", ["small", "large " * 1000, 7, None])
    def test_tagged__round_trip(self, value):
        """Stamps come back with the value, and a reader that does not ask for them gets the value."""
        blob = codec().encode_tagged(value, REDIS_KEY, self.STAMPS)

        assert codec().decode_tagged(blob, REDIS_KEY) == Tagged(value, self.STAMPS)
        assert codec().decode(blob, REDIS_KEY) == value
        assert codec().read(blob, REDIS_KEY) == Tagged(value, self.STAMPS)
        assert codec().read(codec().encode(value, REDIS_KEY), REDIS_KEY) == value

    def test_tagged__no_stamps(self):
        """Without stamps the blob is that of any value, and reading finds none."""
        blob = codec().encode_tagged("value", REDIS_KEY, ())

        assert blob == codec().encode("value", REDIS_KEY)
        assert codec().decode_tagged(blob, REDIS_KEY) == Tagged("value", ())
        assert codec().decode_tagged(b"7", REDIS_KEY) == Tagged(7, ())

    def test_tagged__most_stamps(self):
        """A blob takes 255 stamps, and no more."""
        stamps = [number.to_bytes(8, "big") for number in range(256)]
        blob = codec().encode_tagged("value", REDIS_KEY, stamps[:255])

        assert codec().decode_tagged(blob, REDIS_KEY).stamps == tuple(stamps[:255])
        with pytest.raises(ValueError, match="255"):
            codec().encode_tagged("value", REDIS_KEY, stamps)

    def test_tagged__stamp_of_another_length(self):
        """A stamp has eight bytes."""
        with pytest.raises(ValueError, match="8 bytes"):
            codec().encode_tagged("value", REDIS_KEY, [b"short"])


class TestAlias:
    def test_alias__zero_byte(self):
        """An alias with a zero byte would blur where the key begins."""
        with pytest.raises(ValueError, match="zero byte"):
            codec("a\0b")

    def test_alias__any_text(self):
        """An alias may be any text."""
        chosen = codec("caché")

        assert chosen.decode(chosen.encode("value", REDIS_KEY), REDIS_KEY) == "value"
