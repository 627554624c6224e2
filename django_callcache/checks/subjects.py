"""What the checks look at: our aliases, their servers and the settings, as far as they can be read.

What cannot be read is reported once, by the checks of ``configuration``; the others pass over it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from redis.connection import parse_url

from django_callcache.cache import CallCache
from django_callcache.conf import CacheOptions, Settings, as_redis_url, get_settings, parse_cache_options
from django_callcache.conf.redis_urls import is_cluster, nodes_of_cluster, split_addresses

THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Server:
    """One address in ``LOCATION``."""

    host: str
    port: int
    path: str
    """Of a Unix socket, which has no host."""
    database: int
    is_encrypted: bool
    trusts_anybody: bool
    has_password: bool

    @property
    def place(self) -> tuple[str, int, int]:
        """Where its keys lie, the same for every way to write the address."""
        host = "localhost" if self.host in THIS_MACHINE else self.host.lower()
        return self.path or host, self.port, self.database

    @property
    def is_away(self) -> bool:
        """Whether a network lies between."""
        return not self.path and self.host not in THIS_MACHINE


@dataclass(frozen=True, slots=True)
class Cache:
    """One alias in ``CACHES``."""

    alias: str
    params: Mapping[str, Any]
    servers: tuple[Server, ...]

    @property
    def options(self) -> CacheOptions:
        """What the alias states."""
        return parse_cache_options(self.params, alias=self.alias)

    @property
    def name(self) -> str:
        """What statistics and sync call it."""
        return self.options.alias or self.alias

    @property
    def key_prefix(self) -> str:
        """What its keys begin with."""
        return str(self.params.get("KEY_PREFIX", ""))

    def shares_server_with(self, other: Cache) -> bool:
        """Tell whether keys of both lie in one database."""
        places = {server.place for server in self.servers}
        return not places.isdisjoint(server.place for server in other.servers)

    def extends(self, other: Cache) -> bool:
        """Tell whether a key of this one could also be read as a key of the other."""
        return self.key_prefix.startswith(f"{other.key_prefix}:")


def our_caches() -> list[Cache]:
    """The aliases of this backend, as far as they can be read."""
    return [cache for cache in caches_of(stated_caches()) if _is_readable(cache)]


def caches_of(stated: Mapping[str, Mapping[str, Any]]) -> list[Cache]:
    """The aliases whose addresses can be read."""
    caches = []
    for alias, params in stated.items():
        try:
            caches.append(Cache(alias, params, servers_of(params)))
        except (ValueError, TypeError, ImproperlyConfigured):
            continue
    return caches


def stated_caches(*other_backends: str) -> dict[str, Mapping[str, Any]]:
    """The aliases of this backend, or those of others, by their dotted paths, that are not this one."""
    others = tuple(import_string(path) for path in other_backends)
    found: dict[str, Mapping[str, Any]] = {}
    for alias, params in django_settings.CACHES.items():
        try:
            backend = import_string(params["BACKEND"])
        except (ImportError, KeyError):
            continue  # Django says so itself
        is_ours = isinstance(backend, type) and issubclass(backend, CallCache)
        if (issubclass(backend, others) and not is_ours) if others else is_ours:
            found[alias] = params
    return found


def servers_of(params: Mapping[str, Any]) -> tuple[Server, ...]:
    """The servers that an alias names.

    Raises:
        ValueError: There is no address, or it cannot be read.
        ImproperlyConfigured: The addresses are of a Redis Cluster in a way that cannot be.
    """
    location = params.get("LOCATION")
    if not location:
        raise ValueError("no address")
    if is_cluster(location):
        urls = nodes_of_cluster(location)
    else:
        urls = split_addresses(location) if isinstance(location, str) else [str(url) for url in location]
    options = params.get("OPTIONS") or {}
    pool = options.get("CONNECTION_POOL_KWARGS") or {}
    apart = options.get("PASSWORD") or pool.get("password") or pool.get("credential_provider")
    return tuple(_server(as_redis_url(url), pool, bool(apart)) for url in urls)


def usable_settings() -> Settings | None:
    """The settings of the app, or None where they cannot be read."""
    try:
        return get_settings()
    except ImproperlyConfigured:
        return None


def states(name: str) -> bool:
    """Tell whether ``CALLCACHE`` states a name, in any case."""
    return any(str(stated).upper() == name for stated in getattr(django_settings, "CALLCACHE", {}))


def _is_readable(cache: Cache) -> bool:
    try:
        return bool(cache.options)
    except ImproperlyConfigured:
        return False


def _server(url: str, pool: Mapping[str, Any], has_password: bool) -> Server:
    found = {**pool, **parse_url(url)}  # type: ignore[no-untyped-call]
    return Server(
        host=found.get("host") or "localhost",
        port=int(found.get("port") or 6379),
        path=found.get("path") or "",
        database=int(found.get("db") or 0),
        is_encrypted=url.startswith("rediss://"),
        trusts_anybody=found.get("ssl_cert_reqs", "required") in (None, "none", "CERT_NONE", ssl.CERT_NONE),
        has_password=has_password or bool(found.get("password")),
    )
