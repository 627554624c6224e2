"""What the cold side keeps in the database: statistics, reports of sync passes, the audit, dictionaries.

Questions live on the QuerySets. Rows leave by ``prune``, in bounded batches.
"""

from __future__ import annotations

from django_callcache.models.alerts import CacheAlert
from django_callcache.models.dashboard import Dashboard
from django_callcache.models.dictionaries import CompressionDictionary, CompressionDictionaryQuerySet
from django_callcache.models.history import PRUNE_BATCH, HistoryQuerySet
from django_callcache.models.operations import PATTERN_LENGTH, CacheOperation
from django_callcache.models.statistics import COUNTERS, PREFIX_LENGTH, CacheStat, CacheStatQuerySet
from django_callcache.models.sync import KEY_LENGTH, SyncConflict, SyncRejection, SyncRun

__all__ = [
    "COUNTERS",
    "KEY_LENGTH",
    "PATTERN_LENGTH",
    "PREFIX_LENGTH",
    "PRUNE_BATCH",
    "CacheAlert",
    "CacheOperation",
    "CacheStat",
    "CacheStatQuerySet",
    "CompressionDictionary",
    "CompressionDictionaryQuerySet",
    "Dashboard",
    "HistoryQuerySet",
    "SyncConflict",
    "SyncRejection",
    "SyncRun",
]
