"""Caches with values to train on."""

from __future__ import annotations

import pytest

from tests.cache.conftest import make_cache, make_caches, start_redis
from tests.training.records import contacts

__all__ = ["make_cache", "make_caches", "start_redis"]

NUMBER = 600


@pytest.fixture
def site(make_cache):
    """A cache with records under ``contact:``."""
    cache = make_cache()
    cache.set_many({f"contact:{number}": record for number, record in enumerate(contacts(NUMBER))})
    return cache
