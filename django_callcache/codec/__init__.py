"""Values to bytes and back: serializer, zstd and seal, in a layout that is fixed for ever.

Importable without Django settings. Nothing here talks to Redis.
"""

from __future__ import annotations

from django_callcache.codec.codec import Codec, Tagged
from django_callcache.codec.encoding import Encoding
from django_callcache.codec.sealing import KeyRing

__all__ = ["Codec", "Encoding", "KeyRing", "Tagged"]
