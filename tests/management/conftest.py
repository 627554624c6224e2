"""Caches made by their settings, as for the tests of the cache itself."""

from __future__ import annotations

from tests.cache.conftest import make_cache, make_caches, undisturbed

__all__ = ["make_cache", "make_caches", "undisturbed"]
