"""Codec: one cache's values to bytes and back.

A value whose type is exactly ``int`` is stored as decimal text without a seal, so that Redis can count with
it. Everything else is serialized, compressed where that helps, and sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, NamedTuple

from django_callcache.codec import blob as layout
from django_callcache.codec.compression import Dictionary, decompress
from django_callcache.codec.dictionaries import Dictionaries
from django_callcache.codec.encoding import Encoding
from django_callcache.codec.integers import INTEGER_STARTS, integer
from django_callcache.codec.loading import unloadable
from django_callcache.codec.sealer import Sealer
from django_callcache.codec.sealing import KeyRing, sealed_name
from django_callcache.codec.serializers import SERIALIZERS
from django_callcache.codec.shrinking import DICTIONARY_COSTS, DICTIONARY_REACH, Compressed, compressed
from django_callcache.exceptions import Undecodable, ValueTooLarge

_PLAIN_OVERHEAD = layout.PLAIN_HEADER_BYTES + layout.SEAL_BYTES
# Kept slices: making the three of a call anew costs 50 ns.
_HEADER = slice(layout.PLAIN_HEADER_BYTES)
_PAYLOAD = slice(layout.PLAIN_HEADER_BYTES, -layout.SEAL_BYTES)
_SEAL = slice(-layout.SEAL_BYTES, None)
_START = slice(layout.START_BYTES)
_LENGTH = slice(layout.START_BYTES, layout.START_BYTES + 4)
_FRAME = slice(layout.START_BYTES + 4, -layout.SEAL_BYTES)
_FIRST_STAMP = layout.PLAIN_HEADER_BYTES + 1
_BY_DICTIONARY = layout.ZSTD | layout.DICTIONARY
_TOO_SHORT = 32
"""Serialized bytes below which a dictionary is not tried: frame and header alone take 20."""
_LOADS = {serializer.format: serializer.loads for serializer in SERIALIZERS.values()}


class Tagged(NamedTuple):
    """A value and the stamps its tags had when it was written."""

    value: Any
    stamps: tuple[bytes, ...]


class _Writer(NamedTuple):
    """What new values are compressed with."""

    dictionary: Dictionary
    start: bytes
    """The header up to the length."""
    hasher: blake2b
    """Has taken in the start."""
    longest: int
    """Serialized bytes up to which it is used."""


class Codec:
    """Encode and decode the values of one cache alias. Any number of threads may share one.

    Args:
        alias: Name of the cache; part of every seal, so that caches do not read each other's values.
        ring: Keys to seal and verify with.
        encoding: How new values are written. Reading takes only ``max_raw_bytes`` from it.
        dictionaries: What values are read with that were compressed with a dictionary.
        encrypts: Whether values with a header are encrypted; `GuardedCodec` gives every value one.
    """

    lets_redis_count = True
    """Whether Redis may add to the integers by itself."""

    __slots__ = (
        "_dictionaries",
        "_dumps",
        "_encoding",
        "_hasher",
        "_header",
        "_key",
        "_openings",
        "_openings_by_dictionary",
        "_openings_of_tagged",
        "_plain_below",
        "_plain_below_without",
        "_scope",
        "_sealer",
        "_writer",
    )

    def __init__(
        self,
        alias: str,
        ring: KeyRing,
        encoding: Encoding,
        dictionaries: Dictionaries | None = None,
        *,
        encrypts: bool = False,
    ) -> None:
        serializer = SERIALIZERS[encoding.serializer]
        self._encoding = encoding
        self._dictionaries = Dictionaries() if dictionaries is None else dictionaries
        self._writer: _Writer | None = None
        self._sealer = Sealer(alias, ring, encrypts=encrypts)
        self._key = self._sealer.key
        self._dumps = serializer.dumps
        self._scope = self._sealer.scope
        self._header = bytes((serializer.format, 0)) + self._key.id
        self._hasher = self._key.hasher(self._header + self._scope)
        # Shorter payloads need neither compression nor a look at the limits.
        limits = [encoding.max_raw_bytes + 1, encoding.max_value_bytes - _PLAIN_OVERHEAD + 1]
        self._plain_below = min([*limits, encoding.compress_threshold] if encoding.compress else limits)
        self._plain_below_without = self._plain_below
        # What verified values begin with that need a dictionary, and what opens them.
        self._openings_by_dictionary: dict[bytes, tuple[blake2b, Dictionary]] = {}
        # Every header without flags that a readable blob can have. Of keys that share an id the first
        # is found here, the others by _open.
        self._openings: dict[bytes, tuple[blake2b, Callable[[bytes], Any]]] = {}
        # The same of values that have tags, and nothing else in their header.
        self._openings_of_tagged: dict[bytes, tuple[blake2b, Callable[[bytes], Any]]] = {}
        for key in reversed(ring.keys):
            for value_format, loads in _LOADS.items():
                header = bytes((value_format, 0)) + key.id
                self._openings[header] = key.hasher(header + self._scope), loads
                header = bytes((value_format, layout.TAGS)) + key.id
                self._openings_of_tagged[header] = key.hasher(header), loads

    @property
    def encoding(self) -> Encoding:
        """How new values are written."""
        return self._encoding

    def compress_with(self, dictionary: Dictionary | None) -> None:
        """Use a dictionary for values written from now on, or none; no effect where nothing is compressed."""
        if dictionary is None or not self._encoding.compress:
            self._writer, self._plain_below = None, self._plain_below_without
            return
        encoding = self._encoding
        start = bytes((self._header[0], _BY_DICTIONARY)) + self._key.id + dictionary.id
        longest = min(DICTIONARY_REACH, encoding.max_raw_bytes, encoding.max_value_bytes - _PLAIN_OVERHEAD)
        self._writer = _Writer(dictionary, start, self._key.hasher(start), longest)
        self._plain_below = min(self._plain_below_without, _TOO_SHORT)

    def is_current(self, start: bytes) -> bool:
        """Tell by its first four bytes whether a value needs no `resealed`."""
        return self._sealer.is_current(start)

    @property
    def is_sensitive(self) -> bool:
        """Whether new values are encrypted."""
        return self._sealer.encrypts

    @property
    def _dictionary(self) -> Dictionary | None:
        return None if self._writer is None else self._writer.dictionary

    def encode(self, value: object, redis_key: bytes) -> bytes:
        """Turn a value into what is stored at a Redis key.

        Raises:
            ValueTooLarge: It exceeds ``max_value_bytes`` or ``max_raw_bytes``.
            Exception: What the serializer raises for a value it cannot take, unchanged: as with Django's
                own backends, ``PicklingError``, ``TypeError`` or ``AttributeError`` for pickle;
                ``TypeError``, ``ValueError`` or ``OverflowError`` for msgpack and JSON.
        """
        if type(value) is int:
            try:
                return b"%d" % value
            except ValueError:
                # More digits than sys.get_int_max_str_digits() allows: as any other value.
                pass
        payload = self._dumps(value)
        if len(payload) >= self._plain_below:
            writer = self._writer
            if writer is not None and len(payload) <= writer.longest:
                return self._encode_by_dictionary(payload, redis_key, writer)
            return self._encode_with_care(self._header[0], payload, redis_key, (), None)
        if 0 in redis_key:
            redis_key = sealed_name(redis_key)
        hasher = self._hasher.copy()
        hasher.update(redis_key + b"\0")
        hasher.update(payload)
        return self._header + payload + hasher.digest()

    def encode_alike(self, value: object, redis_key: bytes) -> bytes:
        """Encode to the same bytes whenever the value is the same: without the dictionary of the day.

        For what Redis compares, such as members of sets.

        Raises:
            Exception: As for ``encode``.
        """
        if self._writer is None or type(value) is int:
            return Codec.encode(self, value, redis_key)
        return self._encode_with_care(self._header[0], self._dumps(value), redis_key, (), None)

    def encode_item(self, value: object, redis_key: bytes) -> bytes:
        """Encode what stands inside a collection and is not compared: the value of a hash's field.

        Raises:
            Exception: As for ``encode``.
        """
        return self.encode_alike(value, redis_key)

    def encode_tagged(self, value: object, redis_key: bytes, stamps: Sequence[bytes]) -> bytes:
        """Turn a value into what is stored at a Redis key, with the stamps of its tags.

        An integer is sealed here too, since text has no room for stamps.

        Args:
            stamps: At most 255, of eight bytes each.

        Raises:
            ValueTooLarge: As for ``encode``.
            ValueError: There are too many stamps, or one has another length.
        """
        if len(stamps) > layout.MAX_STAMPS or any(len(stamp) != layout.STAMP_BYTES for stamp in stamps):
            raise ValueError(
                f"at most {layout.MAX_STAMPS} stamps of {layout.STAMP_BYTES} bytes each are possible"
            )
        return self._encode_with_care(
            self._header[0], self._dumps(value), redis_key, stamps, self._dictionary
        )

    def decode(self, blob: bytes, redis_key: bytes) -> Any:
        """Turn what was found at a Redis key into the value that was stored there, whatever tags it has.

        Raises:
            Undecodable: The bytes are not a value of this cache and key sealed by a known key, or it can no
                longer be loaded. The message names no part of the value; the chained cause may.
        """
        value = self.read(blob, redis_key)
        return value.value if type(value) is Tagged else value

    def read(self, blob: bytes, redis_key: bytes) -> Any:
        """The same, but a value that has tags comes as `Tagged`: whether they still hold is not known here.

        Raises:
            Undecodable: As for ``decode``.
        """
        opening = self._openings.get(blob[_HEADER])
        if opening is None:
            if blob and blob[0] in INTEGER_STARTS:
                return integer(blob)
            known = self._openings_by_dictionary.get(blob[_START])
            if known is not None:
                return self._decode_by_dictionary(blob, redis_key, *known)
            opening = self._openings_of_tagged.get(blob[_HEADER])
            if opening is not None:
                return self._read_tagged(blob, redis_key, *opening)
            return self._read_with_care(blob, redis_key)
        hasher, loads = opening
        payload = blob[_PAYLOAD]
        hasher = hasher.copy()
        hasher.update((sealed_name(redis_key) if 0 in redis_key else redis_key) + b"\0")
        hasher.update(payload)
        if not compare_digest(hasher.digest(), blob[_SEAL]):
            return self._read_with_care(blob, redis_key)
        try:
            return loads(payload)
        except Exception as error:
            raise unloadable(error) from error

    def opened(self, blob: bytes, redis_key: bytes) -> tuple[Callable[[bytes], Any], bytes]:
        """Take apart a blob that `decode` has accepted: what loads it, and its serialized value.

        Verifies no seal. It is for keeping what was just verified, so that loading it again need not
        pay for it; bytes that have not been through `decode` must never come here.
        """
        opening = self._openings.get(blob[_HEADER])
        if opening is not None:
            return opening[1], blob[_PAYLOAD]
        if blob[0] in INTEGER_STARTS:
            return integer, blob
        parts = layout.parse(blob)
        is_encrypted = parts.flags & layout.AEAD
        payload = self._sealer.opened(parts, redis_key)[1] if is_encrypted else parts.payload
        return _LOADS[parts.format], self._decompressed(parts, payload)

    def decode_tagged(self, blob: bytes, redis_key: bytes) -> Tagged:
        """Decode, with the stamps the value was written with: none, if it has no tags.

        Raises:
            Undecodable: As for ``decode``.
        """
        if blob and blob[0] in INTEGER_STARTS:
            return Tagged(integer(blob), ())
        parts = layout.parse(blob)
        payload = self._open(parts, redis_key)
        try:
            return Tagged(_LOADS[parts.format](payload), parts.stamps)
        except Exception as error:
            raise unloadable(error) from error

    def _read_tagged(
        self, blob: bytes, redis_key: bytes, hasher: blake2b, loads: Callable[[bytes], Any]
    ) -> Any:
        """The same as `decode_tagged`, spelled out for values that are not compressed."""
        if len(blob) <= layout.PLAIN_HEADER_BYTES:
            raise Undecodable("the header is cut short")
        number = blob[layout.PLAIN_HEADER_BYTES]
        end = _FIRST_STAMP + layout.STAMP_BYTES * number
        payload = blob[end : -layout.SEAL_BYTES]
        hasher = hasher.copy()
        hasher.update(blob[layout.PLAIN_HEADER_BYTES : end] + self._scope + sealed_name(redis_key) + b"\0")
        hasher.update(payload)
        if not number or not compare_digest(hasher.digest(), blob[_SEAL]):
            return self._read_with_care(blob, redis_key)
        try:
            return Tagged(loads(payload), layout.stamps_at(blob, _FIRST_STAMP, number))
        except Exception as error:
            raise unloadable(error) from error

    def _read_with_care(self, blob: bytes, redis_key: bytes) -> Any:
        tagged = self.decode_tagged(blob, redis_key)
        return tagged if tagged.stamps else tagged.value

    def serialized(self, blob: bytes, redis_key: bytes) -> bytes | None:
        """Return what a value was serialized to, verified and not loaded; None for an integer.

        Raises:
            Undecodable: As for ``decode``.
        """
        if blob and blob[0] in INTEGER_STARTS:
            return None
        return self._open(layout.parse(blob), redis_key)

    def independent(self, blob: bytes, redis_key: bytes) -> bytes:
        """Return the same value in bytes that can be read without a dictionary, for those who have none.

        Raises:
            Undecodable: As for ``decode``.
            ValueTooLarge: It exceeds ``max_value_bytes`` so.
        """
        if layout.dictionary_id_of(blob[: layout.START_BYTES]) is None:
            return blob
        parts = layout.parse(blob)
        return self._encode_with_care(
            parts.format, self._open(parts, redis_key), redis_key, parts.stamps, None
        )

    def resealed(self, blob: bytes, redis_key: bytes) -> bytes | None:
        """Return the same value under the newest secret, encrypted if new values are; None where it is so.

        Raises:
            Undecodable: As for ``decode``.
        """
        if self._sealer.is_current(blob[_HEADER]):
            return None
        if blob and blob[0] in INTEGER_STARTS:
            return self._encode_with_care(self._header[0], self._dumps(integer(blob)), redis_key, (), None)
        parts = layout.parse(blob)
        payload = self._sealer.opened(parts, redis_key)[1]
        extension = parts.header[layout.PLAIN_HEADER_BYTES :]
        return self._sealer.sealed(parts.format, parts.flags & ~layout.AEAD, extension, payload, redis_key)

    def compressed(self, raw: bytes, dictionary: Dictionary | None) -> Compressed:
        """Compress what a value was serialized to, with a dictionary or without, where that saves bytes."""
        return compressed(raw, self._encoding, dictionary)

    def _encode_by_dictionary(self, raw: bytes, redis_key: bytes, writer: _Writer) -> bytes:
        """The same as `_encode_with_care`, spelled out for the small values that dictionaries are for."""
        frame = writer.dictionary.compress(raw, self._encoding.compress_level)
        if DICTIONARY_COSTS + len(frame) >= len(raw):
            return self._encode_with_care(self._header[0], raw, redis_key, (), None)
        if 0 in redis_key:
            redis_key = sealed_name(redis_key)
        length = len(raw).to_bytes(4, "big")
        hasher = writer.hasher.copy()
        hasher.update(length + self._scope + redis_key + b"\0")
        hasher.update(frame)
        return writer.start + length + frame + hasher.digest()

    def _decode_by_dictionary(
        self, blob: bytes, redis_key: bytes, hasher: blake2b, dictionary: Dictionary
    ) -> Any:
        """The same as `decode_tagged`, spelled out for values that begin as one that was verified before."""
        length, frame = blob[_LENGTH], blob[_FRAME]
        hasher = hasher.copy()
        hasher.update(length + self._scope + sealed_name(redis_key) + b"\0")
        hasher.update(frame)
        raw_length = int.from_bytes(length, "big")
        if not compare_digest(hasher.digest(), blob[_SEAL]) or raw_length > self._encoding.max_raw_bytes:
            return self._read_with_care(blob, redis_key)
        payload = dictionary.decompress(frame, raw_length)
        try:
            return _LOADS[blob[0]](payload)
        except Exception as error:
            raise unloadable(error) from error

    def _encode_with_care(
        self,
        value_format: int,
        raw: bytes,
        redis_key: bytes,
        stamps: Sequence[bytes],
        dictionary: Dictionary | None,
    ) -> bytes:
        """Seal a payload that may be compressed, too large or tagged."""
        encoding = self._encoding
        if len(raw) > encoding.max_raw_bytes:
            raise ValueTooLarge(
                f"{len(raw):,} serialized bytes exceed max_raw_bytes, {encoding.max_raw_bytes:,}"
            )
        flags, extension, payload = self.compressed(raw, dictionary)
        if stamps:
            flags |= layout.TAGS
            extension += bytes((len(stamps),)) + b"".join(stamps)
        size = layout.PLAIN_HEADER_BYTES + len(extension) + len(payload) + self._sealer.added_bytes
        if size > encoding.max_value_bytes:
            raise ValueTooLarge(
                f"{size:,} encoded bytes exceed max_value_bytes, {encoding.max_value_bytes:,}"
            )
        return self._sealer.sealed(value_format, flags, extension, payload, redis_key)

    def _open(self, parts: layout.Blob, redis_key: bytes) -> bytes:
        """Verify a blob, then give its serialized value."""
        key, payload = self._sealer.opened(parts, redis_key)
        raw = self._decompressed(parts, payload)
        start = parts.header[_START]
        if parts.dictionary_id is not None and start[1] == _BY_DICTIONARY:
            dictionary = self._dictionaries.find(parts.dictionary_id)
            self._openings_by_dictionary.setdefault(start, (key.hasher(start), dictionary))
        return raw

    def _decompressed(self, parts: layout.Blob, payload: bytes) -> bytes:
        if parts.raw_length is None:
            return payload
        if parts.raw_length > self._encoding.max_raw_bytes:
            raise Undecodable(
                f"{parts.raw_length:,} raw bytes exceed max_raw_bytes, {self._encoding.max_raw_bytes:,}"
            )
        if parts.dictionary_id is None:
            return decompress(payload, parts.raw_length)
        dictionary = self._dictionaries.find(parts.dictionary_id)
        return dictionary.decompress(payload, parts.raw_length)
