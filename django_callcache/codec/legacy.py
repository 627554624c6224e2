"""Values that Django's ``RedisCache`` or django-redis left at the same keys, read after a change of backend.

Nothing proves who wrote them: they have no seal. So they are taken only where the settings say so, and
pickles, which run what they name, only where the settings say that too. What begins as a value of ours is
never taken for one of theirs. Values compressed by lz4 are not read.
"""

from __future__ import annotations

import json
import lzma
import pickle
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any, Self

import msgspec
import zstandard

from django_callcache.codec.blob import FORMATS
from django_callcache.codec.codec import Codec
from django_callcache.codec.guarded import GuardedCodec
from django_callcache.codec.integers import INTEGER_STARTS, integer
from django_callcache.codec.loading import unloadable
from django_callcache.exceptions import Undecodable, ValueTooLarge

_PICKLE = b"\x80"
"""How pickles of protocol 2 and later begin; a msgpack value that begins so is nothing but this byte."""

_FORMATS = frozenset(bytes((value_format,)) for value_format in FORMATS)

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class LegacyValues:
    """Reads what other backends wrote.

    Args:
        pickles: Whether pickles are loaded, beside JSON and msgpack.
        max_raw_bytes: Bytes that a value may have after decompression.
    """

    def __init__(self, *, pickles: bool, max_raw_bytes: int) -> None:
        self._pickles = pickles
        self._max_raw_bytes = max_raw_bytes

    def load(self, blob: bytes) -> Any:
        """Return the value.

        Raises:
            Undecodable: These are no bytes of another backend, or none that may be read.
        """
        if not is_foreign(blob):
            raise Undecodable("the value is not sealed by a known key")
        try:
            raw = self._decompressed(blob)
            if raw[:1] == _PICKLE and len(raw) > 1:
                return self._load_pickle(raw)
            return _load_plain(raw)
        except Exception as error:
            raise unloadable(error) from error

    def _load_pickle(self, raw: bytes) -> Any:
        if not self._pickles:
            raise Undecodable('pickles are read with READ_LEGACY "pickle" only')
        return pickle.loads(raw)  # noqa: S301 - the settings ask for it, and a check warns of it

    def _decompressed(self, blob: bytes) -> bytes:
        """What a value was before django-redis compressed it."""
        limit = self._max_raw_bytes + 1
        raw = blob
        for magic, decompress in _COMPRESSIONS.items():
            if blob.startswith(magic):
                raw = decompress(blob, limit)
        if len(raw) >= limit:
            raise Undecodable(f"the value exceeds max_raw_bytes, {self._max_raw_bytes:,}")
        return raw


class LegacyCodec(Codec):
    """A codec that also reads what another backend left. It has no slots, so that it can be mixed in."""

    _legacy: LegacyValues
    _writes: bool

    def adopt(self, legacy: LegacyValues, *, writes: bool) -> Self:
        """Take over the values of another backend; return this codec.

        Args:
            legacy: Reads them.
            writes: Whether new values are written as theirs, without a seal, so that processes which still
                run the other backend can read them.
        """
        self._legacy, self._writes = legacy, writes
        return self

    def encode(self, value: object, redis_key: bytes) -> bytes:
        """See `Codec.encode`."""
        if not self._writes or type(value) is int:
            return super().encode(value, redis_key)
        payload = self._dumps(value)
        if len(payload) > self._encoding.max_value_bytes:
            raise ValueTooLarge(
                f"{len(payload):,} bytes exceed max_value_bytes, {self._encoding.max_value_bytes:,}"
            )
        return payload

    def encode_alike(self, value: object, redis_key: bytes) -> bytes:
        """See `Codec.encode_alike`; members of collections are always sealed."""
        return self._encode_with_care(self._header[0], self._dumps(value), redis_key, (), None)

    def read(self, blob: bytes, redis_key: bytes) -> Any:
        """See `Codec.read`. Members of collections, which have no key, are not read where they are theirs."""
        try:
            return super().read(blob, redis_key)
        except Undecodable:
            if not redis_key:
                raise
            return self._legacy.load(blob)

    def opened(self, blob: bytes, redis_key: bytes) -> tuple[Callable[[bytes], Any], bytes]:
        """See `Codec.opened`."""
        if is_foreign(blob):
            return self._legacy.load, blob
        return super().opened(blob, redis_key)

    def is_current(self, start: bytes) -> bool:
        """See `Codec.is_current`; what may be theirs has to be looked at whole."""
        return start[:1] in _FORMATS and super().is_current(start)

    def resealed(self, blob: bytes, redis_key: bytes) -> bytes | None:
        """See `Codec.resealed`; theirs become ours, unless new values are written as theirs."""
        if not redis_key or not is_foreign(blob):
            return super().resealed(blob, redis_key)
        value = self._legacy.load(blob)
        return None if self._writes else super().encode(value, redis_key)


class LegacyGuardedCodec(GuardedCodec, LegacyCodec):
    """The same for prefixes whose values are checked before they are stored."""


def is_foreign(blob: bytes) -> bool:
    """Tell bytes that no release of ours has written as a value."""
    if not blob or blob[0] in FORMATS:
        return False
    if blob[0] not in INTEGER_STARTS:
        return True
    try:
        integer(blob)
    except Undecodable:
        return True
    return False


def _load_plain(raw: bytes) -> Any:
    """JSON, else msgpack. No msgpack but that of a number is text that JSON could be."""
    try:
        return json.loads(raw.decode())
    except ValueError:
        value = msgspec.msgpack.decode(raw)
        if type(value) is int:  # those lie as digits, so these are stray bytes
            raise Undecodable("the bytes are no value") from None
        return value


def _inflate(blob: bytes, limit: int) -> bytes:
    return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(blob, limit)


def _unpack_lzma(blob: bytes, limit: int) -> bytes:
    return lzma.LZMADecompressor().decompress(blob, limit)


def _unpack_zstd(blob: bytes, limit: int) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(BytesIO(blob)) as reader:
        return bytes(reader.read(limit))


_COMPRESSIONS = {
    b"\x78": _inflate,
    b"\x1f\x8b": _inflate,
    b"\xfd7zXZ\x00": _unpack_lzma,
    b"\x28\xb5\x2f\xfd": _unpack_zstd,
}
"""What django-redis's compressors write, by how it begins."""
