"""Checks of settings and aliases."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import redis
from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from django_callcache.cache.secrecy import cipher_for
from django_callcache.cache.validation import imported
from django_callcache.checks.subjects import (
    Cache,
    caches_of,
    our_caches,
    servers_of,
    stated_caches,
    states,
    usable_settings,
)
from django_callcache.conf import UNSET, get_settings, is_cluster, parse_cache_options, refuse_on_cluster
from django_callcache.redis_keys import ROOT

REFERENCE = "The settings reference lists every name."
OTHER_REDIS_BACKENDS = ("django_redis.cache.RedisCache", "django.core.cache.backends.redis.RedisCache")
WITHOUT_EFFECT = ("CLOSE_CONNECTION", "PICKLE_VERSION", "REDIS_CLIENT_CLASS", "REDIS_CLIENT_KWARGS")
KNOWN_CLIENTS = ("DefaultClient", "SentinelClient")
BLOCKING_CONNECTIONS = (redis.Connection, redis.SSLConnection, redis.UnixDomainSocketConnection)


def check_settings(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """``CALLCACHE`` can be read."""
    try:
        get_settings()
    except ImproperlyConfigured as error:
        yield checks.Error(str(error), hint=REFERENCE, id="callcache.E001")


def check_options(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """The options and the address of each alias can be read."""
    for alias, params in stated_caches().items():
        try:
            parse_cache_options(params, alias=alias)
        except ImproperlyConfigured as error:
            yield checks.Error(str(error), hint=REFERENCE, id="callcache.E002")
        try:
            servers_of(params)
        except (ValueError, TypeError, ImproperlyConfigured) as error:
            where = f'CACHES["{alias}"]'
            yield checks.Error(
                f"{where}: {error}"
                if isinstance(error, ImproperlyConfigured)
                else f'{where}["LOCATION"] is missing, or no address of a Redis server.',
                hint="Give one such as redis://127.0.0.1:6379/0; docs/topologies.md shows the other forms.",
                id="callcache.E003",
            )


def check_clusters(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """A Redis Cluster is named by its address, and is not asked for what it does not have."""
    for cache in our_caches():
        problem = _problem_on_cluster(cache)
        if problem:
            yield checks.Error(
                f'CACHES["{cache.alias}"]: {problem}',
                hint="docs/topologies.md shows how a Redis Cluster is named, and what it does not have.",
                id="callcache.E013",
            )


def _problem_on_cluster(cache: Cache) -> str:
    if _names_cluster_class(cache):
        return "REDIS_CLIENT_CLASS asks for a Redis Cluster. Begin LOCATION with redis+cluster:// instead."
    if is_cluster(cache.params["LOCATION"]):
        try:
            refuse_on_cluster(cache.key_prefix, cache.options)
        except ImproperlyConfigured as error:
            return str(error)
    return ""


def _names_cluster_class(cache: Cache) -> bool:
    options = cache.params.get("OPTIONS") or {}
    return str(options.get("REDIS_CLIENT_CLASS", "")).endswith("RedisCluster")


def check_key_prefixes(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """No two aliases could write the same Redis key, and none could write ours."""
    caches = our_caches()
    for cache in caches:
        if cache.key_prefix.startswith(ROOT.decode()):
            yield checks.Error(
                f'CACHES["{cache.alias}"]["KEY_PREFIX"] begins with {ROOT.decode()!r}, as internal keys do.',
                hint="Choose another KEY_PREFIX.",
                id="callcache.E006",
            )
    for one, other in combinations(caches, 2):
        if not one.shares_server_with(other):
            continue
        pair = f"The aliases {one.alias!r} and {other.alias!r} share a Redis database and "
        hint = "Give each alias a KEY_PREFIX of its own, or a database of its own."
        if one.key_prefix == other.key_prefix:
            yield checks.Error(pair + f"the KEY_PREFIX {one.key_prefix!r}.", hint=hint, id="callcache.E004")
        elif one.extends(other) or other.extends(one):
            prefixes = f"{one.key_prefix!r} and {other.key_prefix!r}"
            yield checks.Error(
                pair + f"their prefixes, {prefixes}, can make the same keys.", hint=hint, id="callcache.E005"
            )


def check_other_backends(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """No other backend on Redis reads or clears our keys."""
    others = caches_of(stated_caches(*OTHER_REDIS_BACKENDS))
    for cache in our_caches():
        for other in others:
            if cache.shares_server_with(other) and cache.key_prefix == other.key_prefix:
                yield checks.Warning(
                    f"The alias {other.alias!r}, of another backend, shares a Redis database and the "
                    f"KEY_PREFIX {cache.key_prefix!r} with {cache.alias!r}, whose values it cannot read.",
                    hint="Give each alias a KEY_PREFIX of its own.",
                    id="callcache.W006",
                )


def check_names(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """Each cache has a name of its own for statistics, sync and seals."""
    for one, other in combinations(our_caches(), 2):
        if one.name == other.name:
            yield checks.Error(
                f"The aliases {one.alias!r} and {other.alias!r} are both called {one.name!r}.",
                hint='Change OPTIONS["CALLCACHE"]["ALIAS"] of one of them.',
                id="callcache.E012",
            )


def check_key_function(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """Keys can be turned back into what callers wrote."""
    for cache in our_caches():
        if cache.params.get("KEY_FUNCTION") and not cache.params.get("REVERSE_KEY_FUNCTION"):
            yield checks.Warning(
                f'CACHES["{cache.alias}"] has a KEY_FUNCTION without a REVERSE_KEY_FUNCTION: keys(), '
                "iter_keys() and the admin pages may name keys wrongly.",
                hint="Add a REVERSE_KEY_FUNCTION that undoes the KEY_FUNCTION.",
                id="callcache.W004",
            )


def check_connection(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """What is asked of the connection can be had."""
    for cache in our_caches():
        options = cache.params.get("OPTIONS") or {}
        if _names_cluster_class(cache):
            continue
        where = f'CACHES["{cache.alias}"]["OPTIONS"]'
        connection_class = (options.get("CONNECTION_POOL_KWARGS") or {}).get("connection_class")
        if connection_class and not _is_blocking(connection_class):
            yield checks.Error(
                f'{where}["CONNECTION_POOL_KWARGS"]["connection_class"] is no blocking connection.',
                hint="Remove it, or give a subclass of redis.Connection; calls with await need none.",
                id="callcache.E014",
            )
        without_effect = [name for name in WITHOUT_EFFECT if name in options]
        if str(options.get("CLIENT_CLASS", KNOWN_CLIENTS[0])).rpartition(".")[2] not in KNOWN_CLIENTS:
            without_effect.append("CLIENT_CLASS")
        for name in without_effect:
            yield checks.Warning(f"{where}[{name!r}] has no effect.", hint="Remove it.", id="callcache.W005")


def check_guards(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """What rules encrypt with and check by is there."""
    for cache in our_caches():
        where = f'CACHES["{cache.alias}"]'
        try:
            cipher_for(cache.options)
        except ImproperlyConfigured as error:
            yield checks.Error(f"{where}: {error}", hint="Install the extra `crypto`.", id="callcache.E015")
        for rule in cache.options.rules:
            try:
                imported(rule.validate or dict)
            except ImproperlyConfigured as error:
                yield checks.Error(
                    f'{where}, rule "{rule.prefix}": {error}',
                    hint="Give a type or a function, or the dotted path of one.",
                    id="callcache.E016",
                )


def check_ttl(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """Nobody is surprised by how long entries live."""
    settings = usable_settings()
    if settings is None:
        return
    if settings.ttl.peak_ttl > settings.ttl.default_ttl:
        yield checks.Warning(
            f'CALLCACHE["TTL"] lets entries live longer in peak hours, {settings.ttl.peak_ttl:g} s, '
            f"than outside, {settings.ttl.default_ttl:g} s.",
            hint="Make PEAK_TTL the shorter one, or leave it out.",
            id="callcache.W003",
        )
    if states("TTL"):
        return
    for cache in our_caches():
        if cache.options.stated_timeout is UNSET and all(rule.ttl is UNSET for rule in cache.options.rules):
            yield checks.Warning(
                f'CACHES["{cache.alias}"] states no TIMEOUT: other backends keep entries for 300 seconds '
                f"then, this one for {settings.ttl.default_ttl:g}, in peak hours {settings.ttl.peak_ttl:g}.",
                hint='State TIMEOUT, a rule with "ttl", or CALLCACHE["TTL"].',
                id="callcache.W002",
            )


def check_app(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """What is counted can be kept."""
    settings = usable_settings()
    if settings is None or not settings.stats.enabled or apps.is_installed("django_callcache"):
        return
    if any(cache.options.stats for cache in our_caches()):
        yield checks.Warning(
            "Cache calls are counted, but django_callcache, which keeps the counts, is not installed.",
            hint='Add "django_callcache" to INSTALLED_APPS, or set CALLCACHE["STATS"]["ENABLED"] to False.',
            id="callcache.W001",
        )


def _is_blocking(connection_class: object) -> bool:
    return isinstance(connection_class, type) and issubclass(connection_class, BLOCKING_CONNECTIONS)
