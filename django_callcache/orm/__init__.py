"""Models and the cache: what becomes stale when a row changes."""

from __future__ import annotations

from django_callcache.orm.querysets import InvalidatingManager, InvalidatingQuerySet
from django_callcache.orm.receivers import invalidates

__all__ = ["InvalidatingManager", "InvalidatingQuerySet", "invalidates"]
