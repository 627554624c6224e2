"""zstd (RFC 8878) with objects that are kept, one set a thread.

The face of the ``zstandard`` library. A new object per call costs 17 us more in each direction; sharing one
between threads corrupts it, since the library lets go of the GIL.
"""

from __future__ import annotations

import threading

import zstandard

from django_callcache.exceptions import Undecodable

MAX_LEVEL: int = zstandard.MAX_COMPRESSION_LEVEL


class _Contexts(threading.local):
    """The zstd objects of one thread."""

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()


_contexts = _Contexts()


def compress(raw: bytes, level: int) -> bytes:
    """Compress to one frame that states the length of what it holds."""
    compressors = _contexts.compressors
    compressor = compressors.get(level)
    if compressor is None:
        compressor = compressors[level] = zstandard.ZstdCompressor(level=level)
    return compressor.compress(raw)


def decompress(frame: bytes, raw_length: int) -> bytes:
    """Decompress one whole frame.

    Args:
        frame: The frame and nothing after it.
        raw_length: What it must come to. The library allocates what the frame states, so the two are
            compared first; whether it is too much is for the caller to say before.

    Raises:
        Undecodable: The frame is broken, states another length, or does not state any.
    """
    try:
        if zstandard.frame_content_size(frame) != raw_length:
            raise Undecodable("the zstd frame and the header disagree about the length")
        return _contexts.decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Undecodable("the zstd frame is broken") from error
