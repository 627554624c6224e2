"""The admin pages, registered with the default site on import; another site takes ``register(site)``."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.sites import AdminSite

from django_callcache.admin.histories import (
    CacheAlertAdmin,
    CacheOperationAdmin,
    CacheStatAdmin,
    CompressionDictionaryAdmin,
    SyncConflictAdmin,
    SyncRejectionAdmin,
    SyncRunAdmin,
)
from django_callcache.admin.pages import DashboardAdmin
from django_callcache.models import (
    CacheAlert,
    CacheOperation,
    CacheStat,
    CompressionDictionary,
    Dashboard,
    SyncConflict,
    SyncRejection,
    SyncRun,
)

PAGES = {
    Dashboard: DashboardAdmin,
    CacheStat: CacheStatAdmin,
    SyncRun: SyncRunAdmin,
    SyncConflict: SyncConflictAdmin,
    SyncRejection: SyncRejectionAdmin,
    CompressionDictionary: CompressionDictionaryAdmin,
    CacheAlert: CacheAlertAdmin,
    CacheOperation: CacheOperationAdmin,
}


def register(site: AdminSite) -> None:
    """Register the pages with a site; what it has registered already stays as it is."""
    for model, model_admin in PAGES.items():
        if not site.is_registered(model):
            site.register(model, model_admin)


register(admin.site)
