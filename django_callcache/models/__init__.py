"""What the cold side keeps in the database: statistics, reports of sync passes, the audit, dictionaries.

Questions live on the QuerySets. Rows leave by ``prune``, in bounded batches.
"""

from __future__ import annotations

from django_callcache.models.alerts import CacheAlert
from django_callcache.models.counted import COUNTERS
from django_callcache.models.dashboard import Dashboard
from django_callcache.models.dictionaries import CompressionDictionary, CompressionDictionaryQuerySet
from django_callcache.models.history import PRUNE_BATCH, HistoryQuerySet
from django_callcache.models.hours import CacheHour
from django_callcache.models.operations import (
    DESERTED_SECONDS,
    LIMIT_REACHED,
    PATTERN_LENGTH,
    CacheOperation,
    CacheOperationQuerySet,
)
from django_callcache.models.statistics import PREFIX_LENGTH, CacheStat, CacheStatQuerySet
from django_callcache.models.sync import KEY_LENGTH, SyncConflict, SyncRejection, SyncRun
from django_callcache.models.synced_redis import SyncedRedis

__all__ = [
    "COUNTERS",
    "DESERTED_SECONDS",
    "KEY_LENGTH",
    "LIMIT_REACHED",
    "PATTERN_LENGTH",
    "PREFIX_LENGTH",
    "PRUNE_BATCH",
    "CacheAlert",
    "CacheHour",
    "CacheOperation",
    "CacheOperationQuerySet",
    "CacheStat",
    "CacheStatQuerySet",
    "CompressionDictionary",
    "CompressionDictionaryQuerySet",
    "Dashboard",
    "HistoryQuerySet",
    "SyncConflict",
    "SyncRejection",
    "SyncRun",
    "SyncedRedis",
]
