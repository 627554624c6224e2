from __future__ import annotations

import inspect
import time

import pytest
from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache.backends.base import BaseCache
from django.core.signals import request_finished
from django_redis.cache import RedisCache

from django_callcache.cache import CallCache
from django_callcache.redis_keys import RedisKeys
from tests.cache.conftest import APP


class TestDropIn:
    def test_class__is_django_redis_cache(self):
        """Code that asks for django-redis's class finds it."""
        assert issubclass(CallCache, RedisCache)

    def test_methods__none_is_inherited(self):
        """No method of django-redis or Django that talks to Redis is left to them: they know no deadline."""
        harmless = {
            "aclose",  # Django's: calls close
            "client",  # django-redis's own client, for who asks for it by name
            "lock",  # redis-py's, over that client
            "get_backend_timeout",
            "make_and_validate_key",
            "make_key",
            "validate_key",
        }
        inherited = {
            name
            for parent in (RedisCache, BaseCache)
            for name, value in vars(parent).items()
            if not name.startswith("_") and (callable(value) or isinstance(value, property))
        }
        assert {name for name in inherited if name not in vars(CallCache)} - harmless == set()

    @pytest.mark.parametrize("parent", [RedisCache, BaseCache])
    def test_methods__django_signatures(self, parent):
        """What can be passed to Django's methods by name can be passed to ours."""
        for name in vars(parent):
            if name.startswith("_") or name not in vars(CallCache):
                continue
            theirs = vars(parent)[name]
            if not inspect.isfunction(theirs):
                continue
            own = inspect.signature(getattr(CallCache, name)).parameters
            named = [
                each.name
                for each in inspect.signature(theirs).parameters.values()
                if each.kind is each.POSITIONAL_OR_KEYWORD and each.name not in {"self", "client"}
            ]
            takes_any = any(each.kind is each.VAR_KEYWORD for each in own.values())
            assert takes_any or set(named) <= set(own), name

    def test_lock(self, make_cache):
        """django-redis's lock works."""
        cache = make_cache()
        with cache.lock("a", timeout=10):
            assert not cache.lock("a", timeout=10, blocking_timeout=0.01).acquire()

    def test_contains(self, make_cache):
        """``in`` asks whether a key exists."""
        cache = make_cache()
        cache.set("a", None)
        assert "a" in cache
        assert "b" not in cache

    @pytest.mark.django_db
    def test_close(self, make_cache):
        """The end of a request closes nothing that the next would have to open."""
        cache = make_cache()
        cache.set("a", 1)
        before = len(cache.blocking._runtime.connections)
        request_finished.send(None)
        cache.close()
        assert cache.get("a") == 1
        assert len(cache.blocking._runtime.connections) == before


class TestSettings:
    def test_override__another_secret(self, make_cache, settings):
        """A cache object that was used follows settings that a test overrides, there and back."""
        cache = make_cache()
        cache.set("a", "by the first secret")
        first = settings.SECRET_KEY
        settings.SECRET_KEY = "another"
        assert cache.get("a") is None
        settings.SECRET_KEY = first
        assert cache.get("a") == "by the first secret"


class TestProperties:
    def test_names(self, make_cache):
        """Tools find names, options, internal keys, codec and client of an alias."""
        cache = make_cache(KEY_PREFIX="crm", RULES={"call:": {"ttl": 7, "serializer": "json"}})
        assert cache.alias == "default"
        assert cache.options.rules[0].prefix == "call:"
        assert cache.redis_keys.root == RedisKeys("crm").root
        cache.set("call:1", {"a": 1})
        stored = cache.redis_client().get("crm:1:call:1")
        assert cache.codec_for("call:1").decode(stored, b"crm:1:call:1") == {"a": 1}
        assert cache.caller_key(b"crm:1:call:1") == "call:1"

    def test_explain_ttl(self, make_cache):
        """The TTL of a key is told with its reason."""
        app = {**APP, "TTL": {"DEFAULT_TTL": 120}}
        cache = make_cache(app=app, RULES={"call:": {"ttl": 7}, "ever:": {"ttl": None}})
        assert cache.explain_ttl("call:1").ttl_seconds == 7
        assert cache.explain_ttl("ever:1").ttl_seconds is None
        decision = cache.explain_ttl("free:1")
        assert (decision.policy, decision.ttl_seconds) == ("peak-hour", 120)
        assert decision.reason

    @pytest.mark.needs_rights("keys of another form")
    def test_key_func__for_one_object(self, make_cache, redis_client):
        """A key function that is assigned holds for that object."""
        cache = make_cache()
        cache.key_func = lambda key, prefix, version: f"{prefix}/{version}/{key}"
        cache.set("a", 1)
        assert redis_client.keys() == [b"t/1/a"]
        assert cache.get("a") == 1

    def test_version__of_the_alias(self, make_cache, redis_client):
        """``VERSION`` holds where a call names none."""
        cache = make_cache(VERSION=7)
        cache.set("a", 1)
        assert redis_client.keys() == [b"t:7:a"]
        assert cache.incr_version("a") == 8

    def test_values__fresh_objects(self, make_cache):
        """A value that a caller changes is changed for nobody else."""
        cache = make_cache()
        cache.set("a", {"list": [1]})
        cache.get("a")["list"].append(2)
        assert cache.get("a") == {"list": [1]}

    def test_compression(self, make_cache, redis_client):
        """Large values are compressed where that helps, unless the alias or a rule says no."""
        cache = make_cache(RULES={"raw:": {"compress": False}})
        cache.set_many({"a": "x" * 100_000, "raw:a": "x" * 100_000})
        assert redis_client.strlen("t:1:a") < 1000
        assert redis_client.strlen("t:1:raw:a") > 100_000
        assert cache.get("a") == cache.get("raw:a")

    def test_session_backend(self, make_cache):
        """Django's sessions over the cache keep their data."""
        make_cache()
        session = SessionStore()
        session["user"] = 5
        session.save()
        assert SessionStore(session.session_key)["user"] == 5
        assert session.get_expiry_date().timestamp() > time.time()
