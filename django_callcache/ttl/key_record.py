"""What is remembered of a key beside its value, for longer than the value lives."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Self

DIGEST_BYTES = 8
GRACE_SECONDS = 3600.0
"""A record outlives its value by this much, or by the value's own TTL where that is longer: were it gone with
the value, no reload could tell whether the value has changed, and nothing would be learnt."""

_FORMAT = 1
_UPDATED_AT = 0x80
_LAYOUT = struct.Struct("<Bddffffff8s")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """The last load of a key, and what its loads have taught.

    All times are unix seconds by one clock. Packed it takes 49 bytes.
    """

    loaded_at: float
    expires_at: float
    """When the copy that was loaded was to expire."""
    born_at: float
    """When the value last changed: as its row said, else when it was first seen as it is."""
    has_updated_at: bool
    """Whether ``born_at`` is what the row said."""
    digest: bytes
    """Of the value's bytes, as long as `DIGEST_BYTES`."""
    changes: float = 0.0
    """Changes seen, the older ones faded."""
    exposure: float = 0.0
    """Changes that an ordinary key of the prefix would have had meanwhile, faded alike."""
    gaps: float = 0.0
    """Waits for a read after an expiry, faded."""
    gap_seconds: float = 0.0
    """What they took in all."""
    log_ttl: float = 0.0
    """Logarithm of the TTL that the policy `alex` has come to."""

    def pack(self) -> bytes:
        """The bytes that lie in Redis."""
        return _LAYOUT.pack(
            _FORMAT | (_UPDATED_AT if self.has_updated_at else 0),
            self.loaded_at,
            self.born_at,
            self.expires_at - self.loaded_at,
            self.changes,
            self.exposure,
            self.gaps,
            self.gap_seconds,
            self.log_ttl,
            self.digest,
        )

    @classmethod
    def unpack(cls, packed: bytes | None) -> Self | None:
        """The record in these bytes; None for none, and for the bytes of another release."""
        if packed is None or len(packed) != _LAYOUT.size or packed[0] & ~_UPDATED_AT != _FORMAT:
            return None
        kind, loaded_at, born_at, ttl, changes, exposure, gaps, gap_seconds, log_ttl, digest = _LAYOUT.unpack(
            packed
        )
        numbers = (changes, exposure, gaps, gap_seconds, log_ttl)
        return cls(loaded_at, loaded_at + ttl, born_at, bool(kind & _UPDATED_AT), digest, *numbers)

    @property
    def kept_until(self) -> float:
        """When the record itself is forgotten, unless the key is loaded again."""
        return self.expires_at + max(GRACE_SECONDS, self.expires_at - self.loaded_at)
