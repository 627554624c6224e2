"""Django's ``BaseCacheTests`` on a backend, by its blocking and its asynchronous face.

Runs in a process of its own, where ``cache`` is the package of that name in Django's source.
"""

from __future__ import annotations

import asyncio
import inspect
from unittest import mock

import cache.tests as upstream
import pytest
import redis
from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import SynchronousOnlyOperation
from django.test import TestCase, override_settings

CACHES = upstream.caches_setting_for_tests(base=settings.CACHES["default"], exclude={"cull", "zero_cull"})


class EmptyServer:
    """Each test finds Redis empty: the suite takes `clear` for more than the cache's own keys."""

    def setUp(self):
        super().setUp()
        with redis.Redis.from_url(settings.CACHES["default"]["LOCATION"]) as client:
            client.flushdb()


@override_settings(CACHES=CACHES)
class TestBlocking(EmptyServer, upstream.BaseCacheTests, TestCase):
    """The suite as Django runs it on its own backends."""


@override_settings(CACHES=CACHES)
class TestAsynchronous(EmptyServer, upstream.BaseCacheTests, TestCase):
    """The same, with every call made by the method's asynchronous twin, all on one event loop."""

    def setUp(self):
        super().setUp()
        if inspect.iscoroutinefunction(getattr(type(self), self._testMethodName)):
            return
        loop = self.enterContext(asyncio.Runner())
        face = AsynchronousFace(cache, loop)
        faces = {alias: AsynchronousFace(backend, loop) for alias, backend in all_caches().items()}
        self.enterContext(mock.patch.object(upstream, "cache", face))
        self.enterContext(mock.patch.object(upstream, "caches", Faces(faces)))

    def test_cache_write_for_model_instance_with_deferred(self):
        """A queryset asks the database when it is stored; on an event loop Django refuses that."""
        with pytest.raises(SynchronousOnlyOperation):
            super().test_cache_write_for_model_instance_with_deferred()

    def test_cache_read_for_model_instance_with_deferred(self):
        """A queryset asks the database when it is stored; on an event loop Django refuses that."""
        with pytest.raises(SynchronousOnlyOperation):
            super().test_cache_read_for_model_instance_with_deferred()


def all_caches():
    return {alias: upstream.caches[alias] for alias in CACHES}


class Faces(dict):
    """Stands for ``django.core.cache.caches``, with its error for an alias that is not there."""

    def __missing__(self, alias):
        raise upstream.InvalidCacheBackendError(alias)


class AsynchronousFace:
    """A cache whose methods run their asynchronous twins."""

    def __init__(self, backend, loop):
        self.__dict__.update(_backend=backend, _loop=loop)

    def __getattr__(self, name):
        twin = getattr(self._backend, f"a{name}", None)
        if twin is None:
            return getattr(self._backend, name)
        return lambda *args, **kwargs: self._loop.run(twin(*args, **kwargs))

    def __setattr__(self, name, value):
        setattr(self._backend, name, value)

    def __contains__(self, key):
        return self.has_key(key)
