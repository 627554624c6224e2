"""The public API as a project uses it, for a type checker: ``mypy tests/typed_use.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_type

from django.core.asgi import get_asgi_application
from django.dispatch import receiver

from django_callcache.asgi import lifespan
from django_callcache.cache import CallCache, escape_glob
from django_callcache.cache.loading import register_loader
from django_callcache.conf import Environment, Settings, from_environment, get_settings
from django_callcache.exceptions import CallCacheError, RedisFault, SyncError
from django_callcache.orm import InvalidatingManager
from django_callcache.service import CacheMetrics, CacheService
from django_callcache.signals import cache_miss
from django_callcache.sync.remote import RemoteStore

application = lifespan(get_asgi_application(), CacheService(sync_interval=60))


def use(cache: CallCache) -> None:
    """Blocking calls."""
    assert_type(cache.set("a", 1, 60, tags=["t"]), bool)
    assert_type(cache.get("a"), Any)
    assert_type(cache.delete("a"), bool)
    assert_type(cache.get_many(["a"]), dict[Any, Any])
    assert_type(cache.set_many({"a": 1}), list[Any])
    assert_type(cache.delete_pattern(f"{escape_glob('a*')}:*"), int)
    assert_type(cache.delete_tags("t"), int)
    cache.get_or_set("a", lambda: 1, grace=60)
    with cache.lock("a", timeout=5):
        pass
    cache.set("a", 1, 60, wrong=1)  # type: ignore[call-arg]


async def ause(cache: CallCache) -> None:
    """Calls of coroutines."""
    assert_type(await cache.aset("a", 1), bool)
    assert_type(await cache.adelete("a"), bool)
    await cache.aget_or_set("a", lambda: 1, refresh_ahead=1)
    await cache.aset("a", 1, wrong=1)  # type: ignore[call-arg]


async def serve(service: CacheService) -> None:
    """The facade."""
    assert_type(await service.set("a", {"b": 1}, ttl=60), bool)
    assert_type(await service.clear("a:*"), int)
    metrics = await service.get_metrics()
    assert_type(metrics, CacheMetrics)
    assert_type(metrics.hit_rate, float)
    async with service:
        await service.sync_now()


def load(names: Sequence[str]) -> Mapping[str, Any]:
    """Read records."""
    return {name: {"id": name} for name in names}


register_loader("offer:", load)
manager: InvalidatingManager[Any] = InvalidatingManager()


@receiver(cache_miss, sender="default")
def note(key: str, **_: Any) -> None:
    """Hear of misses."""


def configure(remote: RemoteStore) -> tuple[Environment, Settings, RemoteStore]:
    """Settings and what is stored remotely."""
    return from_environment(key_prefix="crm"), get_settings(), remote


def fails(error: CallCacheError) -> str:
    """What goes wrong."""
    return {RedisFault: "redis", SyncError: "sync"}.get(type(error), "other")
