"""Every cache operation, once: a coroutine over `drivers.Io`, for blocking and asyncio callers alike."""

from __future__ import annotations

from django_callcache.cache.operations.collections import CollectionOperations
from django_callcache.cache.operations.lifetimes import LifetimeOperations
from django_callcache.cache.operations.loads import LoadOperations
from django_callcache.cache.operations.numbers import NumberOperations
from django_callcache.cache.operations.patterns import PatternOperations

__all__ = ["Operations"]


class Operations(
    NumberOperations,
    LifetimeOperations,
    LoadOperations,
    PatternOperations,
    CollectionOperations,
):
    """All operations of one alias over one driver."""
