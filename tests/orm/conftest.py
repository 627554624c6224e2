from __future__ import annotations

import pytest

from django_callcache.orm.receivers import read_rules
from django_callcache.orm.rules import rules
from tests.cache.conftest import make_cache, make_caches

__all__ = ["make_cache", "make_caches"]

QUIET = {"OPTIONS": {"CALLCACHE": {"STATS": False, "DEADLINE": 10}}}


@pytest.fixture
def cache(make_caches, redis_url):
    """The default cache; rules are as `stale_by` states them."""
    aliases = {
        "default": {"LOCATION": redis_url, "KEY_PREFIX": "t", **QUIET},
        "other": {"LOCATION": redis_url, "KEY_PREFIX": "u", **QUIET},
        "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": __name__},
    }
    return make_caches(aliases)[0]


@pytest.fixture
def stale_by(cache, settings):
    """State the rules of models."""

    def state(**by_model):
        stated = {name.replace("__", "."): rule for name, rule in by_model.items()}
        settings.CALLCACHE = {**settings.CALLCACHE, "INVALIDATE": stated}
        return cache

    return state


@pytest.fixture
def registered():
    """What code registers is forgotten after the test."""
    before = list(rules._registered)
    yield
    rules._registered[:] = before
    rules._of.clear()
    read_rules()


@pytest.fixture
def kept(cache):
    """Which of the keys that are filled at first are still there."""
    keys = [
        f"{name}:{number}"
        for name in ("campaign", "contact", "calls", "user", "group")
        for number in range(1, 6)
    ]
    cache.set_many(dict.fromkeys(keys, "old"))

    def gone():
        return {key for key in keys if key not in cache}

    return gone
