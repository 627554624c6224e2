"""What all pages share: context, tabs, and the page that refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import django
from django.apps import apps
from django.conf import settings
from django.contrib.admin.sites import AdminSite
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext
from django.views.decorators.http import require_safe

from django_callcache import audit
from django_callcache.admin.access import CLEARING, Power, is_read_only, may, may_decide_ttl
from django_callcache.models import CacheOperation, CacheStat, Dashboard, SyncRun

OVERVIEW = "admin:django_callcache_dashboard_changelist"
FIGURES = "admin:django_callcache_figures"
CACHE = "admin:django_callcache_cache"
CLEAR = "admin:django_callcache_clear"
CLEAR_KEYS = "admin:django_callcache_clear_keys"
CLEARED = "admin:django_callcache_cleared"
PREFIXES = "admin:django_callcache_prefixes"
PREFIX = "admin:django_callcache_prefix"
KEYS = "admin:django_callcache_keys"
KEY = "admin:django_callcache_key"
KEYS_DATA = "admin:django_callcache_keys_data"
DATA = "admin:django_callcache_data"
SYNC = "admin:django_callcache_sync"
ALERTS = "admin:django_callcache_alerts"
SERVER = "admin:django_callcache_server"


class Pages:
    """A family of pages.

    Args:
        site: The site that routes to them.
    """

    def __init__(self, site: AdminSite) -> None:
        self.site = site

    def urls(self) -> list[URLPattern]:
        """The addresses of its pages."""
        raise NotImplementedError

    def page(
        self, route: str, view: Callable[..., HttpResponseBase], address: str, *, only_shows: bool = False
    ) -> URLPattern:
        """Route to one of them through the site's login.

        Args:
            route: Below the overview.
            view: Its method.
            address: Name of the address, as links have it.
            only_shows: Whether a POST is answered by 405 without asking the view.
        """
        view = require_safe(view) if only_shows else view
        return path(route, self.site.admin_view(view), name=address.removeprefix("admin:"))

    def turn_away(
        self, request: HttpRequest, *, address: str, why: str = "permission", **facts: Any
    ) -> HttpResponse:
        """Refuse what somebody wanted to do; the audit knows of it.

        Args:
            request: With what was wanted.
            address: Name of the page's address, for its tab.
            why: Name of the reason.
            facts: For the audit.
        """
        audit.refuse(request.user, why, **facts)
        return refuse(self.site, request, address=address, reason=why)


def told(request: HttpRequest, name: str, length: int) -> str:
    """Return what a form said, as the audit holds it: possibly nonsense, never too long."""
    return request.POST.get(name, "").replace("\0", "\ufffd")[:length]


class Tab(NamedTuple):
    """A link to another page of the cache."""

    url: str
    label: Promise
    is_current: bool


def frame(site: AdminSite, request: HttpRequest, *, title: Promise, address: str) -> dict[str, Any]:
    """Return the context that a page begins with.

    Args:
        site: The site that routed the request.
        request: Its user decides which tabs there are.
        title: Of the page.
        address: Name of the page's address, for its tab.
    """
    request.current_app = site.name
    return {
        **site.each_context(request),
        "title": title,
        "opts": Dashboard._meta,
        "tabs": tabs(site, request.user, address),
        "is_read_only": is_read_only(),
        "may_clear": may_clear(request.user),
        "may_decide_ttl": may_decide_ttl(request.user),
        "breadcrumbs_are_a_list": django.VERSION >= (6, 1),
        "title_is_missing": apps.is_installed("jazzmin"),
        "language": spoken_language(),
    }


class Language(NamedTuple):
    """What the pages are written in."""

    code: str
    direction: str


def spoken_language() -> Language:
    """Return the language of the request, or English where nobody has translated the pages to it."""
    code = pgettext("the code of this language, such as es", "en")
    is_bidi = code.partition("-")[0] in settings.LANGUAGES_BIDI
    return Language(code, "rtl" if is_bidi else "ltr")


def tabs(site: AdminSite, user: Any, address: str) -> list[Tab]:
    """Return links to the pages that a user may open."""
    sees = may(user, Power.VIEW_DASHBOARD)
    pages = [
        (OVERVIEW, _("Overview"), sees),
        (CACHE, _("Cache"), sees),
        (PREFIXES, _("Prefixes"), sees),
        (KEYS, _("Keys"), may(user, Power.VIEW_KEYS)),
        (SYNC, _("Sync"), sees),
        (ALERTS, _("Alerts"), sees),
        (SERVER, _("Server"), sees),
        (CLEAR, _("Clear"), may_clear(user)),
        *(
            (f"admin:django_callcache_{model._meta.model_name}_changelist", label, allowed)
            for model, label, allowed in (
                (CacheStat, _("Hourly statistics"), sees),
                (SyncRun, _("Sync passes"), sees),
                (CacheOperation, _("Operations"), may_audit(user)),
            )
            if site.is_registered(model)
        ),
    ]
    return [
        Tab(reverse(name, current_app=site.name), label, name == address)
        for name, label, allowed in pages
        if allowed
    ]


def may_clear(user: Any) -> bool:
    """Tell whether a user finds the page that clears."""
    return not is_read_only() and may(user, *CLEARING)


def may_audit(user: Any) -> bool:
    """Tell whether a user may read the audit, which quotes patterns of keys."""
    return may(user, Power.VIEW_KEYS, *CLEARING)


def refuse(
    site: AdminSite, request: HttpRequest, *, address: str, reason: str = "permission"
) -> HttpResponse:
    """Return the page that says no, inside the admin and with the ways that are open."""
    context = frame(site, request, title=_("Not allowed"), address=address) | {"reason": reason}
    return TemplateResponse(request, "django_callcache/admin/refused.html", context, status=403)
