"""The page of alerts: what fires, what has fired, and the rules that decide."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_callcache import audit
from django_callcache.admin.access import Power, is_read_only, may
from django_callcache.admin.aliases import aliases_of
from django_callcache.admin.forms import AlertForm, TrialForm
from django_callcache.admin.frame import ALERTS, Pages, frame, refuse, told
from django_callcache.alerts.channels import tell
from django_callcache.alerts.notices import trial
from django_callcache.clearing import Outcome, Scope
from django_callcache.conf import ChannelSettings, get_settings
from django_callcache.conf.alert_rules import SEVERITIES
from django_callcache.exceptions import ChannelFailed
from django_callcache.live import look
from django_callcache.models import PATTERN_LENGTH, CacheAlert, CacheOperation

TRY = "try"

LATE_LOOKS, LATE_SECONDS = 3, 90.0
"""The loop is late with its looks at the rules after so many of them, and so many seconds, without a sign."""

SHOWN = 50
"""Past alerts on the page; the list of the model has all."""


class AlertPage(Pages):
    """Alerts of the caches that a person may see."""

    def urls(self) -> list[URLPattern]:
        return [self.page("alerts/", self.alerts, ALERTS)]

    def alerts(self, request: HttpRequest) -> HttpResponse:
        """Show them; on POST acknowledge or silence one, or try a channel."""
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
        if request.POST.get("act") == TRY:
            return self._try(request)
        if not form.is_valid():
            audit.refuse(request.user, "invalid", **_facts(request, form))
            return self._page(request, form, status=400)
        act, note = form.cleaned_data["act"], form.cleaned_data["note"]
        active = CacheAlert.objects.active().filter(alias__in=_names(request))
        alert = active.filter(pk=form.cleaned_data["alert"]).first()
        if alert is None:
            operation = audit.begin(request.user, **_facts(request, form))
            audit.end(operation, Outcome.FAILED, error_class="ResolvedMeanwhile")
            messages.error(request, _("Nothing was changed: the alert has been resolved meanwhile."))
        elif act == "acknowledge":
            handle(request.user, alert, note)
        else:
            until = timezone.now() + datetime.timedelta(hours=form.cleaned_data["hours"])
            handle(request.user, alert, note, until)
        return self._back()

    def _try(self, request: HttpRequest) -> HttpResponse:
        """Send a trial notice by a channel."""
        channels = {channel.name: channel for channel in get_settings().alerts.channels}
        form = TrialForm(request.POST, channels=channels)
        facts = _facts(request, AlertForm())
        if not form.is_valid():
            audit.refuse(request.user, "invalid", **facts)
            messages.error(request, _("Nothing was sent: there is no such channel."))
            return self._back()
        operation = audit.begin(request.user, **facts)
        name = form.cleaned_data["channel"]
        try:
            tell(channels[name], trial(timezone.now()))
        except ChannelFailed as failure:
            audit.end(operation, Outcome.FAILED, error_class=type(failure).__name__, error=str(failure))
            messages.error(request, _("The channel did not take the notice: %s") % failure)
        else:
            audit.end(operation, Outcome.OK)
            messages.success(request, _("The channel %s took the notice.") % name)
        return self._back()

    def _back(self) -> HttpResponse:
        return HttpResponseRedirect(reverse(ALERTS, current_app=self.site.name))

    def _page(
        self, request: HttpRequest, form: AlertForm | None = None, *, status: int = 200
    ) -> HttpResponse:
        seen = CacheAlert.objects.filter(alias__in=_names(request))
        settings = get_settings().alerts
        active = list(seen.active().order_by("began_at"))
        past = list(seen.filter(state=CacheAlert.State.RESOLVED).order_by("-resolved_at")[:SHOWN])
        context = frame(self.site, request, title=_("Alerts"), address=ALERTS) | {
            "active": active,
            "past": past,
            "settings": settings,
            "has_rules": any(rule.enabled for rule in settings.rules),
            "channels": [(each, _fault_of(each, [*active, *past])) for each in settings.channels],
            "late": _late(request, settings.interval) if settings.enabled else [],
            "may_handle": may(request.user, Power.MANAGE_ALERTS) and not is_read_only(),
            "form": form or AlertForm(),
        }
        return TemplateResponse(request, "django_callcache/admin/alerts.html", context, status=status)


def handle(user: Any, alert: CacheAlert, note: str = "", until: datetime.datetime | None = None) -> None:
    """Acknowledge an alert, or silence it until a moment; the audit knows by whom."""
    operation = audit.begin(
        user,
        kind=CacheOperation.Kind.ALERT,
        scope=Scope.ALIAS,
        alias=alert.alias,
        pattern=alert.rule,
        reason=note,
    )
    if until is None:
        alert.acknowledge(user.get_username(), note)
    else:
        alert.silence(until, user.get_username(), note)
    audit.end(operation, Outcome.OK)


def _fault_of(channel: ChannelSettings, alerts: Sequence[CacheAlert]) -> str:
    """Why a channel did not take what it was told last; empty where it took it."""
    least = SEVERITIES.index(channel.severity)
    concerned = [alert for alert in alerts if alert.told_at and SEVERITIES.index(alert.severity) >= least]
    last = max(concerned, key=_told_last, default=None)
    return "" if last is None else str(last.faults.get(channel.name, ""))


def _told_last(alert: CacheAlert) -> datetime.datetime:
    return alert.resolved_at or alert.told_at or alert.began_at


def _late(request: HttpRequest, interval: float) -> list[tuple[str, float | None]]:
    """The caches that nobody looks at in time: how long not; None for never."""
    late = []
    for alias in aliases_of(request.user):
        live = look(alias.cache, synced=False) if alias.is_ours else None
        if live is None or not live.is_reachable:
            continue  # who looks may know more of this Redis than this process
        age = None if live.heartbeat is None else live.now - live.heartbeat.alive_at
        if age is None or age > max(LATE_LOOKS * interval, LATE_SECONDS):
            late.append((alias.name, age))
    return late


def _facts(request: HttpRequest, form: AlertForm) -> dict[str, str]:
    """What was wanted, for the audit."""
    if request.POST.get("act") == TRY:
        pattern = told(request, "channel", PATTERN_LENGTH)
        return {"kind": CacheOperation.Kind.ALERT, "scope": Scope.ALIAS, "reason": TRY, "pattern": pattern}
    alert = CacheAlert.objects.filter(pk=form.cleaned_data["alert"]).first() if form.is_valid() else None
    target = {} if alert is None else {"alias": alert.alias, "pattern": alert.rule}
    reason = told(request, "note", 500)
    return {"kind": CacheOperation.Kind.ALERT, "scope": Scope.ALIAS, "reason": reason, **target}


def _names(request: HttpRequest) -> set[str]:
    """Names under which the caches that a person may see are known to alerts."""
    return {alias.cache.alias for alias in aliases_of(request.user) if alias.is_ours}
