"""A pytest plugin for django-redis's own tests: our class in place of theirs, on a private Redis.

Runs in a process of its own, beside django-redis's ``conftest.py``. Of the settings that the tests
are repeated over, only the default ones stay. The tests listed in ``django_redis_exceptions.toml``
are expected to fail; one that passes has to leave the list.
"""

from __future__ import annotations

import os
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

DEFAULT_SETTINGS = "sqlite"
THEIR_REDIS = "127.0.0.1:6379"


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """Change the default settings before a test loads them."""
    settings = import_module(f"settings.{DEFAULT_SETTINGS}")
    for options in settings.CACHES.values():
        options["BACKEND"] = os.environ["CALLCACHE_CONTRACT_BACKEND"]
        options["LOCATION"] = moved(options["LOCATION"])
        # A stall of a busy machine is no miss.
        options["OPTIONS"]["CALLCACHE"] = {"DEADLINE": 10}


def moved(location):
    """Return a location with the private Redis in place of the one they expect."""
    if isinstance(location, list):
        return [moved(one) for one in location]
    return location.replace(THEIR_REDIS, os.environ["CALLCACHE_CONTRACT_REDIS"])


def pytest_collection_modifyitems(config, items):
    """Keep the tests under default settings; expect those of the list to fail."""
    exceptions = tomllib.loads(Path(__file__).with_name("django_redis_exceptions.toml").read_text())
    reasons = {name: one["reason"] for one in exceptions["test"] for name in one["names"]}
    elsewhere = [item for item in items if other_settings(item)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]
    for item in items:
        owner = item.cls.__name__ if item.cls else item.path.stem
        if reason := reasons.get(f"{owner}::{item.originalname}"):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def other_settings(item):
    """Tell whether a test is for settings that are not the default ones."""
    chosen = getattr(item, "callspec", None)
    return chosen is not None and chosen.params.get("cache_settings", DEFAULT_SETTINGS) != DEFAULT_SETTINGS
