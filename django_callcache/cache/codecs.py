"""Which codec the values of a prefix have."""

from __future__ import annotations

from collections.abc import Callable

from django_callcache.cache.validation import Validator
from django_callcache.codec import (
    Codec,
    Dictionaries,
    Encoding,
    GuardedCodec,
    KeyRing,
    LegacyCodec,
    LegacyGuardedCodec,
    LegacyValues,
)
from django_callcache.conf import CacheOptions, PrefixRule


def make_codec(
    alias: str,
    ring: KeyRing,
    options: CacheOptions,
    encoding: Encoding,
    rule: PrefixRule | None,
    dictionaries: Dictionaries,
    caller_key: Callable[[bytes], str],
) -> Codec:
    """Make the codec of a prefix.

    Args:
        alias: Name of the cache, which values are sealed to.
        ring: What they are sealed with.
        options: Of the alias.
        encoding: How new values are written.
        rule: Of the prefix.
        dictionaries: What values are read with that a dictionary compressed.
        caller_key: Makes the key of a Redis key, for messages.
    """
    sealed = alias, ring, encoding, dictionaries
    legacy = _legacy_values(options, rule)
    if rule is None or not (rule.sensitive or rule.validate is not None):
        return Codec(*sealed) if legacy is None else _adopting(LegacyCodec(*sealed), legacy, options, rule)
    check = None if rule.validate is None else Validator(rule.validate, caller_key)
    if legacy is None:
        return GuardedCodec(*sealed, encrypts=rule.sensitive, check=check)
    return _adopting(LegacyGuardedCodec(*sealed, check=check), legacy, options, rule)


def _legacy_values(options: CacheOptions, rule: PrefixRule | None) -> LegacyValues | None:
    """What reads the values of another backend; sensitive prefixes take none, since nobody encrypted them."""
    if options.read_legacy is None or (rule is not None and rule.sensitive):
        return None
    return LegacyValues(pickles=options.read_legacy == "pickle", max_raw_bytes=options.max_raw_bytes)


def _adopting(
    codec: LegacyCodec, legacy: LegacyValues, options: CacheOptions, rule: PrefixRule | None
) -> Codec:
    # What is meant for the remote store is sealed: the outbox takes nothing else.
    return codec.adopt(legacy, writes=options.write_legacy and (rule is None or rule.sync is None))
