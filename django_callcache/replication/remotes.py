"""The remote store that the settings name, and the names of a cache there."""

from __future__ import annotations

from typing import Any, cast

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_callcache.cache.backend import CallCache
from django_callcache.conf import SyncSettings, get_settings
from django_callcache.sync.remote import RemoteStore
from django_callcache.sync.tables import SourceTables

REMOTES = {
    "supabase": "django_callcache.sync.supabase.SupabaseStore",
    "postgres": "django_callcache.sync.postgres.PostgresStore",
}
"""Named, not imported: each needs a library that the others' users may not have."""


def open_remote(settings: SyncSettings, *, is_waited_for: bool = False) -> RemoteStore | None:
    """Return the remote store of the settings, None where there is none.

    Args:
        settings: Of sync.
        is_waited_for: Whether a person waits, in a process with transactions of its own.

    Raises:
        ImproperlyConfigured: It cannot be, or the namespace is missing.
    """
    if settings.remote is None:
        return None
    if not settings.namespace:
        raise ImproperlyConfigured('CALLCACHE["SYNC"]["NAMESPACE"] is missing: name this deployment')
    kind = _kind_of(settings.remote)
    make = getattr(kind, "for_reading", kind.from_settings) if is_waited_for else kind.from_settings
    return cast("RemoteStore", make(settings))


def open_reader(settings: SyncSettings) -> SourceTables:
    """Return the remote store of the settings, to read business tables for callers who wait.

    Raises:
        ImproperlyConfigured: There is none, or it cannot be.
    """
    if settings.remote is None:
        raise ImproperlyConfigured('A rule has a table as source, but CALLCACHE["SYNC"]["REMOTE"] is not set')
    kind = _kind_of(settings.remote)
    if not hasattr(kind, "read_rows"):
        raise ImproperlyConfigured(f'CALLCACHE["SYNC"]["REMOTE"]: {settings.remote} reads no tables')
    return cast("SourceTables", getattr(kind, "for_reading", kind.from_settings)(settings))


def _kind_of(remote: str) -> Any:
    try:
        return import_string(REMOTES.get(remote, remote))
    except ImportError as error:
        raise ImproperlyConfigured(f'CALLCACHE["SYNC"]["REMOTE"]: {error}') from error


def namespace_of(cache: CallCache) -> str:
    """Return the name that the rows of a cache have in the remote store."""
    namespace = get_settings().sync.namespace
    return namespace if cache.alias == "default" else f"{namespace}/{cache.alias}"
