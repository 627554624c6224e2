"""The pages of the cache, in the place of a model's lists and forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern

from django_callcache.admin.access import CLEARING, Power, may
from django_callcache.admin.alert_page import AlertPage
from django_callcache.admin.cache_page import CachePage
from django_callcache.admin.clear_pages import ClearPages
from django_callcache.admin.frame import Pages
from django_callcache.admin.key_pages import KeyPages
from django_callcache.admin.overview_page import OverviewPage
from django_callcache.admin.prefix_pages import PrefixPages
from django_callcache.admin.server_page import ServerPage
from django_callcache.admin.sheet_pages import SheetPages
from django_callcache.admin.sync_page import SyncPage
from django_callcache.admin.ttl_pages import TtlPages
from django_callcache.models import Dashboard

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Dashboard]
else:  # generic in the stubs only
    _ModelAdmin = admin.ModelAdmin

PAGES: tuple[type[Pages], ...] = (
    OverviewPage,
    CachePage,
    PrefixPages,
    TtlPages,
    KeyPages,
    ClearPages,
    SyncPage,
    AlertPage,
    ServerPage,
    SheetPages,
)


class DashboardAdmin(_ModelAdmin):
    """Carries the pages; there is no table behind it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Power.VIEW_DASHBOARD, Power.VIEW_KEYS, *CLEARING)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        return [url for pages in PAGES for url in pages(self.admin_site).urls()]
