"""The page of alerts: what fires, what has fired, and the rules that decide."""

from __future__ import annotations

import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_callcache import audit
from django_callcache.admin.access import Power, is_read_only, may
from django_callcache.admin.aliases import aliases_of
from django_callcache.admin.forms import AlertForm
from django_callcache.admin.frame import ALERTS, Pages, frame, refuse, told
from django_callcache.clearing import Outcome, Scope
from django_callcache.conf import get_settings
from django_callcache.models import CacheAlert, CacheOperation

SHOWN = 50
"""Past alerts on the page; the list of the model has all."""


class AlertPage(Pages):
    """Alerts of the caches that a person may see."""

    def urls(self) -> list[URLPattern]:
        return [self.page("alerts/", self.alerts, ALERTS)]

    def alerts(self, request: HttpRequest) -> HttpResponse:
        """Show them; on POST note that somebody knows, or wants to hear no more for some hours."""
        if request.method == "POST":
            return self._handle(request)
        if not may(request.user, Power.VIEW_DASHBOARD):
            return refuse(self.site, request, address=ALERTS)
        return self._page(request)

    def _handle(self, request: HttpRequest) -> HttpResponse:
        form = AlertForm(request.POST)
        if is_read_only() or not may(request.user, Power.MANAGE_ALERTS):
            why = "read_only" if is_read_only() else "permission"
            return self.turn_away(request, address=ALERTS, why=why, **_facts(request, form))
        if not form.is_valid():
            return self._page(request, form, status=400)
        active = CacheAlert.objects.active().filter(alias__in=_names(request))
        alert = active.filter(pk=form.cleaned_data["alert"]).first()
        if alert is None:
            messages.error(request, _("Nothing was changed: the alert has been resolved meanwhile."))
            return HttpResponseRedirect(reverse(ALERTS, current_app=self.site.name))
        operation = audit.begin(
            request.user,
            kind=CacheOperation.Kind.ALERT,
            scope=Scope.ALIAS,
            alias=alert.alias,
            pattern=alert.rule,
            reason=form.cleaned_data["note"],
        )
        who, note = request.user.get_username(), form.cleaned_data["note"]
        if form.cleaned_data["act"] == "acknowledge":
            alert.acknowledge(who, note)
        else:
            until = timezone.now() + datetime.timedelta(hours=form.cleaned_data["hours"])
            alert.silence(until, who, note)
        audit.end(operation, Outcome.OK)
        return HttpResponseRedirect(reverse(ALERTS, current_app=self.site.name))

    def _page(
        self, request: HttpRequest, form: AlertForm | None = None, *, status: int = 200
    ) -> HttpResponse:
        seen = CacheAlert.objects.filter(alias__in=_names(request))
        settings = get_settings().alerts
        context = frame(self.site, request, title=_("Alerts"), address=ALERTS) | {
            "active": seen.active().order_by("began_at"),
            "past": seen.filter(state=CacheAlert.State.RESOLVED).order_by("-resolved_at")[:SHOWN],
            "settings": settings,
            "channels": settings.channels,
            "may_handle": may(request.user, Power.MANAGE_ALERTS) and not is_read_only(),
            "form": form or AlertForm(),
        }
        return TemplateResponse(request, "django_callcache/admin/alerts.html", context, status=status)


def _facts(request: HttpRequest, form: AlertForm) -> dict[str, str]:
    """What was wanted, for the audit."""
    alert = CacheAlert.objects.filter(pk=form.cleaned_data["alert"]).first() if form.is_valid() else None
    target = {} if alert is None else {"alias": alert.alias, "pattern": alert.rule}
    reason = told(request, "note", 500)
    return {"kind": CacheOperation.Kind.ALERT, "scope": Scope.ALIAS, "reason": reason, **target}


def _names(request: HttpRequest) -> set[str]:
    """Names under which the caches that a person may see are known to alerts."""
    return {alias.cache.alias for alias in aliases_of(request.user) if alias.is_ours}
