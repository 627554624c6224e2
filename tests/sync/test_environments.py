from __future__ import annotations

import pytest
from django.core.cache import caches

from django_callcache.exceptions import WrongEnvironment
from django_callcache.maintenance import run_once
from django_callcache.models import SyncRun
from django_callcache.replication.environments import ensure_own
from django_callcache.sync.memory import MemoryStore
from tests.sync.test_remote import refetch


@pytest.fixture
def cache():
    return caches["default"]


@pytest.fixture
def live_in(settings):
    """Makes the process one of an environment."""

    def live_in(namespace, *secrets):
        settings.CALLCACHE = {"SYNC": {"NAMESPACE": namespace}, "SECRETS": list(secrets)}

    return live_in


class TestEveryStore:
    def test_claim(self, remote):
        """Who comes first has a namespace, also by an earlier mark, until another takes it over."""
        assert remote.claim("crm", ["a"]) == "a"
        assert remote.claim("crm", ["b"]) == "a"
        assert remote.claim("other", ["b"]) == "b"
        assert remote.claim("crm", ["a2", "a"]) == "a2"
        assert remote.claim("crm", ["a"]) == "a2"
        assert remote.claim("crm", ["b"], take_over=True) == "b"

    def test_exposed(self, remote):
        """A schema as it was installed is closed to browsers."""
        assert remote.exposed() == ""


class TestEnsureOwn:
    def test_same(self, cache, live_in):
        """An environment finds its own again, and several Redis servers share it."""
        store = MemoryStore()
        live_in("crm", "secret")
        ensure_own(cache, store)
        ensure_own(cache, store)
        cache.redis_client().flushall()
        ensure_own(cache, store)

    def test_secret_replaced(self, cache, live_in):
        """A new secret beside the old one is the same environment, and the old one may go afterwards."""
        store = MemoryStore()
        for secrets in (["old"], ["new", "old"], ["new"]):
            live_in("crm", *secrets)
            ensure_own(cache, store)

    def test_redis_of_another_namespace(self, cache, live_in):
        """Settings that point at another environment's Redis are refused by name, with the cure."""
        live_in("crm-production", "secret")
        ensure_own(cache, MemoryStore())
        live_in("crm-staging", "secret")
        with pytest.raises(WrongEnvironment, match=r"'crm-production'.*--take-over"):
            ensure_own(cache, MemoryStore())

    def test_redis_of_other_secrets(self, cache, live_in):
        """A copy of the settings with secrets of its own is another environment."""
        live_in("crm", "production")
        ensure_own(cache, MemoryStore())
        live_in("crm", "staging")
        with pytest.raises(WrongEnvironment, match="other secrets"):
            ensure_own(cache, MemoryStore())

    def test_namespace_of_other_secrets(self, cache, live_in):
        """So it is where only the remote store is another's."""
        store = MemoryStore()
        live_in("crm", "production")
        ensure_own(cache, store)
        cache.redis_client().flushall()
        live_in("crm", "staging")
        with pytest.raises(WrongEnvironment, match="The namespace 'crm' in the remote store"):
            ensure_own(cache, store)

    def test_take_over(self, cache, live_in):
        """A person may make them this environment's; the other one is refused from then on."""
        store = MemoryStore()
        live_in("crm", "production")
        ensure_own(cache, store)
        live_in("crm", "moved")
        ensure_own(cache, store, take_over=True)
        ensure_own(cache, store)
        live_in("crm", "production")
        with pytest.raises(WrongEnvironment):
            ensure_own(cache, store)


@pytest.mark.django_db
class TestPass:
    def test_refused(self, cache, live_in):
        """A pass of the wrong environment pushes nothing, pulls nothing and says why."""
        store = MemoryStore()
        live_in("crm", "production")
        cache.set("call:7", "production's")
        assert run_once("default", remote=store).outcome == "ok"
        cache.redis_client().flushall()
        live_in("crm", "staging")
        cache.set("call:7", "staging's")

        report = run_once("default", remote=store)

        assert [type(error) for error in report.errors] == [WrongEnvironment]
        assert (report.sync.pushed, report.sync.pulled, report.sync.backlog) == (0, 0, 1)
        assert refetch(store, "1:call:7", "crm").value == "production's"
        assert cache.get("call:7") == "staging's"
        assert SyncRun.objects.latest_of("default").error_class == "WrongEnvironment"
        assert run_once("default", remote=store, take_over=True).outcome == "ok"
        assert refetch(store, "1:call:7", "crm").value == "staging's"
