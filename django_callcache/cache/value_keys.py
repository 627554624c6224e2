"""The Redis key of a value, and back: Django's own form, ``KEY_PREFIX:version:key``."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

from django.core.cache.backends.base import (
    MEMCACHE_MAX_KEY_LENGTH,
    CacheKeyWarning,
    InvalidCacheKey,
    default_key_func,
    memcache_key_warnings,
)
from django_redis.util import CacheKey

Key = Any
"""What callers use as a key: a string as a rule, anything with a text form by Django's custom."""

KeyFunction = Callable[[Any, str, Any], str]
"""Makes a Redis key of a key, a ``KEY_PREFIX`` and a version."""

_SUSPECT = re.compile(r"[\x00-\x20\x7f]").search
_FIRST_WILD = re.compile(r"[\\*?\[\]]")

EVERY_GROUP = b"*"
"""The group of all keys; no key's own, which is empty or ends in a colon."""
_GLOB = re.compile(r"([\\*?\[\]])")


def escape_glob(text: str) -> str:
    """Make a literal of what would be a pattern to Redis (the backslash too)."""
    return _GLOB.sub(r"\\\1", text)


class ValueKeys:
    """Makes Redis keys of callers' keys.

    Args:
        key_prefix: The alias's ``KEY_PREFIX``.
        version: The alias's ``VERSION``.
        make: Its ``KEY_FUNCTION``.
        reverse: Its ``REVERSE_KEY_FUNCTION``, if stated.
    """

    def __init__(
        self,
        key_prefix: str,
        version: int,
        make: KeyFunction = default_key_func,
        reverse: Callable[[str], str] | None = None,
    ) -> None:
        self.key_prefix = key_prefix
        self.version = version
        self.make = make
        self.is_default = make is default_key_func
        self._reverse = reverse
        self.stem = f"{key_prefix}:{version}:".encode()
        self._max_length = MEMCACHE_MAX_KEY_LENGTH - len(self.stem)

    def made_by(self, make: KeyFunction) -> ValueKeys:
        """The same, by another key function."""
        return ValueKeys(self.key_prefix, self.version, make, self._reverse)

    def redis_key(self, key: Key, version: int | None = None) -> bytes:
        """The key under which Redis holds a value.

        Raises:
            InvalidCacheKey: The key cannot be written as UTF-8.

        Warns:
            CacheKeyWarning: Django's other backends would not take this key.
        """
        if (
            type(key) is str
            and version is None
            and self.is_default
            and len(key) <= self._max_length
            and not _SUSPECT(key)
        ):
            try:
                return self.stem + key.encode()
            except UnicodeEncodeError as error:
                raise InvalidCacheKey(f"The cache key {key!r} cannot be written as UTF-8.") from error
        if isinstance(key, CacheKey):  # made by this alias already
            return str.encode(key)
        text = str(self.make(key, self.key_prefix, self.version if version is None else version))
        for warning in memcache_key_warnings(text):
            warnings.warn(warning, CacheKeyWarning, stacklevel=2)
        return _encoded(text)

    def caller_key(self, redis_key: bytes) -> str:
        """The key as the caller wrote it."""
        text = redis_key.decode(errors="replace")
        if self._reverse is not None:
            return self._reverse(text)
        if self.is_default:
            return text[len(self.key_prefix) + 1 :].partition(":")[2]
        return text

    def default_key(self, key: Key, version: int | None) -> str | None:
        """The key that names the same value by this alias's own version and Django's own function."""
        if isinstance(key, CacheKey):
            text = str.__str__(key)
        else:
            text = str(self.make(key, self.key_prefix, self.version if version is None else version))
        stem = f"{self.key_prefix}:{self.version}:"
        return text[len(stem) :] if text.startswith(stem) else None

    def remote_key(self, key: Key, version: int | None) -> bytes:
        """The key under which the remote store holds an entry: ``version:key``."""
        return f"{self.version if version is None else version}:{key}".encode()

    def remote_key_of(self, redis_key: bytes) -> str | None:
        """The remote key of what Redis holds; None where the key function does not tell."""
        text = redis_key.decode(errors="surrogateescape")
        if self.is_default:
            return text[len(self.key_prefix) + 1 :]
        if self._reverse is None:
            return None
        key = self._reverse(text)
        return f"{self.version}:{key}" if self.make(key, self.key_prefix, self.version) == text else None

    def pattern(self, search: str, version: int | None = None, prefix: str | None = None) -> bytes:
        """A glob over this alias's keys of one version, from one over callers' keys."""
        if isinstance(search, CacheKey):
            return str.encode(search)
        literal = escape_glob(self.key_prefix if prefix is None else prefix)
        chosen = escape_glob(str(self.version if version is None else version))
        return _encoded(str(self.make(search, literal, chosen)))

    def siblings(self, redis_key: bytes) -> bytes:
        """A glob over the keys that begin as this one does, up to the first colon of the caller's key."""
        head = redis_key[len(self.stem) :].partition(b":")
        if not self.is_default or not redis_key.startswith(self.stem) or not head[1]:
            return self.everything()
        literal = (self.stem + head[0] + b":").decode("utf-8", "surrogateescape")
        return escape_glob(literal).encode("utf-8", "surrogateescape") + b"*"

    def group(self, redis_key: bytes) -> bytes:
        """What the fence knows a key by: the caller's text up to the first colon."""
        return _group_of(self.caller_key(redis_key))

    def group_of_pattern(self, search: str) -> bytes:
        """The group that every key has which a glob matches; `EVERY_GROUP` where they may have any."""
        head = _FIRST_WILD.split(search, maxsplit=1)[0]
        if ":" not in head or not self.is_default or isinstance(search, CacheKey):
            return EVERY_GROUP
        return _group_of(head)

    def everything(self) -> bytes:
        """A glob over every value of this alias, whatever its version."""
        return str(self.make("*", escape_glob(self.key_prefix), "*")).encode()


def _group_of(key: str) -> bytes:
    return key[: key.find(":") + 1].encode(errors="replace")


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidCacheKey(f"The cache key {text!r} cannot be written as UTF-8.") from error
