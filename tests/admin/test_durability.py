"""What the overview says of a Redis that might lose what waits for the remote store."""

from __future__ import annotations

import pytest
from django.core.cache import caches

from tests.admin.conftest import DEFAULT, Page
from tests.cache.conftest import start_redis

__all__ = ["start_redis"]

pytestmark = pytest.mark.django_db

OVERVIEW = "/admin/django_callcache/dashboard/"
RULES = {"call:": {"ttl": 60, "sync": "lww"}}
RISKS = {
    "no log": ({}, "keeps no append-only file"),
    "any key": ({"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}, "allkeys-lru"),
}


@pytest.fixture
def shown(client, boss, settings, start_redis):
    """Opens the overview with a Redis; returns its text."""

    def show(config, *, is_append_only, required):
        server = start_redis(append_only=is_append_only, config=config)
        options = {"CALLCACHE": {"RULES": RULES, "STATS": False, "DEADLINE": 10}}
        settings.CACHES = {"default": {**DEFAULT, "LOCATION": server.url, "OPTIONS": options}}
        settings.CALLCACHE = {"SYNC": {"NAMESPACE": "tests", "REQUIRE_DURABLE": required}}
        assert caches["default"].redis_client().ping()
        client.force_login(boss)
        return Page(client.get(OVERVIEW)).text

    return show


class TestBanner:
    @pytest.mark.parametrize("required", [True, False])
    @pytest.mark.parametrize("risk", RISKS)
    def test_at_risk(self, shown, risk, required):
        """The risk is told; where it makes synced writes be refused, that too."""
        config, words = RISKS[risk]
        text = shown(config, is_append_only=risk != "no log", required=required)
        assert words in text
        assert ("REQUIRE_DURABLE" in text) is required

    def test_durable(self, shown):
        """Nothing is said of a Redis that keeps what it is given."""
        text = shown({}, is_append_only=True, required=True)
        assert not any(words in text for words in ("append-only", "allkeys", "REQUIRE_DURABLE"))
