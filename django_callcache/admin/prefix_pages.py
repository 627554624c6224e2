"""The pages of prefixes: all of a cache, and one."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext_lazy as _

from django_callcache.admin.access import Power, may
from django_callcache.admin.aliases import aliases_of, chosen
from django_callcache.admin.frame import PREFIX, PREFIXES, Pages, frame, refuse
from django_callcache.admin.periods import ROUND, round_period
from django_callcache.admin.prefixes import PER_PAGE, prefix_facts, prefixes_of
from django_callcache.admin.ttl_pages import known_overrides
from django_callcache.admin.what_if import what_if
from django_callcache.models import PREFIX_LENGTH


class PrefixPages(Pages):
    """What is read under each prefix, and how long it is kept."""

    def urls(self) -> list[URLPattern]:
        return [
            self.page("prefixes/", self.prefixes, PREFIXES, only_shows=True),
            self.page("prefix/", self.prefix, PREFIX, only_shows=True),
        ]

    def prefixes(self, request: HttpRequest) -> HttpResponse:
        """Show the table."""
        if not may(request.user, Power.VIEW_DASHBOARD):
            return refuse(self.site, request, address=PREFIXES)
        aliases = aliases_of(request.user)
        alias = chosen(aliases, request.GET.get("alias"))
        text = request.GET.get("q", "")[:PREFIX_LENGTH].replace("\0", "")
        start = _number(request.GET.get("start", ""))
        context = frame(self.site, request, title=_("Prefixes"), address=PREFIXES)
        context |= {"aliases": aliases, "alias": alias, "periods": ROUND, "text": text}
        if alias is not None:
            context["overrides"] = known_overrides(alias)
            shown = prefixes_of(
                alias,
                round_period(request.GET.get("period", ""), "7d"),
                request.GET.get("sort", ""),
                text,
                start,
            )
            context |= {
                "shown": shown,
                "start": start,
                "next": start + PER_PAGE,
                "before": max(start - PER_PAGE, 0),
            }
        return TemplateResponse(request, "django_callcache/admin/prefixes.html", context)

    def prefix(self, request: HttpRequest) -> HttpResponse:
        """Show one prefix."""
        if not may(request.user, Power.VIEW_DASHBOARD):
            return refuse(self.site, request, address=PREFIXES)
        alias = chosen(aliases_of(request.user), request.GET.get("alias"))
        prefix = request.GET.get("prefix", "")[:PREFIX_LENGTH].replace("\0", "")
        context = frame(self.site, request, title=_("Prefix"), address=PREFIXES)
        context |= {"alias": alias, "prefix": prefix, "periods": ROUND}
        if alias is not None:
            overrides = known_overrides(alias)
            context |= {"overrides": overrides, "pin": overrides.pins.get(prefix)}
            facts = prefix_facts(alias, prefix, round_period(request.GET.get("period", ""), "7d"))
            context |= {"facts": facts, **what_if(alias, facts, request.GET)}
        return TemplateResponse(request, "django_callcache/admin/prefix.html", context)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
