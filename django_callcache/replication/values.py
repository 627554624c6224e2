"""The values of a cache, as a sync pass asks for them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache as remembered
from typing import cast

from django.core.cache.backends.base import CacheKeyWarning, InvalidCacheKey
from django.utils.module_loading import import_string

from django_callcache.cache.backend import CallCache
from django_callcache.sync.rows import Merge, Place, PlaceOf

LONGEST_VERSION = 20
"""Digits of a key's version."""


class CacheValues:
    """Reads and makes the bytes of one cache, and says which remote rows are its own.

    Args:
        cache: The cache.
    """

    def __init__(self, cache: CallCache) -> None:
        self._cache = cache

    def decode(self, place: Place, blob: bytes) -> object:
        """Return the value that a key has in some bytes."""
        return self._cache.codec_for(key_of(place)).decode(blob, place.redis_key)

    def encode(self, place: Place, value: object) -> bytes:
        """Return a value as the cache holds it under a key."""
        return self._cache.codec_for(key_of(place)).encode(value, place.redis_key)

    def is_sensitive(self, place: Place) -> bool:
        """Tell whether nobody but this project may read the value of a key."""
        return self._cache.codec_for(key_of(place)).is_sensitive

    def independent(self, place: Place, blob: bytes) -> bytes:
        """Return the same value in bytes that no dictionary of this deployment is needed for."""
        return self._cache.codec_for(key_of(place)).independent(blob, place.redis_key)

    def place_of(self, remote_key: str) -> Place | None:
        """Return where a row belongs; None where no rule syncs its key, or it cannot be one of ours."""
        version, colon, key = remote_key.partition(":")
        if not colon or not (version.isascii() and version.isdecimal()) or len(version) > LONGEST_VERSION:
            return None
        rule = self._cache.rule_for(key)
        if rule is None or rule.sync is None:
            return None
        try:
            with warnings.catch_warnings():
                # Who wrote it was warned of a strange key.
                warnings.simplefilter("ignore", CacheKeyWarning)
                return PlaceOf(self._cache.redis_key(key, int(version)), remote_key)
        except InvalidCacheKey:
            return None

    def place_at(self, redis_key: bytes) -> Place | None:
        """Return the place of a value in Redis; None where the key function does not tell its remote name."""
        remote_key = self._cache.remote_key_of(redis_key)
        return None if remote_key is None else PlaceOf(redis_key, remote_key)

    def strategy(self, place: Place) -> str | Merge:
        """Return how a conflict over a key is decided."""
        rule = self._cache.rule_for(key_of(place))
        # A rule that lost its "sync" while entries wait: they are pushed as they were meant to be.
        name = "lww" if rule is None or rule.sync is None else rule.sync
        return merge_at(name) if "." in name else name

    def announce(self, redis_keys: Sequence[bytes]) -> None:
        """Tell other processes' near caches of changed values."""
        if redis_keys:
            self._cache.announce(redis_keys)


def key_of(place: Place) -> str:
    """Return the key as callers write it."""
    return place.remote_key.partition(":")[2]


@remembered
def merge_at(path: str) -> Merge:
    """Return the function that a rule names.

    Raises:
        ImportError: There is none.
    """
    found = import_string(path)
    if not callable(found):
        raise ImportError(f"{path} is no function")
    return cast("Merge", found)
