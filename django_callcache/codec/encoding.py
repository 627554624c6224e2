"""How the values of a cache, or of one prefix in it, are stored."""

from __future__ import annotations

from dataclasses import dataclass

from django_callcache.codec.blob import MAX_RAW_LENGTH
from django_callcache.codec.compression import MAX_LEVEL
from django_callcache.codec.serializers import SERIALIZERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How new values are written; what was written otherwise stays readable.

    Raises:
        ValueError: A field is not one of the values it may have.
    """

    serializer: str = "pickle"
    """``pickle``, ``msgpack`` or ``json``."""
    compress: bool = True
    """Compress with zstd where that makes a value smaller."""
    compress_level: int = 3
    """zstd level, 1 (fast) to 22 (small)."""
    compress_threshold: int = 1024
    """Serialized bytes from which compression is tried."""
    max_value_bytes: int = 8 * 1024 * 1024
    """Bytes one value may have in Redis, header and seal included."""
    max_raw_bytes: int = 32 * 1024 * 1024
    """Bytes one value may have before compression, when written and when read."""

    def __post_init__(self) -> None:
        if self.serializer not in SERIALIZERS:
            names = ", ".join(SERIALIZERS)
            raise ValueError(f"serializer must be one of {names}, not {self.serializer!r}")
        if type(self.compress) is not bool:
            raise ValueError(f"compress must be True or False, not {self.compress!r}")
        _require_integer("compress_level", self.compress_level, 1, MAX_LEVEL)
        _require_integer("compress_threshold", self.compress_threshold, 0, MAX_RAW_LENGTH)
        _require_integer("max_value_bytes", self.max_value_bytes, 1, MAX_RAW_LENGTH)
        _require_integer("max_raw_bytes", self.max_raw_bytes, 1, MAX_RAW_LENGTH)


def _require_integer(name: str, value: object, lowest: int, highest: int) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        raise ValueError(f"{name} must be an integer from {lowest:,} to {highest:,}, not {value!r}")
