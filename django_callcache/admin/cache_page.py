"""The page of one cache."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext_lazy as _

from django_callcache.admin.access import Power, may
from django_callcache.admin.aliases import aliases_of, chosen
from django_callcache.admin.cache_facts import cache_facts
from django_callcache.admin.frame import CACHE, Pages, frame, refuse
from django_callcache.admin.periods import ROUND, round_period


class CachePage(Pages):
    """What a cache does, how fast, and how it is set up."""

    def urls(self) -> list[URLPattern]:
        return [self.page("cache/", self.cache, CACHE, only_shows=True)]

    def cache(self, request: HttpRequest) -> HttpResponse:
        """Show it."""
        if not may(request.user, Power.VIEW_DASHBOARD):
            return refuse(self.site, request, address=CACHE)
        aliases = aliases_of(request.user)
        alias = chosen(aliases, request.GET.get("alias"))
        context = frame(self.site, request, title=_("Cache"), address=CACHE)
        context |= {"aliases": aliases, "alias": alias, "periods": ROUND}
        if alias is not None:
            context["facts"] = cache_facts(alias, round_period(request.GET.get("period", "")))
        return TemplateResponse(request, "django_callcache/admin/cache.html", context)
