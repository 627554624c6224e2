"""zstd (RFC 8878) with objects that are kept, one set a thread; with trained dictionaries or without.

The face of the ``zstandard`` library. A new object per call costs 17 us more in each direction; sharing one
between threads corrupts it, since the library lets go of the GIL. What zstd digests of a dictionary is never
written to again, and threads do share it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import blake2b

import zstandard

from django_callcache.exceptions import Undecodable

MAX_LEVEL: int = zstandard.MAX_COMPRESSION_LEVEL

DICTIONARY_ID_BYTES = 4
MIN_DICTIONARY_BYTES = 256
"""The library trains nothing smaller (zdict.h, ``ZDICT_DICTSIZE_MIN``)."""
MAX_DICTIONARY_BYTES = 128 * 1024
"""Above it nothing is gained: zdict.h calls 100 KB a reasonable size for samples of any kind."""

_MAGIC: bytes = zstandard.FRAME_HEADER
_IDENTIFICATION = b"callcache.zdict1"


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
    return _decompressed(_contexts.decompressor, frame, raw_length)


class Dictionary:
    """A trained dictionary. Any number of threads may share one.

    Its frames lack what the header of a value says anyway: zstd's magic number and the dictionary's id.

    Args:
        data: A dictionary in zstd's own format (RFC 8878, section 5).

    Raises:
        Undecodable: It is none.
    """

    __slots__ = ("_by_level", "_contexts", "data", "id")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.id = blake2b(data, digest_size=DICTIONARY_ID_BYTES, person=_IDENTIFICATION).digest()
        """Made of the content, so that a dictionary is never taken for another."""
        self._by_level: dict[int, zstandard.ZstdCompressionDict] = {}
        try:
            digested = zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)
            # The first use digests it, which two threads must not do at once.
            zstandard.ZstdDecompressor(dict_data=digested).decompress(_EMPTY_FRAME)
        except zstandard.ZstdError as error:
            raise Undecodable("this is no zstd dictionary") from error
        self._contexts = _DictionaryContexts(digested)

    def __repr__(self) -> str:
        return f"<Dictionary {self.id.hex()}>"

    def compress(self, raw: bytes, level: int) -> bytes:
        """Compress to a frame that only this dictionary opens."""
        compressors = self._contexts.compressors
        compressor = compressors.get(level)
        if compressor is None:
            compressor = compressors[level] = zstandard.ZstdCompressor(
                level=level, dict_data=self._digested_for(level), write_dict_id=False
            )
        return compressor.compress(raw)[len(_MAGIC) :]

    def decompress(self, frame: bytes, raw_length: int) -> bytes:
        """Decompress one whole frame; see `decompress` of this module."""
        return _decompressed(self._contexts.decompressor, _MAGIC + frame, raw_length)

    def _digested_for(self, level: int) -> zstandard.ZstdCompressionDict:
        digested = self._by_level.get(level)
        if digested is None:
            digested = zstandard.ZstdCompressionDict(self.data, dict_type=zstandard.DICT_TYPE_FULLDICT)
            digested.precompute_compress(level=level)
            digested = self._by_level.setdefault(level, digested)
        return digested


class _DictionaryContexts(threading.local):
    """The zstd objects of one thread for one dictionary; they go when the dictionary does."""

    def __init__(self, digested: zstandard.ZstdCompressionDict) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor(dict_data=digested)


_EMPTY_FRAME = zstandard.ZstdCompressor().compress(b"")


def train(samples: Sequence[bytes], size: int) -> Dictionary:
    """Train a dictionary.

    Args:
        samples: What is to be compressed: a hundred or more, each as short as the values will be.
        size: Bytes that the dictionary may have.

    Raises:
        ValueError: There are too few samples, or they are too much alike or too short to learn from.
    """
    try:
        return Dictionary(zstandard.train_dictionary(size, list(samples)).as_bytes())
    except zstandard.ZstdError as error:
        raise ValueError(f"zstd cannot make a dictionary of these samples: {error}") from error


def _decompressed(decompressor: zstandard.ZstdDecompressor, frame: bytes, raw_length: int) -> bytes:
    try:
        if zstandard.frame_content_size(frame) != raw_length:
            raise Undecodable("the zstd frame and the header disagree about the length")
        return decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Undecodable("the zstd frame is broken") from error
