"""The layout of a stored value that is not a plain integer, and how it is taken apart.

    byte 0       format: 1 pickle protocol 5, 2 msgpack, 3 JSON; never a digit or a minus sign
    byte 1       flags: 1 zstd, 2 dictionary, 4 AEAD, 8 tags
    bytes 2-3    id of the key that sealed it
    [4 bytes]    id of the zstd dictionary, with the dictionary flag
    [4 bytes]    length before compression, with the zstd flag
    [1 + 8n]     number of tag stamps and the stamps, with the tags flag
    payload      with the AEAD flag a nonce of 12 bytes, then the ciphertext
    last 16      seal: see ``django_callcache.codec.sealing``; with the AEAD flag the tag of AES-256-GCM,
                 whose associated data is what the seal takes in before the payload

The payload of a value with a dictionary is a zstd frame without its magic number. Numbers are big endian.
Whatever comes before the payload is the header; its own first bytes say where it ends. Taking a blob apart
proves nothing about it: only its seal does.
"""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import NamedTuple

from django_callcache.exceptions import Undecodable

PICKLE = 1
MSGPACK = 2
JSON = 3
FORMATS = frozenset((PICKLE, MSGPACK, JSON))

ZSTD = 1
DICTIONARY = 2
AEAD = 4
TAGS = 8
KNOWN_FLAGS = ZSTD | DICTIONARY | AEAD | TAGS

PLAIN_HEADER_BYTES = 4
"""Length of a header without flags."""
START_BYTES = 8
"""As much of a value as tells which dictionary it needs."""
KEY_ID = slice(2, 4)
SEAL_BYTES = 16
NONCE_BYTES = 12
STAMP_BYTES = 8
MAX_STAMPS = 255
MAX_RAW_LENGTH = 2**32 - 1


class Blob(NamedTuple):
    """The parts of a stored value, none of them verified."""

    format: int
    flags: int
    key_id: bytes
    dictionary_id: bytes | None
    raw_length: int | None
    """Bytes before compression; None where nothing was compressed."""
    stamps: tuple[bytes, ...]
    header: bytes
    payload: bytes
    seal: bytes


def parse(blob: bytes) -> Blob:
    """Take a stored value apart.

    Raises:
        Undecodable: Format or flags are unknown, contradict each other, or the bytes end too soon.
    """
    end = len(blob) - SEAL_BYTES
    if end < PLAIN_HEADER_BYTES:
        raise Undecodable(f"{len(blob)} bytes are too few for a sealed value")
    value_format, flags = blob[0], blob[1]
    _refuse_unknown(value_format, flags)
    position = PLAIN_HEADER_BYTES
    dictionary_id = raw_length = None
    stamps: tuple[bytes, ...] = ()
    if flags & DICTIONARY:
        dictionary_id = blob[position : position + 4]
        position += 4
    if flags & ZSTD:
        raw_length = int.from_bytes(blob[position : position + 4], "big")
        position += 4
    if flags & TAGS:
        if position >= end:
            raise Undecodable("the header is cut short")
        number, first = blob[position], position + 1
        position = first + STAMP_BYTES * number
        if position <= end:
            stamps = stamps_at(blob, first, number)
    if position > end:
        raise Undecodable("the header is cut short")
    return Blob(
        format=value_format,
        flags=flags,
        key_id=blob[KEY_ID],
        dictionary_id=dictionary_id,
        raw_length=raw_length,
        stamps=stamps,
        header=blob[:position],
        payload=blob[position:end],
        seal=blob[end:],
    )


def stamps_at(blob: bytes, first: int, number: int) -> tuple[bytes, ...]:
    """Return some stamps that lie behind one another."""
    return _stamps_of(number).unpack_from(blob, first)


@cache
def _stamps_of(number: int) -> Struct:
    return Struct(f"{STAMP_BYTES}s" * number)


def dictionary_id_of(start: bytes) -> bytes | None:
    """Return the id of the dictionary that a value says it needs, by its first `START_BYTES`, unverified."""
    if len(start) < START_BYTES or start[0] not in FORMATS or not start[1] & DICTIONARY:
        return None
    return start[PLAIN_HEADER_BYTES:START_BYTES]


def stamped_header(start: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the header that a value begins with, and the stamps of its tags, unverified.

    Both are empty for a value without tags, and where the start is too short to hold them.
    """
    if len(start) < PLAIN_HEADER_BYTES or start[0] not in FORMATS or not start[1] & TAGS:
        return b"", ()
    number_at = PLAIN_HEADER_BYTES + 4 * bool(start[1] & DICTIONARY) + 4 * bool(start[1] & ZSTD)
    first = number_at + 1
    end = first + STAMP_BYTES * (start[number_at] if number_at < len(start) else MAX_STAMPS)
    if end > len(start):
        return b"", ()
    return start[:end], stamps_at(start, first, start[number_at])


def _refuse_unknown(value_format: int, flags: int) -> None:
    if value_format not in FORMATS:
        raise Undecodable(f"format {value_format} is unknown")
    if flags & ~KNOWN_FLAGS:
        raise Undecodable(f"flags {flags:#04x} are unknown")
    if flags & DICTIONARY and not flags & ZSTD:
        raise Undecodable("a dictionary without zstd makes no sense")
