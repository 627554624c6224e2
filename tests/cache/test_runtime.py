from __future__ import annotations

import threading

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_callcache.cache import CallCache
from django_callcache.cache.registry import runtimes
from testproject.parts.child import LOOPBACK


class TestRegistry:
    def test_runtime__shared_by_threads(self, make_cache, start_redis):
        """Every thread has a backend object of its own; connections and counts are shared."""
        server = start_redis()
        make_cache(server.url, DEADLINE=10)
        seen = []

        def work():
            backend = caches["default"]
            backend.get("p:1")
            seen.append(backend)

        for _ in range(10):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert len({id(backend) for backend in seen}) == 10
        assert len(runtimes()) == 1
        assert seen[0].counted()["p:"]["misses"] == 10
        clients = [each for each in caches["default"].redis_client().client_list() if each["cmd"] == "get"]
        assert len(clients) == 1

    def test_runtime__by_alias(self, make_caches, redis_url):
        """Aliases that differ in anything have runtimes of their own, and their names."""
        stated = {
            "default": {"LOCATION": redis_url},
            "prefixed": {"LOCATION": redis_url, "KEY_PREFIX": "x"},
            "raising": {"LOCATION": redis_url, "OPTIONS": {"CALLCACHE": {"ON_ERROR": "raise"}}},
            "fixed": {"LOCATION": redis_url, "TIMEOUT": 5},
            "versioned": {"LOCATION": redis_url, "VERSION": 5},
            "named": {"LOCATION": redis_url, "OPTIONS": {"CALLCACHE": {"ALIAS": "another name"}}},
        }
        made = make_caches(stated)
        assert [cache.alias for cache in made] == [*list(stated)[:-1], "another name"]
        assert len(runtimes()) == len(stated)

    def test_runtime__by_hand(self, redis_url):
        """A cache made by hand, outside ``CACHES``, works under a name of its own."""
        with override_settings(
            CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
        ):
            cache = CallCache(redis_url, {"KEY_PREFIX": "hand", "OPTIONS": {"CALLCACHE": {"DEADLINE": 10}}})
            assert cache.set("a", 1)
            assert cache.get("a") == 1
            assert cache.alias == "default"

    def test_setting_changed(self, make_cache, redis_client):
        """Changed settings hold at once."""
        cache = make_cache(KEY_PREFIX="one")
        cache.set("a", 1)
        assert redis_client.keys() == [b"one:1:a"]
        cache = make_cache(KEY_PREFIX="two", TIMEOUT=60)
        cache.set("a", 1)
        assert set(redis_client.keys()) == {b"one:1:a", b"two:1:a"}
        assert cache.ttl("a") == 60

    def test_secrets__rotation(self, make_cache, settings):
        """Values sealed with an old secret are read as long as it is a fallback."""
        settings.SECRET_KEY = "old"
        make_cache().set("a", "kept")
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old"]
        assert make_cache().get("a") == "kept"
        settings.SECRET_KEY_FALLBACKS = []
        assert make_cache().get("a") is None


class TestLocations:
    @pytest.mark.parametrize("as_list", [True, False])
    async def test_location__several(self, face_of, make_cache, redis_url, as_list):
        """Of several servers the first is used, for reads too."""
        nobody = f"redis://{LOOPBACK}:1/0"
        location = [redis_url, nobody] if as_list else f"{redis_url},{nobody}"
        face = face_of(make_cache(location, DEADLINE=10))
        assert await face.set("a", 1)
        assert await face.get("a") == 1

    async def test_location__valkey(self, face_of, make_cache, redis_url):
        """``valkey://`` is spoken to like Redis."""
        face = face_of(make_cache(redis_url.replace("redis://", "valkey://"), DEADLINE=10))
        assert await face.set("a", 1)

    async def test_location__database(self, face_of, make_cache, start_redis):
        """The database of the address is used by every connection."""
        server = start_redis()
        face = face_of(make_cache(server.url.replace("/0", "/3"), DEADLINE=10))
        await face.set("a", 1)
        assert face.cache.redis_client().info("keyspace").keys() == {"db3"}

    async def test_password__by_option(self, face_of, make_cache, start_redis):
        """django-redis's PASSWORD and USERNAME options hold."""
        server = start_redis(password="pw")
        location = server.url.replace(":pw@", "")
        face = face_of(make_cache(location, DEADLINE=10, django_redis={"PASSWORD": "pw"}))
        assert await face.set("a", 1)
        assert face.cache.redis_client().get("t:1:a") == b"1"
        options = {"PASSWORD": "pw", "USERNAME": "default"}
        face = face_of(make_cache(location, DEADLINE=10, django_redis=options))
        assert await face.get("a") == 1

    async def test_decode_responses(self, face_of, make_cache, redis_url):
        """A pool option that would garble bytes for us does not reach the hot path."""
        options = {"CONNECTION_POOL_KWARGS": {"decode_responses": True, "max_connections": 2}}
        face = face_of(make_cache(django_redis=options))
        assert await face.set("a", "x")
        assert await face.get("a") == "x"
        assert face.cache.options.max_connections == 2

    def test_unknown_option(self, make_cache):
        """A misspelt option is refused with the nearest known name."""
        with pytest.raises(ImproperlyConfigured, match="ON_ERROR"):
            make_cache(ON_EROR="raise").get("a")
