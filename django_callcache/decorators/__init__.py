"""``cached()``: results of functions, coroutine functions and methods, kept in a cache."""

from __future__ import annotations

from django_callcache.decorators.decorator import cached
from django_callcache.decorators.members import CachedCoroutine, CachedFunction

__all__ = ["CachedCoroutine", "CachedFunction", "cached"]
