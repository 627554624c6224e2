"""Caches on servers of a test's own."""

from __future__ import annotations

from tests.cache.conftest import face_of, make_cache, make_caches, start_redis, undisturbed

__all__ = ["face_of", "make_cache", "make_caches", "start_redis", "undisturbed"]
