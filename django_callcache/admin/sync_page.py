"""The page of sync: whether it runs, what waits, and what waits for a person."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from django_callcache import audit
from django_callcache.admin.access import Power, is_read_only, may
from django_callcache.admin.aliases import Alias, aliases_of, chosen
from django_callcache.admin.backlog import sync_charts
from django_callcache.admin.frame import SYNC, Pages, frame, refuse, told
from django_callcache.admin.histories import synced_key
from django_callcache.admin.periods import ROUND, round_period
from django_callcache.cache import CallCache
from django_callcache.clearing import Outcome, Scope
from django_callcache.conf import get_settings
from django_callcache.live import FAULTS, LiveFacts, is_synced, look, masked
from django_callcache.models import PATTERN_LENGTH, CacheOperation, SyncConflict, SyncRejection, SyncRun
from django_callcache.replication import requests
from django_callcache.replication.decisions import discard, keep_local, keep_remote, requeue
from django_callcache.replication.preview import preview
from django_callcache.replication.remotes import open_remote
from django_callcache.sync.pause import pause, resume

DRY_RUN = "dry_run"
DRY_RUN_SECONDS = 5.0
"""How long a trial looks at both sides; beyond, its numbers are the least that they can be."""

Act = Callable[[CallCache, "Wish"], tuple[bool, str]]
"""Does something; returns whether anything came of it, and the key that it was about."""

LOOP_SILENT_SECONDS = 120.0
"""A loop that shows no sign of life for so long has died, or is at a very long pass."""

PASSES = 20
WAITING = 50
"""Conflicts and rejected entries on the page; the lists of the models have all."""


class SyncPage(Pages):
    """Sync of one cache."""

    def urls(self) -> list[URLPattern]:
        return [self.page("sync/", self.sync, SYNC)]

    def sync(self, request: HttpRequest) -> HttpResponse:
        """Show it; on POST ask for a pass, or decide what waits for a person."""
        alias = chosen(aliases_of(request.user), (request.POST or request.GET).get("alias"))
        if request.method == "POST":
            return self._decide(request, alias)
        if not may(request.user, Power.VIEW_DASHBOARD):
            return refuse(self.site, request, address=SYNC)
        return self._page(request, alias)

    def _page(self, request: HttpRequest, alias: Alias | None, **facts: Any) -> HttpResponse:
        context = frame(self.site, request, title=_("Sync"), address=SYNC)
        context |= {"aliases": aliases_of(request.user), "alias": alias, "now": timezone.now()}
        if alias is not None:
            context |= _facts(alias.cache)
            name = round_period(request.GET.get("period", ""))
            context |= {"periods": ROUND} | sync_charts(alias.cache.alias, name)
        shows_keys = may(request.user, Power.VIEW_KEYS)
        context |= {
            "shows_keys": shows_keys,
            "may_run": may(request.user, Power.RUN_SYNC) and not is_read_only(),
            "interval": get_settings().sync.interval,
            **facts,
        }
        return TemplateResponse(request, "django_callcache/admin/sync.html", context)

    def _decide(self, request: HttpRequest, alias: Alias | None) -> HttpResponse:
        if is_read_only() or not may(request.user, Power.RUN_SYNC):
            why = "read_only" if is_read_only() else "permission"
            return self.turn_away(request, address=SYNC, why=why, **_wanted(request))
        act = ACTS.get(request.POST.get("act", ""))  # a trial is no act: it changes nothing
        address = reverse(SYNC, current_app=self.site.name)
        if alias is None or (act is None and request.POST.get("act") != DRY_RUN):
            audit.refuse(request.user, "invalid", **_wanted(request))
            return HttpResponseRedirect(address)
        why = told(request, "reason", 400).strip()
        operation = audit.begin(
            request.user,
            kind=CacheOperation.Kind.SYNC,
            scope=Scope.ALIAS,
            alias=alias.name,
            reason=f"{request.POST['act']}: {why}" if why else request.POST["act"],
        )
        if act is None:
            return self._dry_run(request, alias, operation)
        number = request.POST.get("id", "")
        pk = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0
        try:
            done, key = act(alias.cache, Wish(pk, request.user.get_username(), why))
        except FAULTS as error:
            audit.end(operation, Outcome.FAILED, error_class=type(error).__name__, error=masked(error))
            messages.error(request, masked(error))
            return self._back(alias)
        if key:
            operation.scope, operation.pattern = Scope.KEY, key[:PATTERN_LENGTH]
            operation.save(update_fields=("scope", "pattern"))
        if done:
            audit.end(operation, Outcome.OK)
            messages.success(request, DONE[request.POST["act"]])
            if act in (_run, _resume) and not look(alias.cache).loops:
                messages.warning(request, _("No loop was seen in the last seconds: the pass waits for one."))
        else:
            audit.end(operation, Outcome.FAILED, error_class="DecidedMeanwhile")
            messages.warning(
                request, _("Nothing was changed: it was decided already, or the key was written meanwhile.")
            )
        return self._back(alias)

    def _dry_run(self, request: HttpRequest, alias: Alias, operation: CacheOperation) -> HttpResponse:
        """Show what a pass would do, as far as it can be found out in some seconds."""
        if not may(request.user, Power.VIEW_DASHBOARD):
            audit.end(operation, Outcome.REFUSED, error_class="permission")
            return refuse(self.site, request, address=SYNC)
        until = time.monotonic() + DRY_RUN_SECONDS
        remote = None
        try:
            remote = open_remote(get_settings().sync, is_waited_for=True)
            if remote is None:
                raise ImproperlyConfigured('CALLCACHE["SYNC"]["REMOTE"] is not set: nothing is synced.')
            remote.check_schema()
            found = preview(alias.cache, remote, may_go_on=lambda: time.monotonic() < until)
        except (*FAULTS, ImproperlyConfigured) as error:
            audit.end(operation, Outcome.FAILED, error_class=type(error).__name__, error=masked(error))
            messages.error(request, masked(error))
            return self._back(alias)
        finally:
            if remote is not None:
                remote.close()
        audit.end(operation, Outcome.OK)
        return self._page(request, alias, trial=found)

    def _back(self, alias: Alias) -> HttpResponse:
        address = reverse(SYNC, current_app=self.site.name)
        return HttpResponseRedirect(f"{address}?{urlencode({'alias': alias.name})}")


def _wanted(request: HttpRequest) -> dict[str, str]:
    """What somebody wanted, as the audit holds it: possibly nonsense."""
    row = told(request, "id", 18)
    return {
        "kind": CacheOperation.Kind.SYNC,
        "scope": Scope.ALIAS,
        "alias": told(request, "alias", 100),
        "pattern": f"#{row}" if row else "",
        "reason": told(request, "act", 500),
    }


class Wish(NamedTuple):
    """What somebody wants, beside its name."""

    pk: int
    """Of the row that it is about; 0 for none."""
    by: str
    reason: str


def _facts(cache: CallCache) -> dict[str, Any]:
    """What is known of the sync of a cache; a part may be missing where Redis does not answer."""
    live = look(cache)
    settings = get_settings().sync
    conflicts = SyncConflict.objects.filter(alias=cache.alias).open()
    oldest = list(conflicts.order_by("found_at")[: WAITING + 1])
    rejections = SyncRejection.objects.filter(alias=cache.alias)
    latest = list(rejections.order_by("-rejected_at")[: WAITING + 1])
    return {
        "live": live,
        "paused_at": live.held and moment(live.held.since),
        "is_synced": is_synced(cache),
        "has_remote": settings.remote is not None,
        "loop": _loop(live.heartbeat, settings.interval),
        "loops": [(moment(each.started_at), each) for each in live.loops],
        "standing": live.standing,
        "standing_since": live.standing and moment(live.standing.since),
        "next_at": _next_at(live),
        "runs": SyncRun.objects.for_alias(cache.alias).order_by("-started_at")[:PASSES],
        "conflicts": [(synced_key(one.key), one) for one in oldest[:WAITING]],
        "conflicts_number": len(oldest) if len(oldest) <= WAITING else conflicts.count(),
        "rejections": [(synced_key(one.key), one) for one in latest[:WAITING]],
        "rejections_number": len(latest) if len(latest) <= WAITING else rejections.count(),
    }


def _loop(heartbeat: Any, interval: float) -> dict[str, Any]:
    """Who works for the cache, and how worrying its silence is."""
    if heartbeat is None:
        return {"level": "error", "heartbeat": None}
    now = timezone.now().timestamp()
    age = max(now - heartbeat.alive_at, 0.0)
    is_silent = age > LOOP_SILENT_SECONDS and not heartbeat.is_ended
    since_pass = max(now - (heartbeat.passed_at or heartbeat.started_at), 0.0)
    level = "error" if since_pass > 5 * interval else "warning" if since_pass > 2 * interval else "ok"
    return {
        "level": "warning" if is_silent and level == "ok" else level,
        "heartbeat": heartbeat,
        "age": age,
        "is_silent": is_silent,
        "since_pass": since_pass,
    }


def _next_at(live: LiveFacts) -> datetime.datetime | None:
    """When the first of the loops begins its next turn; None where that is not known, or is now."""
    planned = [each.next_at for each in live.loops if each.next_at > live.now]
    return moment(min(planned)) if planned else None


def moment(unix_seconds: float) -> datetime.datetime:
    """A point in time."""
    return datetime.datetime.fromtimestamp(unix_seconds, datetime.UTC)


def _run(cache: CallCache, _wish: Wish) -> tuple[bool, str]:
    requests.request(cache)
    return True, ""


def _pause(cache: CallCache, wish: Wish) -> tuple[bool, str]:
    return pause(cache.redis_client(), cache.redis_keys, by=wish.by, reason=wish.reason), ""


def _resume(cache: CallCache, _wish: Wish) -> tuple[bool, str]:
    if not resume(cache.redis_client(), cache.redis_keys):
        return False, ""
    requests.request(cache)
    return True, ""


def _of_conflict(decide: Callable[..., bool]) -> Act:
    def act(cache: CallCache, wish: Wish) -> tuple[bool, str]:
        conflict = SyncConflict.objects.filter(alias=cache.alias, pk=wish.pk).first()
        return (False, "") if conflict is None else (decide(cache, conflict, by=wish.by), conflict.key)

    return act


def _requeue(cache: CallCache, wish: Wish) -> tuple[bool, str]:
    rejection = SyncRejection.objects.filter(alias=cache.alias, pk=wish.pk).first()
    return (False, "") if rejection is None else (requeue(cache, rejection), rejection.key)


def _discard(cache: CallCache, wish: Wish) -> tuple[bool, str]:
    rejection = SyncRejection.objects.filter(alias=cache.alias, pk=wish.pk).first()
    if rejection is None:
        return False, ""
    discard(rejection)
    return True, rejection.key


ACTS: dict[str, Act] = {
    "run": _run,
    "pause": _pause,
    "resume": _resume,
    "keep_local": _of_conflict(keep_local),
    "keep_remote": _of_conflict(keep_remote),
    "requeue": _requeue,
    "discard": _discard,
}

DONE = {
    "run": _("A pass was asked for; the loop begins it within a second or two."),
    "pause": _("Sync is paused; a pass under way is finished. What is written meanwhile waits."),
    "resume": _("Sync goes on; a pass was asked for."),
    "keep_local": _("The local value stays, and is pushed by the next pass."),
    "keep_remote": _("The remote value has replaced the local one."),
    "requeue": _("The entry is pushed again by the next pass."),
    "discard": _("The entry was given up: the remote store never gets it."),
}
