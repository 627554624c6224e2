"""Checks of the sync with a remote store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.connection import ConnectionDoesNotExist
from django.utils.module_loading import import_string

from django_callcache.checks.subjects import our_caches, usable_settings
from django_callcache.conf import TableSource

LONGEST_NAMESPACE = 128
"""Bytes of the column in the remote store."""


def check_sync(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """Where a rule asks for sync, there is a remote store and a namespace in it."""
    settings = usable_settings()
    synced = [cache for cache in our_caches() if any(rule.sync for rule in cache.options.rules)]
    if settings is None or not synced:
        return
    aliases = ", ".join(repr(cache.alias) for cache in synced)
    if not settings.sync.namespace:
        yield checks.Error(
            f'Rules of {aliases} have "sync", but CALLCACHE["SYNC"]["NAMESPACE"] is not set.',
            hint='Name this deployment, for example "crm-production", so that no other one gets its entries.',
            id="callcache.E007",
        )
    if settings.sync.remote is None:
        yield checks.Warning(
            f'Rules of {aliases} have "sync", but CALLCACHE["SYNC"]["REMOTE"] is not set: entries wait.',
            hint='Set it to "supabase" or "postgres"; once too many wait, new keys are refused.',
            id="callcache.W007",
        )
    for cache in synced:
        namespace = settings.sync.namespace + ("" if cache.name == "default" else f"/{cache.name}")
        if len(namespace.encode()) > LONGEST_NAMESPACE:
            yield checks.Error(
                f"The namespace of {cache.alias!r} in the remote store, {namespace!r}, is longer than "
                f"{LONGEST_NAMESPACE} bytes.",
                hint='Shorten CALLCACHE["SYNC"]["NAMESPACE"] or OPTIONS["CALLCACHE"]["ALIAS"].',
                id="callcache.E011",
            )


def check_tables(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """Where a table is a source, there is a remote store that has it."""
    settings = usable_settings()
    if settings is None or (settings.sync.remote is not None and settings.sync.namespace):
        return
    for cache in our_caches():
        for rule in cache.options.rules:
            if isinstance(rule.source, TableSource):
                yield checks.Error(
                    f"The rule {rule.prefix!r} of {cache.alias!r} has the table {rule.source.table!r} of the "
                    'remote store as source, but CALLCACHE["SYNC"] has no REMOTE or no NAMESPACE.',
                    hint="Set both; or, if you meant a model, name its app too, as in 'crm.Campaign'.",
                    id="callcache.E026",
                )


def check_eviction(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """What waits for the remote store is not meant to be evicted."""
    for cache in our_caches():
        policy = cache.options.expect_eviction_policy or ""
        if policy.startswith("allkeys") and any(rule.sync for rule in cache.options.rules):
            yield checks.Error(
                f'Rules of {cache.alias!r} have "sync", but its EXPECT_EVICTION_POLICY is {policy!r}: '
                "Redis may evict what waits for the remote store.",
                hint="Set maxmemory-policy, and EXPECT_EVICTION_POLICY, to noeviction or volatile-lru.",
                id="callcache.E019",
            )


def check_strategies(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """The functions that rules name to merge two sides are there."""
    for cache in our_caches():
        for rule in cache.options.rules:
            if rule.sync is None or "." not in rule.sync:
                continue
            try:
                found = import_string(rule.sync)
                reason = "" if callable(found) else "it is no function"
            except ImportError as error:
                reason = str(error)
            if reason:
                yield checks.Error(
                    f'The rule {rule.prefix!r} of {cache.alias!r} has "sync" {rule.sync!r}, which cannot be '
                    f"used: {reason}.",
                    hint="Give the dotted path of a function that takes a key and its two values.",
                    id="callcache.E018",
                )


def check_remote(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """The remote store that is named is there."""
    settings = usable_settings()
    if settings is None or settings.sync.remote is None:
        return
    if settings.sync.remote == "postgres":
        yield from _check_database(settings.sync.database)
    elif "." in settings.sync.remote:
        try:
            import_string(settings.sync.remote)
        except ImportError as error:
            yield checks.Error(
                f'CALLCACHE["SYNC"]["REMOTE"] cannot be imported: {error}.',
                hint="Give the dotted path of a RemoteStore.",
                id="callcache.E010",
            )


def _check_database(alias: str) -> Iterator[checks.CheckMessage]:
    where = f'CALLCACHE["SYNC"]["DATABASE"] is {alias!r}'
    try:
        vendor = connections[alias].vendor
    except ConnectionDoesNotExist:
        known = ", ".join(map(repr, connections))
        yield checks.Error(
            f"{where}, which DATABASES does not have.", hint=f"Known: {known}.", id="callcache.E008"
        )
    except ImproperlyConfigured as error:
        yield checks.Error(f"{where}, which cannot be used: {error}", id="callcache.E009")
    else:
        if vendor != "postgresql":
            hint = "Name the alias of the Postgres that Supabase stores its tables in."
            yield checks.Error(
                f"{where}, which is no PostgreSQL but {vendor}.", hint=hint, id="callcache.E009"
            )
