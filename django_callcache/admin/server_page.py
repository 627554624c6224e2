"""The page of the Redis server."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext_lazy as _

from django_callcache.admin.access import Power, may
from django_callcache.admin.aliases import aliases_of, chosen
from django_callcache.admin.frame import SERVER, Pages, frame, refuse
from django_callcache.admin.server import server_of
from django_callcache.live import FAULTS, is_synced, masked


class ServerPage(Pages):
    """What the server says of itself, and what to make of it."""

    def urls(self) -> list[URLPattern]:
        return [self.page("server/", self.server, SERVER, only_shows=True)]

    def server(self, request: HttpRequest) -> HttpResponse:
        """Show it."""
        if not may(request.user, Power.VIEW_DASHBOARD):
            return refuse(self.site, request, address=SERVER)
        aliases = aliases_of(request.user)
        alias = chosen(aliases, request.GET.get("alias"))
        context = frame(self.site, request, title=_("Server"), address=SERVER)
        context |= {"aliases": aliases, "alias": alias}
        if alias is not None:
            try:
                context["server"] = server_of(alias.cache, synced=is_synced(alias.cache))
            except FAULTS as error:
                context["fault"] = masked(error)
        return TemplateResponse(request, "django_callcache/admin/server.html", context)
