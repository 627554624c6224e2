from __future__ import annotations

from tests.cache.conftest import make_cache, make_caches, start_redis

__all__ = ["make_cache", "make_caches", "start_redis"]
