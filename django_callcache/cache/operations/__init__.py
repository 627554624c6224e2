"""Every cache operation, once: a coroutine over `drivers.Io`, for blocking and asyncio callers alike."""

from __future__ import annotations

from django_callcache.cache.operations.hashes import HashOperations
from django_callcache.cache.operations.lifetimes import LifetimeOperations
from django_callcache.cache.operations.loads import LoadOperations
from django_callcache.cache.operations.numbers import NumberOperations
from django_callcache.cache.operations.overrides import OverrideOperations
from django_callcache.cache.operations.patterns import PatternOperations
from django_callcache.cache.operations.sets import SetOperations
from django_callcache.cache.operations.sorted_sets import SortedSetOperations

__all__ = ["Operations"]


class Operations(
    NumberOperations,
    LifetimeOperations,
    LoadOperations,
    PatternOperations,
    SetOperations,
    HashOperations,
    SortedSetOperations,
    OverrideOperations,
):
    """All operations of one alias over one driver."""
