"""The user that ``callcache_acl`` prints, on every node of a cluster."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command

from tests.cache.cluster.everything import RULES, call_everything, do_the_rest
from tests.minimal_user import PASSWORD, define, forget_refusals, refusals

pytestmark = [pytest.mark.usefixtures("hurried_links"), pytest.mark.django_db]


class TestMinimalUser:
    @pytest.fixture
    def cache(self, make_near, cluster, redis_client):
        """The cache of that user; what it is refused fails the test."""
        define(redis_client, "app", ["t"])
        forget_refusals(redis_client)
        yield make_near(location=cluster.url.replace("//", f"//app:{PASSWORD}@"), RULES=RULES)
        assert refusals(redis_client, "app") == []

    async def test_calls__allowed(self, face_of, cache, redis_client):
        """Calls on keys of all nodes are allowed, and the near cache is told of changes on each."""
        await call_everything(face_of(cache), redis_client)

    def test_behind_the_calls__allowed(self, cache):
        """So are outbox, loop, locks and rotation."""
        do_the_rest(cache)

    def test_command__line(self, make_cache):
        """The command sees that the cache lies in a cluster, and adds what finding the nodes takes."""
        make_cache()
        told = io.StringIO()
        call_command("callcache_acl", stdout=told)
        assert " +cluster|slots +command +asking " in told.getvalue()
