"""Whether and how a serialized value is compressed: only where that saves bytes."""

from __future__ import annotations

from typing import NamedTuple

from django_callcache.codec import blob as layout
from django_callcache.codec.compression import Dictionary, compress
from django_callcache.codec.encoding import Encoding

DICTIONARY_REACH = 64 * 1024
"""Serialized bytes above which a dictionary is not used: the tables made for it are small, and a large value
compresses better without."""
DICTIONARY_COSTS = 8
"""Bytes that id and length add to a value compressed with a dictionary."""


class Compressed(NamedTuple):
    """A serialized value, compressed where that saves bytes."""

    flags: int
    extension: bytes
    """What the flags add to the header."""
    payload: bytes

    @property
    def stored_bytes(self) -> int:
        """Bytes that the value takes in Redis, header and seal included."""
        return layout.PLAIN_HEADER_BYTES + layout.SEAL_BYTES + len(self.extension) + len(self.payload)


def compressed(raw: bytes, encoding: Encoding, dictionary: Dictionary | None) -> Compressed:
    """Compress what a value was serialized to, with a dictionary or without, where that saves bytes."""
    length = len(raw).to_bytes(4, "big")
    if dictionary is not None and len(raw) <= DICTIONARY_REACH:
        frame = dictionary.compress(raw, encoding.compress_level)
        if DICTIONARY_COSTS + len(frame) < len(raw):
            return Compressed(layout.ZSTD | layout.DICTIONARY, dictionary.id + length, frame)
    if encoding.compress and len(raw) >= encoding.compress_threshold:
        frame = compress(raw, encoding.compress_level)
        if len(length) + len(frame) < len(raw):
            return Compressed(layout.ZSTD, length, frame)
    return Compressed(0, b"", raw)
