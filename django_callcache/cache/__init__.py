"""The cache backend and everything that runs inside a cache call."""

from __future__ import annotations

from django_callcache.cache.backend import CallCache

__all__ = ["CallCache"]
