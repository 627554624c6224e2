"""The page that comes first."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext_lazy as _

from django_callcache.admin.access import Power, may
from django_callcache.admin.aliases import aliases_of, chosen
from django_callcache.admin.frame import OVERVIEW, Pages, frame, refuse
from django_callcache.admin.overview import overview_of
from django_callcache.admin.periods import LABELS


class OverviewPage(Pages):
    """The numbers of one cache over one period."""

    def urls(self) -> list[URLPattern]:
        return [self.page("", self.overview, OVERVIEW)]

    def overview(self, request: HttpRequest) -> HttpResponse:
        """Show them."""
        if not may(request.user, Power.VIEW_DASHBOARD):
            return refuse(self.site, request, address=OVERVIEW)
        aliases = aliases_of(request.user)
        alias = chosen(aliases, request.GET.get("alias"))
        context = frame(self.site, request, title=_("Cache overview"), address=OVERVIEW) | {
            "aliases": aliases,
            "has_foreign": not all(alias.is_ours for alias in aliases),
            "periods": LABELS,
            "overview": overview_of(alias, request.GET.get("period")) if alias else None,
        }
        return TemplateResponse(request, "django_callcache/admin/overview.html", context)
