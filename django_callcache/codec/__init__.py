"""Values to bytes and back: serializer, zstd and seal, in a layout that is fixed for ever.

Importable without Django settings. Nothing here talks to Redis.
"""

from __future__ import annotations

from django_callcache.codec.codec import Codec, Tagged
from django_callcache.codec.compression import Dictionary
from django_callcache.codec.dictionaries import Dictionaries
from django_callcache.codec.dictionary_records import DictionaryRecords
from django_callcache.codec.encoding import Encoding
from django_callcache.codec.guarded import GuardedCodec
from django_callcache.codec.legacy import LegacyCodec, LegacyGuardedCodec, LegacyValues
from django_callcache.codec.sealing import KeyRing

__all__ = [
    "Codec",
    "Dictionaries",
    "Dictionary",
    "DictionaryRecords",
    "Encoding",
    "GuardedCodec",
    "KeyRing",
    "LegacyCodec",
    "LegacyGuardedCodec",
    "LegacyValues",
    "Tagged",
]
