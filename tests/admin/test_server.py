"""The page of the Redis server."""

from __future__ import annotations

import pytest
from django.core.cache import caches

from django_callcache.admin.server import server_of
from tests.admin.conftest import DEFAULT

pytestmark = pytest.mark.django_db

SERVER = "/admin/django_callcache/dashboard/server/"


@pytest.fixture
def configured(redis_client):
    """Change settings of the server for one test."""
    before = {}

    def configure(**settings):
        for name, value in settings.items():
            name = name.replace("_", "-")
            before.setdefault(name, redis_client.config_get(name)[name])
            redis_client.config_set(name, value)

    yield configure
    for name, value in before.items():
        redis_client.config_set(name, value)


class TestServerOf:
    def test_groups(self, cache):
        """INFO comes in groups, and only what the server reports."""
        server = server_of(cache, synced=False)
        assert {group.topic for group in server.groups} >= {"server", "clients", "memory", "traffic"}
        assert dict(server.groups[0].fields)["version"]
        assert server.product in ("Redis", "Valkey")

    @pytest.mark.parametrize(
        ("stated", "synced", "topic"),
        [
            ({"maxmemory": "0"}, False, "no_limit"),
            ({"maxmemory": "1gb", "maxmemory_policy": "noeviction"}, False, "noeviction"),
            ({"maxmemory": "1gb", "maxmemory_policy": "allkeys-lru"}, True, "evicts_unsynced"),
            ({"appendonly": "no"}, True, "no_log"),
        ],
    )
    def test_advice(self, cache, configured, stated, synced, topic):
        """Each setting that endangers something is named."""
        configured(**stated)
        assert topic in server_of(cache, synced=synced).advice

    def test_advice__none(self, cache, configured):
        """A cache with a limit and a policy that evicts needs no advice."""
        configured(maxmemory="1gb", maxmemory_policy="allkeys-lru")
        assert set(server_of(cache, synced=False).advice) <= {"evicted", "fragmented"}

    @pytest.mark.needs_rights("SLOWLOG")
    def test_slow__no_arguments(self, cache, configured, redis_client):
        """Slow commands are listed without their keys and values."""
        redis_client.slowlog_reset()
        configured(slowlog_log_slower_than="0")
        redis_client.set("hush", "the secret value")
        configured(slowlog_log_slower_than="10000000")
        slow = server_of(cache, synced=False).slow
        assert any(entry.command == "SET" and entry.arguments >= 2 for entry in slow)
        assert "hush" not in repr(slow)
        redis_client.slowlog_reset()


class TestPage:
    def test_page(self, client, boss, page):
        """The page has the groups and no unsafe content."""
        client.force_login(boss)
        response = client.get(SERVER)
        assert "redis_mode" in response.content.decode()
        assert page(response).refused == []

    def test_page__refused(self, client, boss, redis_place, redis_client, settings):
        """A server that forbids INFO is named with the command, not hidden."""
        redis_client.execute_command("ACL", "SETUSER", "blind", "on", ">pw", "~*", "+@all", "-info")
        try:
            location = f"redis://blind:pw@{redis_place}"
            settings.CACHES = {"default": {**DEFAULT, "LOCATION": location}}
            client.force_login(boss)
            text = client.get(SERVER).content.decode()
            caches["default"].close()
        finally:
            redis_client.execute_command("ACL", "DELUSER", "blind")
        assert "info" in text.lower()
        assert "NoPermission" in text
