"""Caches on servers of a test's own."""

from __future__ import annotations

from tests.cache.conftest import (
    deny,
    face_of,
    hurried_links,
    link_mode,
    make_cache,
    make_caches,
    make_near,
    start_redis,
    undisturbed,
)

__all__ = [
    "deny",
    "face_of",
    "hurried_links",
    "link_mode",
    "make_cache",
    "make_caches",
    "make_near",
    "start_redis",
    "undisturbed",
]
