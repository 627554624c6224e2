"""The pages that clear: the question, the preview, the deed, the report."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from django_callcache import audit, clearing
from django_callcache.admin.access import CLEARING, Power, is_read_only, may
from django_callcache.admin.aliases import Alias, aliases_of, chosen
from django_callcache.admin.clearing import (
    GROWTH,
    GROWTH_FLOOR,
    IN_REQUEST,
    Preview,
    Refused,
    check_bounds,
    expected_by,
    limit_for,
    make_token,
    power_of,
    preview,
)
from django_callcache.admin.forms import ClearForm
from django_callcache.admin.frame import CLEAR, CLEAR_KEYS, CLEARED, KEYS, Pages, frame, refuse, told
from django_callcache.admin.numbers import number
from django_callcache.clearing import Outcome, Scope, Target
from django_callcache.conf import get_settings
from django_callcache.live import FAULTS, look, masked
from django_callcache.models import PATTERN_LENGTH, CacheOperation

Kind = CacheOperation.Kind

REFUSED_STATUS = {"typed": 400, "invalid": 400, "grown": 409, "expired": 409}
"""Status of a refusal after which the person may try again; any other is a 403."""

MOST_KEYS = 500
"""Keys that can be chosen at once; a page of keys has hardly more."""


class ClearPages(Pages):
    """Clearing a cache, or part of it."""

    def urls(self) -> list[URLPattern]:
        return [
            self.page("clear/", self.clear, CLEAR),
            self.page("clear/keys/", self.clear_keys, CLEAR_KEYS),
            self.page("clear/<int:pk>/", self.cleared, CLEARED),
        ]

    def clear(self, request: HttpRequest) -> HttpResponse:
        """Ask what to clear and show what that would do; on POST do it."""
        if request.method == "POST":
            form = self._form(request.user, request.POST)
            return self._clear_now(request, _facts(request), form)
        if is_read_only() or not may(request.user, *CLEARING):
            reason = "permission" if not is_read_only() else "read_only"
            return refuse(self.site, request, address=CLEAR, reason=reason)
        asked = "scope" in request.GET
        form = self._form(request.user, request.GET if asked else None, initial=_initial(request))
        if not asked or not form.is_valid():
            return self._clear_page(request, form)
        return self._preview_page(request, form.target)

    def clear_keys(self, request: HttpRequest) -> HttpResponse:
        """Show what deleting the keys chosen on the page of keys would do; with a token do it."""
        if request.method != "POST" and may(request.user, Power.DELETE_KEYS) and not is_read_only():
            return HttpResponseRedirect(reverse(KEYS, current_app=self.site.name))
        if "token" in request.POST:
            return self._clear_now(request, _facts(request, Scope.KEYS), None)
        if is_read_only() or not may(request.user, Power.DELETE_KEYS):
            why = "permission" if not is_read_only() else "read_only"
            if request.method != "POST":
                return refuse(self.site, request, address=CLEAR, reason=why)
            return self.turn_away(request, address=CLEAR, why=why, **_facts(request, Scope.KEYS))
        target = _chosen_keys(request)
        if not target.keys:
            messages.warning(request, _("No key was chosen."))
            address = reverse(KEYS, current_app=self.site.name)
            return HttpResponseRedirect(f"{address}?{urlencode({'alias': target.alias})}")
        return self._preview_page(request, target)

    def cleared(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Report what came of an attempt, or how far it is; on POST stop it, or go on with it."""
        if not may(request.user, *CLEARING):
            if request.method != "POST":
                return refuse(self.site, request, address=CLEAR)
            facts = _steering(request, pk, CacheOperation.objects.clearings().filter(pk=pk).first())
            return self.turn_away(request, address=CLEAR, **facts)
        operation = get_object_or_404(CacheOperation, pk=pk, kind=Kind.CLEAR)
        found = [alias for alias in aliases_of(request.user) if alias.name == operation.alias]
        if not found:
            raise Http404
        if request.method == "POST":
            return self._steer(request, operation, found[0])
        if request.GET.get("format") == "json":
            return JsonResponse(_progress(operation))
        context = frame(self.site, request, title=_("What was cleared"), address=CLEAR)
        if not operation.is_finished and found[0].is_ours:
            context["live"] = look(found[0].cache, synced=False)
        context |= {
            "operation": operation,
            "percent": round(100 * (operation.share or 0)),
            "may_stop": _may_steer(request.user, operation) and operation.can_be_stopped,
            "may_resume": _may_steer(request.user, operation) and operation.can_be_resumed,
            "shows_names": may(request.user, Power.VIEW_KEYS),
        }
        return TemplateResponse(request, "django_callcache/admin/cleared.html", context)

    def _steer(self, request: HttpRequest, operation: CacheOperation, alias: Alias) -> HttpResponse:
        """Stop a clearing, or let the loop go on with it."""
        facts = _steering(request, operation.pk, operation)
        if not _may_steer(request.user, operation):
            why = "read_only" if is_read_only() else "permission"
            return self.turn_away(request, address=CLEAR, why=why, **facts)
        act = audit.begin(request.user, **facts)
        try:
            done = _stop(operation) if act.kind == Kind.STOP else _resume(alias, operation)
        except FAULTS as error:
            audit.end(act, Outcome.FAILED, error_class=type(error).__name__, error=masked(error))
            messages.error(request, masked(error))
        else:
            if done:
                audit.end(act, Outcome.OK)
            else:
                audit.end(act, Outcome.FAILED, error_class="EndedMeanwhile")
                messages.warning(request, _("Nothing was changed: it had ended, or somebody works on it."))
        return self._to_report(operation)

    def _clear_now(self, request: HttpRequest, facts: dict[str, Any], form: ClearForm | None) -> HttpResponse:
        """Do what was confirmed, or say why not; either way leave a trace.

        Args:
            request: With the confirmation.
            facts: For the audit.
            form: What to clear; None for chosen keys.
        """
        operation = audit.begin(request.user, **facts)
        target = None
        try:
            target, expected = self._confirmed(request, form)
            operation.expected = expected
            operation.limit = limit_for(request.user, target.scope)
            operation.save(update_fields=("expected", "limit"))
            cache = chosen(aliases_of(request.user), target.alias).cache  # type: ignore[union-attr]
            seen = preview(cache, target)
            self._check(request, target, seen, expected)
            if seen.estimate > IN_REQUEST and target.scope not in (Scope.KEY, Scope.KEYS):
                clearing.queue(cache, operation)
            else:
                clearing.run_now(cache, operation, target)
        except Refused as refused:
            return self._refused(request, form, target, operation, refused.args[0])
        except FAULTS as error:
            audit.end(operation, Outcome.FAILED, error_class=type(error).__name__, error=masked(error))
        return self._to_report(operation)

    def _to_report(self, operation: CacheOperation) -> HttpResponse:
        return HttpResponseRedirect(reverse(CLEARED, args=[operation.pk], current_app=self.site.name))

    def _confirmed(self, request: HttpRequest, form: ClearForm | None) -> tuple[Target, int]:
        """Return what was confirmed, and how many keys its preview announced.

        Raises:
            Refused: The person may not, or no preview stands behind it.
        """
        if is_read_only():
            raise Refused("read_only")
        if not may(request.user, *(CLEARING if form is not None else (Power.DELETE_KEYS,))):
            raise Refused("permission")
        if form is None:
            target = _chosen_keys(request)
            if target.alias not in {alias.name for alias in aliases_of(request.user) if alias.is_ours}:
                raise Refused("permission")
        elif form.is_valid():
            target = form.target
        else:
            raise Refused("permission" if _asks_for_more(form) else "invalid")
        return target, expected_by(request.POST.get("token", ""), request.user.pk, target)

    def _check(self, request: HttpRequest, target: Target, seen: Preview, expected: int) -> None:
        """Hold a scope as it is now against what was previewed and typed.

        Raises:
            Refused: With the reason's name.
        """
        check_bounds(request.user, target, seen)
        if seen.estimate > GROWTH * expected + GROWTH_FLOOR:
            raise Refused("grown")
        must_type = seen.must_type or target.scope == Scope.ALIAS
        if must_type and request.POST.get("typed", "").strip() != target.alias:
            raise Refused("typed")

    def _refused(
        self,
        request: HttpRequest,
        form: ClearForm | None,
        target: Target | None,
        operation: CacheOperation,
        reason: str,
    ) -> HttpResponse:
        audit.end(operation, Outcome.REFUSED, error_class=reason)
        status = REFUSED_STATUS.get(reason, 403)
        if status == 403:
            return refuse(self.site, request, address=CLEAR, reason=reason)
        if form is not None and not form.is_valid():
            return self._clear_page(request, form, status=status)
        target = target or (_chosen_keys(request) if form is None else form.target)
        return self._preview_page(request, target, reason=reason, status=status)

    def _clear_page(self, request: HttpRequest, form: ClearForm, *, status: int = 200) -> HttpResponse:
        context = frame(self.site, request, title=_("Clear a cache"), address=CLEAR) | {"form": form}
        return TemplateResponse(request, "django_callcache/admin/clear.html", context, status=status)

    def _preview_page(
        self, request: HttpRequest, target: Target, *, reason: str = "", status: int = 200
    ) -> HttpResponse:
        """Show what a scope holds, and ask for the confirmation if it may be given."""
        context = frame(self.site, request, title=_("Clear a cache"), address=CLEAR)
        context |= {
            "target": target,
            "deletes_remotely": False,
            "again": _again(target),
            "action": reverse(CLEAR_KEYS if target.keys else CLEAR, current_app=self.site.name),
            "others": CacheOperation.objects.for_alias(target.alias).clearings().unfinished()[:5],
            "in_request": IN_REQUEST,
            "reason": reason,
            "stated_reason": request.POST.get("reason", ""),
            "shows_names": may(request.user, Power.VIEW_KEYS),
        }
        alias = chosen(aliases_of(request.user), target.alias)
        try:
            seen = preview(alias.cache, target)  # type: ignore[union-attr]
            context["seen"] = seen
            context["deletes_remotely"] = target.deletes_remotely(alias.cache)  # type: ignore[union-attr]
            check_bounds(request.user, target, seen)
            context["token"] = make_token(request.user.pk, target, seen.estimate)
            context["must_type"] = seen.must_type or target.scope == Scope.ALIAS
        except Refused as refused:
            context["reason"] = refused.args[0]
        except FAULTS as error:
            context["fault"] = masked(error)
        context["max_delete"] = get_settings().admin.max_delete
        return TemplateResponse(request, "django_callcache/admin/clear_preview.html", context, status=status)

    def _form(self, user: Any, data: Any, initial: Any = None) -> ClearForm:
        scopes = [scope for scope in Scope if scope != Scope.KEYS and may(user, power_of(scope))]
        names = [alias.name for alias in aliases_of(user) if alias.is_ours]
        return ClearForm(data, initial=initial, aliases=names, scopes=scopes)


def _initial(request: HttpRequest) -> dict[str, str]:
    """What the form begins with: what a preview was left with, else nothing but a scope."""
    return {
        "alias": request.GET.get("alias", ""),
        "scope": request.GET.get("kind", Scope.PREFIX),
        "text": request.GET.get("text", ""),
    }


def _asks_for_more(form: ClearForm) -> bool:
    """Whether a form was filled in with a cache or a scope that exists and that its user may not have."""
    scope = form.data.get("scope")
    return ("alias" in form.errors) or ("scope" in form.errors and scope in Scope.values)


def _facts(request: HttpRequest, scope: str = "") -> dict[str, str]:
    """What a person asked for, as the audit holds it: possibly nonsense, never too long."""
    scope = scope or request.POST.get("scope", "")
    keys = " ".join(_chosen_keys(request).keys)
    return {
        "kind": Kind.CLEAR,
        "scope": scope if scope in Scope.values else Scope.PATTERN,
        "alias": told(request, "alias", 100),
        "pattern": keys[:PATTERN_LENGTH] if scope == Scope.KEYS else told(request, "text", PATTERN_LENGTH),
        "reason": told(request, "reason", 500),
    }


def _steering(request: HttpRequest, pk: int, operation: CacheOperation | None) -> dict[str, str]:
    """What somebody wants with a clearing, as the audit holds it; there may be none of that number."""
    kind = Kind.STOP if request.POST.get("act") == "stop" else Kind.RESUME
    facts = {"kind": kind, "scope": Scope.PATTERN, "reason": f"#{pk}"}
    if operation is not None:
        facts |= {"alias": operation.alias, "scope": operation.scope, "pattern": operation.pattern}
    return facts


def _chosen_keys(request: HttpRequest) -> Target:
    """The keys that were chosen on a page of keys."""
    keys = [key for key in request.POST.getlist("key") if key and "\0" not in key]
    return Target(request.POST.get("alias", ""), Scope.KEYS, "", tuple(dict.fromkeys(keys))[:MOST_KEYS])


def _again(target: Target) -> str:
    """The query of the way back."""
    if target.keys:
        return urlencode({"alias": target.alias})
    return urlencode({"alias": target.alias, "kind": target.scope, "text": target.text})


def _may_steer(user: Any, operation: CacheOperation) -> bool:
    """Tell whether a user may stop a clearing or go on with it: whoever could have begun it."""
    is_unlimited = operation.limit is None and operation.scope != Scope.ALIAS
    powers = (power_of(operation.scope), *((Power.CLEAR_CACHE,) if is_unlimited else ()))
    return not is_read_only() and all(may(user, power) for power in powers)


def _stop(operation: CacheOperation) -> bool:
    return operation.can_be_stopped and clearing.stop(operation)


def _resume(alias: Alias, operation: CacheOperation) -> bool:
    if not alias.is_ours or not operation.can_be_resumed:
        return False
    clearing.queue(alias.cache, operation)
    return True


def _progress(operation: CacheOperation) -> dict[str, Any]:
    """How far it is, for the refresh of its page."""
    share = round(100 * (operation.share or 0))
    return {"outcome": operation.outcome, "percent": share, "deleted": number(operation.deleted)}
