"""The cache backend and everything that runs inside a cache call."""

from __future__ import annotations

from django_callcache.cache.backend import CallCache
from django_callcache.cache.value_keys import escape_glob

__all__ = ["CallCache", "escape_glob"]
