"""The asynchronous facade: one object for reading, writing, syncing and measuring a cache."""

from __future__ import annotations

from django_callcache.service.cache_service import CacheService
from django_callcache.service.readings import CacheMetrics

__all__ = ["CacheMetrics", "CacheService"]
