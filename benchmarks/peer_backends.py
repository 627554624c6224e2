"""Who is measured by `benchmarks.peers`: the caches of the field, each set up as its manual says.

Every peer answers to the names of Django's cache API. Raw redis-py does too, with bytes that were
serialized beforehand: it shows what a client alone costs.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import django
import redis
import redis.asyncio as redis_asyncio
from django.conf import settings
from django.core.cache import caches

OURS, OURS_NEAR = "django_callcache", "django_callcache, near"
OURS_DICTIONARY = "django_callcache, dictionary"
OURS_SYNCED = "django_callcache, synced"
DJANGO_REDIS, DJANGO, LOCMEM = "django-redis", "Django RedisCache", "LocMemCache"
VALKEY, VCACHE, VCACHE_NEAR = "django-valkey", "django-vcache", "django-vcache, client-side cache"
REDIS_PY, REDIS_ASYNCIO = "redis-py", "redis.asyncio"

NEAR_ENTRIES = 2000
POOL = 1000
"""Connections that redis.asyncio may open: its default is too small for many tasks."""

TIMEOUT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A cache backend of Django.

    Attributes:
        path: Of the backend.
        module: What must be importable.
        package: What pip calls it.
        options: ``OPTIONS``.
        has_server: Whether it reaches Redis.
    """

    path: str
    module: str
    package: str
    options: Mapping[str, Any] = field(default_factory=dict)
    has_server: bool = True

    @property
    def is_installed(self) -> bool:
        """Whether it can be measured here."""
        return find_spec(self.module) is not None

    @property
    def version(self) -> str:
        """Of its package."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return "in this checkout"


def _ours(**options: Any) -> Peer:
    return Peer(
        path="django_callcache.cache.CallCache",
        module="django_callcache",
        package="django-callcache",
        options={"CALLCACHE": {"DEADLINE": 5.0, **options}},
    )


PEERS = {
    OURS: _ours(NEAR=False),
    OURS_NEAR: _ours(RULES={"campaign:": {"ttl": 600}, "zipf:": {"ttl": 600}}),
    OURS_DICTIONARY: _ours(NEAR=False),
    OURS_SYNCED: _ours(NEAR=False, RULES={"campaign:": {"sync": "lww"}}),
    DJANGO_REDIS: Peer(path="django_redis.cache.RedisCache", module="django_redis", package="django-redis"),
    DJANGO: Peer(path="django.core.cache.backends.redis.RedisCache", module="django", package="django"),
    VALKEY: Peer(path="django_valkey.cache.ValkeyCache", module="django_valkey", package="django-valkey"),
    VCACHE: Peer(path="django_vcache.backend.ValkeyCache", module="django_vcache", package="django-vcache"),
    VCACHE_NEAR: Peer(
        path="django_vcache.backend.ValkeyCache",
        module="django_vcache",
        package="django-vcache",
        options={"CLIENT_SIDE_CACHE": {"ENABLED": True, "MAX_SIZE": NEAR_ENTRIES}},
    ),
    LOCMEM: Peer(
        path="django.core.cache.backends.locmem.LocMemCache",
        module="django",
        package="django",
        options={"MAX_ENTRIES": 1_000_000},
        has_server=False,
    ),
}


def missing() -> dict[str, str]:
    """The peers that are not installed, and the command that installs each."""
    return {
        name: f"python -m pip install {peer.package}" for name, peer in PEERS.items() if not peer.is_installed
    }


def configure(redis_url: str) -> None:
    """Set Django up with every peer that is installed, on one server."""
    address = {"LOCATION": redis_url}
    settings.configure(
        SECRET_KEY="a benchmark has no secrets to keep",
        USE_TZ=True,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_callcache"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        CALLCACHE={"TTL": {"DEFAULT_CACHE_SIZE": NEAR_ENTRIES, "PEAK_CACHE_SIZE": NEAR_ENTRIES}},
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
            **{
                name: {
                    "BACKEND": peer.path,
                    "KEY_PREFIX": prefix_of(name),
                    "OPTIONS": dict(peer.options),
                    **(address if peer.has_server else {}),
                }
                for name, peer in PEERS.items()
                if peer.is_installed
            },
        },
    )
    django.setup()


def prefix_of(name: str) -> str:
    """The ``KEY_PREFIX`` of a peer: all of one length, so that none has longer keys."""
    return f"p{list(PEERS).index(name)}"


def make_all(redis_url: str, *names: str) -> dict[str, Any]:
    """The caches of these names that are installed, and raw redis-py if it is asked for."""
    made: dict[str, Any] = {
        name: caches[name] for name in names if name in PEERS and PEERS[name].is_installed
    }
    if REDIS_PY in names:
        made[REDIS_PY] = RedisPy(redis_url)
    return made


class RedisPy:
    """redis-py's blocking client behind Django's names; serializes nothing while it is measured."""

    def __init__(self, redis_url: str) -> None:
        self.client = redis.Redis.from_url(redis_url)
        self._blobs: dict[int, tuple[Any, bytes]] = {}

    def bytes_of(self, value: Any) -> bytes:
        """The value's bytes, serialized when it is first met."""
        known = self._blobs.get(id(value))
        if known is None:
            known = self._blobs[id(value)] = value, pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        return known[1]

    def get(self, key: str) -> Any:
        return self.client.get(f"raw:1:{key}")

    def set(self, key: str, value: Any, timeout: int) -> Any:
        return self.client.set(f"raw:1:{key}", self.bytes_of(value), px=timeout * 1000)

    def add(self, key: str, value: Any, timeout: int) -> Any:
        return self.client.set(f"raw:1:{key}", self.bytes_of(value), px=timeout * 1000, nx=True)

    def touch(self, key: str, timeout: int) -> Any:
        return self.client.pexpire(f"raw:1:{key}", timeout * 1000)

    def incr(self, key: str) -> Any:
        return self.client.incr(f"raw:1:{key}")

    def get_many(self, keys: list[str]) -> Any:
        return self.client.mget([f"raw:1:{key}" for key in keys])

    def set_many(self, data: Mapping[str, Any], timeout: int) -> Any:
        with self.client.pipeline(transaction=False) as pipeline:
            for key, value in data.items():
                pipeline.set(f"raw:1:{key}", self.bytes_of(value), px=timeout * 1000)
            return pipeline.execute()

    def delete_many(self, keys: list[str]) -> Any:
        return self.client.delete(*(f"raw:1:{key}" for key in keys))


class RedisAsyncio:
    """redis-py's asyncio client behind Django's names, for one event loop.

    Args:
        redis_url: Of the server.
        blobs: Knows the values' bytes.
    """

    def __init__(self, redis_url: str, blobs: RedisPy) -> None:
        self.client = redis_asyncio.Redis.from_url(redis_url, max_connections=POOL)
        self._bytes_of = blobs.bytes_of

    async def aget(self, key: str) -> Any:
        return await self.client.get(f"raw:1:{key}")

    async def aset(self, key: str, value: Any, timeout: int) -> Any:
        return await self.client.set(f"raw:1:{key}", self._bytes_of(value), px=timeout * 1000)
