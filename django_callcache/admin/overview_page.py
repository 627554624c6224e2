"""The page that comes first, and the same figures as JSON."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _

from django_callcache.admin.access import Power, may
from django_callcache.admin.aliases import aliases_of, chosen
from django_callcache.admin.frame import FIGURES, OVERVIEW, Pages, frame, refuse
from django_callcache.admin.overview import Overview, overview_of
from django_callcache.admin.periods import LABELS
from django_callcache.admin.tiles import tiles_of

REFRESH_SECONDS = (5, 15, 60)
"""What a person may choose; the page starts with the first."""


class OverviewPage(Pages):
    """The numbers of one cache over one period."""

    def urls(self) -> list[URLPattern]:
        return [
            self.page("", self.overview, OVERVIEW, only_shows=True),
            self.page("figures/", self.figures, FIGURES, only_shows=True),
        ]

    def overview(self, request: HttpRequest) -> HttpResponse:
        """Show them."""
        if not may(request.user, Power.VIEW_DASHBOARD):
            return refuse(self.site, request, address=OVERVIEW)
        aliases = aliases_of(request.user)
        alias = chosen(aliases, request.GET.get("alias"))
        overview = overview_of(alias, request.GET.get("period")) if alias else None
        context = frame(self.site, request, title=_("Cache overview"), address=OVERVIEW) | {
            "aliases": aliases,
            "has_foreign": not all(alias.is_ours for alias in aliases),
            "periods": LABELS,
            "overview": overview,
            "tiles": tuple(tiles_of(overview)) if overview else (),
            "refresh_seconds": REFRESH_SECONDS,
        }
        return TemplateResponse(request, "django_callcache/admin/overview.html", context)

    def figures(self, request: HttpRequest) -> HttpResponse:
        """Give the figures as JSON."""
        if not may(request.user, Power.VIEW_DASHBOARD):
            return JsonResponse({"error": str(_("You are not allowed to do this."))}, status=403)
        alias = chosen(aliases_of(request.user), request.GET.get("alias"))
        if alias is None:
            return JsonResponse({"error": str(_("No cache of this site can be shown here."))}, status=404)
        overview = overview_of(alias, request.GET.get("period"))
        return _as_json(overview)


def _as_json(overview: Overview) -> HttpResponse:
    """The words of the tiles, and the worst level among the findings."""
    tiles = [[tile.name, tile.figure, tile.note, tile.look] for tile in tiles_of(overview)]
    as_of = date_format(timezone.localtime(overview.now), "H:i:s")
    return JsonResponse({"as_of": as_of, "worst": overview.worst, "tiles": tiles})
