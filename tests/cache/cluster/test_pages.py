"""The admin pages, with the cache on three real nodes."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import User

from django_callcache.models import CacheOperation
from tests.admin.conftest import Page

pytestmark = pytest.mark.django_db

ROOT = "/admin/django_callcache/dashboard/"
CALLS = {f"call:{number}": number for number in range(30)}


@pytest.fixture
def cache(make_cache, client):
    """A cache with keys on every node, and somebody who may do everything."""
    client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))
    cache = make_cache(STATS=True)
    cache.set_many(CALLS)
    return cache


class TestPages:
    @pytest.mark.parametrize(
        "page", ["", "cache/", "prefixes/", "keys/", "sync/", "alerts/", "server/", "clear/"]
    )
    def test_opens(self, client, cache, page):
        """Every page has its figures, and none says that Redis does not answer."""
        response = client.get(ROOT + page)
        assert response.status_code == 200
        assert "cc-notice-error" not in Page(response).classes()
        assert Page(response).refused == []

    def test_keys(self, client, cache):
        """A search finds the keys of all nodes, and says that there are several."""
        shown = client.get(f"{ROOT}keys/", {"q": "call:*"})
        assert {line.key for line in shown.context["found"].lines} == set(CALLS)
        assert all(line.kind == "string" for line in shown.context["found"].lines)
        assert "on 3 nodes" in shown.content.decode()
        names = json.loads(b"".join(client.get(f"{ROOT}keys.json", {"q": "call:*"})))
        assert {row["key"] for row in names["rows"]} == set(CALLS)
        assert (
            client.get(f"{ROOT}key/", {"alias": "default", "key": "call:7"}).context["facts"].kind == "string"
        )

    def test_server(self, client, cache):
        """The nodes are listed with their keys, and with the slow commands of each."""
        whole = cache.redis_client()
        nodes = [whole.get_redis_connection(node) for node in whole.get_primaries()]
        for node in nodes:
            node.slowlog_reset()
            node.config_set("slowlog-log-slower-than", 0)
            node.config_set("slowlog-log-slower-than", 10_000)
        shown = client.get(f"{ROOT}server/").context["server"]
        assert len({node.address for node in shown.nodes}) == 3
        assert all(node.keys for node in shown.nodes)
        assert shown.slow_fault == ""
        assert {entry.node for entry in shown.slow} == {node.address for node in shown.nodes}
        moments = [entry.moment for entry in shown.slow]
        assert moments == sorted(moments, reverse=True)

    @pytest.mark.parametrize("at", [0, 1, 2])
    def test_server__worst_node(self, client, cache, at):
        """Advice is about the node that is worst off, whichever it is, and names it."""
        whole = cache.redis_client()
        primaries = whole.get_primaries()
        nodes = [whole.get_redis_connection(node) for node in primaries]
        try:
            for number, node in enumerate(nodes):
                node.config_set("maxmemory", 0 if number == at else "1gb")
                node.config_set("maxmemory-policy", "volatile-lru")
            response = client.get(f"{ROOT}server/")
        finally:
            for node in nodes:
                node.config_set("maxmemory", 0)
                node.config_set("maxmemory-policy", "noeviction")
        worst = f"{primaries[at].host}:{primaries[at].port}"
        assert response.context["server"].advice["no_limit"] == (worst,)
        assert whole.info()["maxmemory"] == 0
        assert f'<bdi dir="ltr" class="cc-reason">{worst}</bdi>' in response.content.decode()

    def test_clear(self, client, cache):
        """A prefix is cleared on every node."""
        scope = {"alias": "default", "scope": "prefix", "text": "call:"}
        preview = client.get(f"{ROOT}clear/", scope)
        assert preview.context["seen"].estimate == len(CALLS)
        confirmed = scope | {"token": Page(preview).inputs["token"]}
        assert client.post(f"{ROOT}clear/", confirmed).status_code == 302
        operation = CacheOperation.objects.get()
        assert (operation.outcome, operation.deleted) == ("ok", len(CALLS))
        assert cache.keys() == []
