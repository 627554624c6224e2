"""The remote store that the settings name, and the names of a cache there."""

from __future__ import annotations

from typing import cast

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_callcache.cache.backend import CallCache
from django_callcache.conf import SyncSettings, get_settings
from django_callcache.sync.remote import RemoteStore

REMOTES = {
    "supabase": "django_callcache.sync.supabase.SupabaseStore",
    "postgres": "django_callcache.sync.postgres.PostgresStore",
}
"""Named, not imported: each needs a library that the others' users may not have."""


def open_remote(settings: SyncSettings) -> RemoteStore | None:
    """Return the remote store of the settings, None where there is none.

    Raises:
        ImproperlyConfigured: It cannot be, or the namespace is missing.
    """
    if settings.remote is None:
        return None
    if not settings.namespace:
        raise ImproperlyConfigured('CALLCACHE["SYNC"]["NAMESPACE"] is missing: name this deployment')
    try:
        kind = import_string(REMOTES.get(settings.remote, settings.remote))
    except ImportError as error:
        raise ImproperlyConfigured(f'CALLCACHE["SYNC"]["REMOTE"]: {error}') from error
    return cast("RemoteStore", kind.from_settings(settings))


def namespace_of(cache: CallCache) -> str:
    """Return the name that the rows of a cache have in the remote store."""
    namespace = get_settings().sync.namespace
    return namespace if cache.alias == "default" else f"{namespace}/{cache.alias}"
