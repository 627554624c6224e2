"""Caches whose values are put under another secret."""

from __future__ import annotations

from tests.cache.conftest import make_cache, make_caches

__all__ = ["make_cache", "make_caches"]
