"""The pages that clear: the question, the preview, the deed, the report."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from django_callcache.admin import audit, clearing
from django_callcache.admin.access import CLEARING, Power, is_read_only, may
from django_callcache.admin.aliases import aliases_of, chosen
from django_callcache.admin.clearing import Outcome, Preview, Refused, Scope, Target
from django_callcache.admin.forms import ClearForm
from django_callcache.admin.frame import CLEAR, CLEARED, Pages, frame, refuse
from django_callcache.conf import get_settings
from django_callcache.live import FAULTS, masked
from django_callcache.models import PATTERN_LENGTH, CacheOperation

REFUSED_STATUS = {"typed": 400, "invalid": 400, "grown": 409, "expired": 409}
"""Status of a refusal after which the person may try again; any other is a 403."""


class ClearPages(Pages):
    """Clearing a cache, or part of it."""

    def urls(self) -> list[URLPattern]:
        return [
            self.page("clear/", self.clear, CLEAR),
            self.page("clear/<int:pk>/", self.cleared, CLEARED),
        ]

    def clear(self, request: HttpRequest) -> HttpResponse:
        """Ask what to clear and show what that would do; on POST do it."""
        if request.method == "POST":
            return self._clear_now(request)
        if is_read_only() or not may(request.user, *CLEARING):
            reason = "permission" if not is_read_only() else "read_only"
            return refuse(self.site, request, address=CLEAR, reason=reason)
        asked = "scope" in request.GET
        form = self._form(request.user, request.GET if asked else None, initial=_initial(request))
        if not asked or not form.is_valid():
            return self._clear_page(request, form)
        return self._preview_page(request, form)

    def cleared(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Report what came of an attempt."""
        if not may(request.user, *CLEARING):
            return refuse(self.site, request, address=CLEAR)
        operation = get_object_or_404(CacheOperation, pk=pk)
        if operation.alias not in {alias.name for alias in aliases_of(request.user)}:
            raise Http404
        context = frame(self.site, request, title=_("What was cleared"), address=CLEAR)
        context["operation"] = operation
        return TemplateResponse(request, "django_callcache/admin/cleared.html", context)

    def _clear_now(self, request: HttpRequest) -> HttpResponse:
        """Do what was confirmed, or say why not; either way leave a trace."""
        form = self._form(request.user, request.POST)
        operation = audit.begin(request.user, **_facts(request))
        try:
            target, expected = self._confirmed(request, form)
            operation.expected = expected
            operation.save(update_fields=("expected",))
            cache = chosen(aliases_of(request.user), target.alias).cache  # type: ignore[union-attr]
            seen = clearing.preview(cache, target)
            self._check(request, target, seen, expected)
        except Refused as refused:
            return self._refused(request, form, operation, refused.args[0])
        except FAULTS as error:
            audit.end(
                operation, request.user, Outcome.FAILED, error_class=type(error).__name__, error=masked(error)
            )
            return HttpResponseRedirect(reverse(CLEARED, args=[operation.pk], current_app=self.site.name))
        limited = target.scope != Scope.ALIAS and not may(request.user, Power.CLEAR_CACHE)
        result = clearing.run(cache, target, limit=get_settings().admin.max_delete if limited else None)
        audit.end(
            operation,
            request.user,
            result.outcome,
            deleted=result.deleted,
            duration_seconds=result.seconds,
            error_class=result.error_class,
            error=result.error,
        )
        return HttpResponseRedirect(reverse(CLEARED, args=[operation.pk], current_app=self.site.name))

    def _confirmed(self, request: HttpRequest, form: ClearForm) -> tuple[Target, int]:
        """Return what was confirmed, and how many keys its preview announced.

        Raises:
            Refused: The person may not, or no preview stands behind it.
        """
        if is_read_only():
            raise Refused("read_only")
        if not may(request.user, *CLEARING):
            raise Refused("permission")
        if not form.is_valid():
            raise Refused("permission" if _asks_for_more(form) else "invalid")
        expected = clearing.expected_by(request.POST.get("token", ""), request.user.pk, form.target)
        return form.target, expected

    def _check(self, request: HttpRequest, target: Target, seen: Preview, expected: int) -> None:
        """Hold a scope as it is now against what was previewed and typed.

        Raises:
            Refused: With the reason's name.
        """
        clearing.check_bounds(request.user, target, seen)
        if seen.estimate > clearing.GROWTH * expected + clearing.GROWTH_FLOOR:
            raise Refused("grown")
        must_type = seen.must_type or target.scope == Scope.ALIAS
        if must_type and request.POST.get("typed", "").strip() != target.alias:
            raise Refused("typed")

    def _refused(
        self, request: HttpRequest, form: ClearForm, operation: CacheOperation, reason: str
    ) -> HttpResponse:
        audit.end(operation, request.user, Outcome.REFUSED, error_class=reason)
        status = REFUSED_STATUS.get(reason, 403)
        if status == 403:
            return refuse(self.site, request, address=CLEAR, reason=reason)
        if not form.is_valid():
            return self._clear_page(request, form, status=status)
        return self._preview_page(request, form, reason=reason, status=status)

    def _clear_page(self, request: HttpRequest, form: ClearForm, *, status: int = 200) -> HttpResponse:
        context = frame(self.site, request, title=_("Clear a cache"), address=CLEAR) | {"form": form}
        return TemplateResponse(request, "django_callcache/admin/clear.html", context, status=status)

    def _preview_page(
        self, request: HttpRequest, form: ClearForm, *, reason: str = "", status: int = 200
    ) -> HttpResponse:
        """Show what a scope holds, and ask for the confirmation if it may be given."""
        target = form.target
        context = frame(self.site, request, title=_("Clear a cache"), address=CLEAR)
        context |= {
            "target": target,
            "deletes_remotely": False,
            "again": urlencode({"alias": target.alias, "kind": target.scope, "text": target.text}),
            "reason": reason,
            "stated_reason": request.POST.get("reason", ""),
            "shows_names": may(request.user, Power.VIEW_KEYS),
        }
        alias = chosen(aliases_of(request.user), target.alias)
        try:
            seen = clearing.preview(alias.cache, target)  # type: ignore[union-attr]
            context["seen"] = seen
            context["deletes_remotely"] = target.deletes_remotely(alias.cache)  # type: ignore[union-attr]
            clearing.check_bounds(request.user, target, seen)
            context["token"] = clearing.make_token(request.user.pk, target, seen.estimate)
            context["must_type"] = seen.must_type or target.scope == Scope.ALIAS
        except Refused as refused:
            context["reason"] = refused.args[0]
        except FAULTS as error:
            context["fault"] = masked(error)
        context["max_delete"] = get_settings().admin.max_delete
        return TemplateResponse(request, "django_callcache/admin/clear_preview.html", context, status=status)

    def _form(self, user: Any, data: Any, initial: Any = None) -> ClearForm:
        scopes = [scope for scope in Scope if may(user, Target("", scope, "").power)]
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


def _facts(request: HttpRequest) -> dict[str, str]:
    """What a person asked for, as the audit holds it: possibly nonsense, never too long."""
    asked = {
        name: request.POST.get(name, "").replace("\0", "\ufffd")
        for name in ("alias", "scope", "text", "reason")
    }
    return {
        "kind": CacheOperation.Kind.CLEAR,
        "scope": asked["scope"] if asked["scope"] in Scope.values else Scope.PATTERN,
        "alias": asked["alias"][:100],
        "pattern": asked["text"][:PATTERN_LENGTH],
        "reason": asked["reason"][:500],
    }
