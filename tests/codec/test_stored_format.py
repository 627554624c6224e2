"""Blobs as they were first written: every release must read them, or users lose their caches."""

from __future__ import annotations

import datetime
from hashlib import blake2b

import pytest

from django_callcache.codec import Codec, Dictionaries, Dictionary, DictionaryRecords, Encoding, KeyRing

REDIS_KEY = b"crm:1:campaign:7"
SECRETS = ["stored format: first", "stored format: second"]
CODEC = Codec("default", KeyRing(SECRETS), Encoding())
REPETITIVE = "outcome=answered;" * 8

STORED = [
    (
        "pickle",
        "0100bfe68005953e000000000000007d94288c026964944b078c046e616d65948c1243616d7061c3b161206465206f746fc3b1"
        "6f948c0474616773948c0161944e86948c046f70656e9488752ec61dee8dbeeadb493c90aa75a1b1f693",
        {"id": 7, "name": "Campaña de otoño", "tags": ("a", None), "open": True},
    ),
    ("None", "0100bfe680054e2ede3d822e05f02563fa16d4a25c4c2658", None),
    ("True", "0100bfe68005882ecfc05bafbebce3b47cdbd985de7c6240", True),
    (
        "datetime",
        "0100bfe680059557000000000000008c086461746574696d65948c086461746574696d65949394430a07ea01050a0000000000"
        "9468008c0874696d657a6f6e6594939468008c0974696d6564656c74619493944b004b004b008794529485945294869452942e"
        "44c4bf2de6fcf5ddd3403a65828172ee",
        datetime.datetime(2026, 1, 5, 10, 0, tzinfo=datetime.UTC),
    ),
    (
        "second secret",
        "01006cc680059509000000000000008c0576616c7565942e432d00f407c546b828db3c2461b25ffc",
        "value",
    ),
    (
        "msgpack",
        "0200bfe683a2696407a5726174696fcb3fe0000000000000a47461677392a161c031c3588dc40bf279ce28aeb8864a605d",
        {"id": 7, "ratio": 0.5, "tags": ["a", None]},
    ),
    (
        "json",
        "0300bfe67b226964223a372c22726174696f223a302e352c2274616773223a5b22c3b1222c6e756c6c5d7d850f09e766ec1431"
        "468d12e2151713bc",
        {"id": 7, "ratio": 0.5, "tags": ["ñ", None]},
    ),
    (
        "pickle, zstd",
        "0101bfe60000009728b52ffd20971d0100d08005958c008c886f7574636f6d653d616e7377657265643b942e020029cd1430f0"
        "06cb2f479a4745fe192d024d0911b2b572",
        REPETITIVE,
    ),
    (
        "msgpack, zstd",
        "0201bfe60000008a28b52ffd208ad5000098d9886f7574636f6d653d616e7377657265643b010029a5330c2e7caf4e646813e6"
        "88e7abff96fd82a1",
        REPETITIVE,
    ),
    (
        "json, zstd",
        "0301bfe60000008a28b52ffd208ad5000098226f7574636f6d653d616e7377657265643b22010028a5330c007bba4b56383610"
        "dfa5e07ab3870f46",
        REPETITIVE,
    ),
    (
        "tags",
        "0108bfe6027374616d702d2d317374616d702d2d3280059509000000000000008c0576616c7565942e5dfc1cf8d4a5b17253a9"
        "b996fbab5e40",
        "value",
    ),
    ("tagged integer", "0108bfe6017374616d702d2d3180054b072e42b01c98d85b81e943c6f6d3ffa7ceba", 7),
    (
        "tags, zstd",
        "0109bfe600000097017374616d702d2d3128b52ffd20971d0100d08005958c008c886f7574636f6d653d616e7377657265643b"
        "942e020029cd1430f006869e3b846315b0019d89464d3c68de8f",
        REPETITIVE,
    ),
    ("integer", "31313830353931363230373137343131333033343234", 2**70),
    ("negative integer", "2d35", -5),
]

DICTIONARY = bytes.fromhex(
    "37a430ecb6ce1c764f107847d436ccc04215508006f60f5d8f5254dc2c8a612676d18e02d03ae568005d0ed70e313c21988cb5"
    "6704c19f9819c69e4914d80232fa9741d22db2bbfb0422998594548fff8df1db8c5ffb192413050000000000d40e0000000440"
    "02421101152821134864f1082106201083852003000000b00c000000000000000024674d0361e0e6a1623818a50349d0020000"
    "00000000000100000004000000080000006e67948c08617474656d707473944b008c05736378616d706c652e6f7267948c0863"
    "616d706169676e944b948c06737461747573948c08616e737765726564948c0861747465948c13323032362d30312d31395432"
    "303a33333a3137948c0474616773945d94288c036e6577948c057265747279948c03763736323139948c05656d61696c948c15"
    "6d6172c3ad61393938406578616d"
)
WITH_DICTIONARY = bytes.fromhex(
    "0103bfe67015dc2d0000005820583d020003440e5637d5c044da764c7a4a266d67d311f1931e53906e1b751a09859f46d1c75f"
    "24ef84d0d163d2727807ea4189318d361c3d1030214185c42a0c03fc07e6bf97dce9465b02159c74959cef9b239f2bc304fe41"
    "f51c"
)
CURRENT = bytes.fromhex("0200bfe681a56c6561643ac4047015dc2dae26a6c3252bc582d0effbf399e71e63")


class TestStoredFormat:
    @pytest.mark.parametrize(("stored", "value"), [row[1:] for row in STORED], ids=[row[0] for row in STORED])
    def test_decode__first_release(self, stored, value):
        """What the first release wrote is read."""
        result = CODEC.decode(bytes.fromhex(stored), REDIS_KEY)

        assert result == value
        assert type(result) is type(value)

    def test_decode__dictionary(self):
        """What was first written with a dictionary is read, and the dictionary has the name it had."""
        dictionaries = Dictionaries()
        dictionaries.learn(Dictionary(DICTIONARY))
        codec = Codec("default", KeyRing(SECRETS), Encoding(), dictionaries)
        records = DictionaryRecords("default", KeyRing(SECRETS), b"callcache@crm:dictionaries")

        assert codec.decode(WITH_DICTIONARY, REDIS_KEY) == {
            "id": 7,
            "name": "Ana García",
            "status": "pending",
            "active": True,
            "tags": ("vip",),
        }
        assert records.open_current(CURRENT) == {"lead:": bytes.fromhex("7015dc2d")}
        assert records.seal(Dictionary(DICTIONARY))[-16:].hex() == "a6f591d9d81112f2c626083c42abfae3"

    def test_decode_tagged__first_release(self):
        """The stamps that the first release wrote are read."""
        stamps = {
            name: CODEC.decode_tagged(bytes.fromhex(stored), REDIS_KEY).stamps for name, stored, _ in STORED
        }

        assert stamps.pop("tags") == (b"stamp--1", b"stamp--2")
        assert stamps.pop("tagged integer") == stamps.pop("tags, zstd") == (b"stamp--1",)
        assert set(stamps.values()) == {()}

    def test_decode__zero_byte_in_the_key(self):
        """The stand-in for a key with a zero byte is the one the first release used."""
        stored = "0100bfe680059509000000000000008c0576616c7565942efdf8b34958b1c54795618a7f36ab82dc"

        assert CODEC.decode(bytes.fromhex(stored), b"crm:1:a\0b") == "value"

    def test_decode__another_alias(self):
        """The alias enters the seal as UTF-8."""
        stored = "0100bfe680059509000000000000008c0576616c7565942e1a283f9cf090521e716e5420930692a0"

        assert (
            Codec("sesión", KeyRing(SECRETS), Encoding()).decode(bytes.fromhex(stored), REDIS_KEY) == "value"
        )

    @pytest.mark.parametrize(
        ("header_length", "fields", "value"),
        [(4, {}, "value"), (8, {"compress_threshold": 0}, REPETITIVE)],
        ids=["plain", "zstd"],
    )
    def test_encode__seal_by_hand(self, header_length, fields, value):
        """The seal covers header, alias, zero, Redis key, zero and payload."""
        blob = Codec("default", KeyRing(SECRETS), Encoding(**fields)).encode(value, REDIS_KEY)
        header, payload, seal = blob[:header_length], blob[header_length:-16], blob[-16:]

        material = blake2b(SECRETS[0].encode()).digest()
        key = blake2b(key=material, digest_size=32, person=b"callcache.seal1").digest()
        covered = header + b"default" + b"\0" + REDIS_KEY + b"\0" + payload

        assert seal == blake2b(covered, key=key, digest_size=16).digest()
