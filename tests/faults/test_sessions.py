"""Django's sessions on a cache whose Redis is down or hangs."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.contrib.sessions.models import Session

from django_callcache.exceptions import RedisUnavailable
from testproject.parts.child import LOOPBACK, free_port
from tests.cache.proxy import Proxy


@pytest.fixture(params=["down", "hung"])
def failing_cache(request, make_caches, start_redis):
    """The default cache of a site, and a Redis that does not serve it."""
    with Proxy(start_redis().port) as proxy:
        proxy.is_silent = True
        location = proxy.url if request.param == "hung" else f"redis://{LOOPBACK}:{free_port()}/0"
        options = {"CALLCACHE": {"DEADLINE": 0.1}}
        (cache,) = make_caches({"default": {"LOCATION": location, "OPTIONS": options}})
        yield cache


def store_of(kind, *arguments):
    return import_module(f"django.contrib.sessions.backends.{kind}").SessionStore(*arguments)


def errors_of(cache):
    return sum(counts["errors"] for counts in cache.counted().values())


class TestCache:
    def test_create__fails_fast(self, failing_cache):
        """A session that cannot be stored fails at once, not after Django's ten thousand tries."""
        store = store_of("cache")
        store["user"] = 7
        with pytest.raises(RedisUnavailable):
            store.create()
        assert errors_of(failing_cache) <= 2

    def test_load__signed_out(self, failing_cache):
        """Who comes with a session that cannot be read is nobody, after one call."""
        store = store_of("cache", "k" * 32)
        assert store.get("user") is None
        assert errors_of(failing_cache) == 1


@pytest.mark.django_db
class TestCachedDatabase:
    def test_life__in_the_database(self, failing_cache):
        """Sessions that the database keeps as well go on without Redis, some calls a step."""
        store = store_of("cached_db")
        store["user"] = 7
        store.create()
        assert Session.objects.filter(session_key=store.session_key).count() == 1
        again = store_of("cached_db", store.session_key)
        assert again["user"] == 7
        again["user"] = 8
        again.save()
        again.cycle_key()
        assert store_of("cached_db", again.session_key)["user"] == 8
        again.flush()
        assert Session.objects.count() == 0
        assert errors_of(failing_cache) <= 20
