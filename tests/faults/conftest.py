"""Caches on servers of a test's own."""

from __future__ import annotations

from tests.cache.conftest import (
    deny,
    face,
    face_of,
    hurried_links,
    link_mode,
    make_cache,
    make_caches,
    make_near,
    start_redis,
    undisturbed,
)
from tests.sync.conftest import alias_of

__all__ = [
    "alias_of",
    "deny",
    "face",
    "face_of",
    "hurried_links",
    "link_mode",
    "make_cache",
    "make_caches",
    "make_near",
    "start_redis",
    "undisturbed",
]
