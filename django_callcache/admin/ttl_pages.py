"""The page on which people decide about TTLs: pin a prefix, pause what adapts, and end either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.functional import Promise
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from django_callcache import audit, pinning
from django_callcache.admin.access import Power, is_read_only, may, may_decide_ttl
from django_callcache.admin.aliases import Alias, aliases_of
from django_callcache.admin.frame import CACHE, PREFIX, PREFIXES, Pages, frame, refuse, told
from django_callcache.admin.pin_forms import LastingForm, PinForm
from django_callcache.conf import get_settings
from django_callcache.exceptions import PinRefused
from django_callcache.live import FAULTS, masked
from django_callcache.models import PREFIX_LENGTH, CacheOperation
from django_callcache.ttl import Overrides

TTL = "admin:django_callcache_ttl"

Kind = CacheOperation.Kind
Scope = CacheOperation.Scope


class Act(NamedTuple):
    """Something that can be decided."""

    kind: str
    title: Promise
    done: Promise
    takes_duration: bool
    is_of_prefix: bool


ACTS = {
    "pin": Act(Kind.PIN, _("Pin the time to live"), _("The time to live is pinned."), True, True),
    "unpin": Act(Kind.UNPIN, _("Take the pin away"), _("The policy decides again."), False, True),
    "pause": Act(
        Kind.PAUSE_TTL, _("Pause adaptive TTLs"), _("The default time to live holds from now on."),
        True, False,
    ),
    "resume": Act(
        Kind.RESUME_TTL, _("End the pause of TTLs"), _("The policies decide again."), False, False
    ),
}  # fmt: skip


class TtlPages(Pages):
    """What people decide about the TTLs of a cache."""

    def urls(self) -> list[URLPattern]:
        return [self.page("ttl/", self.ttl, TTL)]

    def ttl(self, request: HttpRequest) -> HttpResponse:
        """Ask what is to hold, and say what that does; on POST do it."""
        asked = request.POST if request.method == "POST" else request.GET
        name = asked.get("act", "")
        address = PREFIXES if name in ("pin", "unpin") else CACHE
        if not may_decide_ttl(request.user):
            return self._refuse(request, "read_only" if is_read_only() else "permission", address)
        ours = [alias for alias in aliases_of(request.user) if alias.is_ours]
        alias = next((each for each in ours if each.name == asked.get("alias")), None)
        if alias is None and request.method == "POST":
            return self._refuse(request, "permission", address)
        act = ACTS.get(name)
        if alias is None or act is None:
            return HttpResponseRedirect(reverse(PREFIXES, current_app=self.site.name))
        prefix = asked.get("prefix", "")[:PREFIX_LENGTH].replace("\0", "") if act.is_of_prefix else ""
        try:
            form = _form(act, alias, prefix, request.POST if request.method == "POST" else None)
        except PinRefused:
            if request.method == "POST":
                return self._refuse(request, "invalid", address)
            return self._page(request, act, alias, prefix, None)
        if request.method != "POST":
            return self._page(request, act, alias, prefix, form)
        if not form.is_valid():
            audit.refuse(request.user, "invalid", **_facts(request))
            return self._page(request, act, alias, prefix, form, status=400)
        return self._decide(request, act, alias, prefix, form)

    def _refuse(self, request: HttpRequest, why: str, address: str) -> HttpResponse:
        if request.method != "POST":
            return refuse(self.site, request, address=address, reason=why)
        return self.turn_away(request, address=address, why=why, **_facts(request))

    def _decide(
        self, request: HttpRequest, act: Act, alias: Alias, prefix: str, form: LastingForm
    ) -> HttpResponse:
        """Do it, with its trace, and go where it shows."""
        try:
            if _done(request, act, alias, prefix, form):
                messages.success(request, str(act.done))
            else:
                messages.warning(request, _("Nothing was changed: somebody has decided it already."))
        except PinRefused as refusal:
            messages.error(request, str(refusal))
        except FAULTS as fault:
            messages.error(request, masked(fault))
        query = {"alias": alias.name} | ({"prefix": prefix} if act.is_of_prefix else {})
        name = PREFIX if act.is_of_prefix else CACHE
        if not may(request.user, Power.VIEW_DASHBOARD):
            name, query = TTL, query | {"act": request.POST["act"]}
        return HttpResponseRedirect(f"{reverse(name, current_app=self.site.name)}?{urlencode(query)}")

    def _page(
        self,
        request: HttpRequest,
        act: Act,
        alias: Alias,
        prefix: str,
        form: LastingForm | None,
        *,
        status: int = 200,
    ) -> HttpResponse:
        context = frame(self.site, request, title=act.title, address=PREFIXES if act.is_of_prefix else CACHE)
        try:
            overrides = alias.cache.ttl_overrides()
        except FAULTS as fault:
            overrides, context["fault"] = Overrides(), masked(fault)
        context |= {
            "alias": alias,
            "prefix": prefix,
            "act": act.kind,
            "act_name": next(name for name, each in ACTS.items() if each is act),
            "form": form,
            "overrides": overrides,
            "pin": overrides.pins.get(prefix),
            "group": alias.cache.prefix_of(prefix),
            "default_ttl": get_settings().ttl.default_ttl,
        }
        if act.is_of_prefix:
            context["decision"] = alias.cache.explain_ttl(prefix)
        return TemplateResponse(request, "django_callcache/admin/ttl.html", context, status=status)


def known_overrides(alias: Alias) -> Overrides:
    """What people have decided about a cache, as Redis has it now; nothing where it does not answer."""
    try:
        return alias.cache.ttl_overrides()
    except FAULTS:
        return Overrides()


def _form(act: Act, alias: Alias, prefix: str, data: Any) -> LastingForm:
    if act.kind == Kind.PIN:
        return PinForm(data, bounds=alias.cache.pin_bounds(prefix))
    return LastingForm(data)


def _done(request: HttpRequest, act: Act, alias: Alias, prefix: str, form: LastingForm) -> bool:
    who: dict[str, Any] = {"by": request.user.get_username(), "user": request.user}
    who["reason"] = form.cleaned_data["reason"]
    lasts = form.lasts_seconds
    acts: dict[str, Callable[[], object]] = {
        Kind.PIN: lambda: pinning.pin(
            alias.cache, alias.name, prefix, form.cleaned_data["seconds"], lasts=lasts, **who
        ),
        Kind.UNPIN: lambda: pinning.unpin(alias.cache, alias.name, prefix, **who),
        Kind.PAUSE_TTL: lambda: pinning.pause(alias.cache, alias.name, lasts=lasts, **who),
        Kind.RESUME_TTL: lambda: pinning.resume(alias.cache, alias.name, **who),
    }
    return bool(acts[act.kind]())


def _facts(request: HttpRequest) -> dict[str, Any]:
    """What somebody wanted, for the audit."""
    act = ACTS.get(request.POST.get("act", ""))
    is_of_prefix = act is None or act.is_of_prefix
    return {
        "kind": Kind.TTL if act is None else act.kind,
        "scope": Scope.PREFIX if is_of_prefix else Scope.ALIAS,
        "alias": told(request, "alias", 100),
        "pattern": told(request, "prefix", PREFIX_LENGTH) if is_of_prefix else "",
        "reason": told(request, "reason", 500),
    }
