"""Taking a stored value apart."""

from __future__ import annotations

import pytest

from django_callcache.codec import blob
from django_callcache.exceptions import Undecodable

SEAL = bytes(range(200, 216))


class TestParse:
    def test_parse__no_flags(self):
        """Without flags the payload follows the key id."""
        parts = blob.parse(b"\x02\x00\xab\xcdpayload" + SEAL)

        assert parts == blob.Blob(
            format=blob.MSGPACK,
            key_id=b"\xab\xcd",
            dictionary_id=None,
            raw_length=None,
            flags=0,
            stamps=(),
            header=b"\x02\x00\xab\xcd",
            payload=b"payload",
            seal=SEAL,
        )

    def test_parse__every_field(self):
        """Dictionary id, raw length and stamps stand in this order between key id and payload."""
        header = b"\x01\x0b\xab\xcd" + b"DICT" + b"\x00\x01\x02\x03" + b"\x02" + b"stamp--1" + b"stamp--2"

        parts = blob.parse(header + b"payload" + SEAL)

        assert parts.dictionary_id == b"DICT"
        assert parts.raw_length == 0x010203
        assert parts.stamps == (b"stamp--1", b"stamp--2")
        assert (parts.header, parts.payload, parts.seal) == (header, b"payload", SEAL)

    def test_parse__empty_payload(self):
        """A payload may be empty; that it cannot be loaded is not for the layout to say."""
        assert blob.parse(b"\x03\x00\x00\x00" + SEAL).payload == b""

    @pytest.mark.parametrize("value_format", [0, 4, 5, 0x7F, 0x80, 0xFF])
    def test_parse__unknown_format(self, value_format):
        """An unknown format is refused."""
        with pytest.raises(Undecodable, match="format"):
            blob.parse(bytes((value_format, 0)) + b"\xab\xcdpayload" + SEAL)

    @pytest.mark.parametrize("flags", [0x10, 0x20, 0x40, 0x80, 0x11, 0xFF])
    def test_parse__unknown_flag(self, flags):
        """An unknown flag is refused, whatever stands beside it."""
        with pytest.raises(Undecodable, match="flags"):
            blob.parse(bytes((1, flags)) + b"\xab\xcdpayload" + SEAL)

    def test_parse__encrypted(self):
        """The nonce of an encrypted value is the beginning of its payload."""
        parts = blob.parse(b"\x01\x04\xab\xcd" + b"n" * 12 + b"ciphertext" + SEAL)
        assert parts.flags == blob.AEAD
        assert parts.payload == b"n" * 12 + b"ciphertext"

    def test_parse__dictionary_without_zstd(self):
        """A dictionary without compression contradicts itself."""
        with pytest.raises(Undecodable, match="dictionary"):
            blob.parse(b"\x01\x02\xab\xcdpayload" + SEAL)

    @pytest.mark.parametrize(
        "header",
        [
            b"\x01\x01\xab\xcd\x00\x00",
            b"\x01\x03\xab\xcdDICT\x00",
            b"\x01\x08\xab\xcd",
            b"\x01\x08\xab\xcd\xffstamp--1",
            b"\x01\x0b\xab\xcdDICT\x00\x00\x00\x09\x02stamp--1",
        ],
    )
    def test_parse__header_cut_short(self, header):
        """A header that reaches into the seal is refused."""
        with pytest.raises(Undecodable):
            blob.parse(header + SEAL)

    @pytest.mark.parametrize("length", range(20))
    def test_parse__too_short(self, length):
        """Fewer bytes than header and seal are refused."""
        with pytest.raises(Undecodable, match="too few"):
            blob.parse(b"\x01" * length)
