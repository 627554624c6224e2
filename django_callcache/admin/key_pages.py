"""The pages of keys: the search, and one key."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from django_callcache import audit
from django_callcache.admin import browsing, inspection
from django_callcache.admin.access import Power, is_read_only, may
from django_callcache.admin.aliases import Alias, aliases_of, chosen, is_denied
from django_callcache.admin.forms import TtlForm
from django_callcache.admin.frame import KEY, KEYS, Pages, frame, may_clear, refuse, told
from django_callcache.admin.hot_keys import hot_keys
from django_callcache.clearing import Outcome, Scope
from django_callcache.live import FAULTS, masked
from django_callcache.models import PATTERN_LENGTH, CacheOperation

Kind = CacheOperation.Kind


class KeyPages(Pages):
    """Finding keys, and looking at one."""

    def urls(self) -> list[URLPattern]:
        return [
            self.page("keys/", self.keys, KEYS, only_shows=True),
            self.page("key/", self.key, KEY),
        ]

    def keys(self, request: HttpRequest) -> HttpResponse:
        """Show the most read keys, or what a search finds."""
        if not may(request.user, Power.VIEW_KEYS):
            return refuse(self.site, request, address=KEYS)
        aliases = aliases_of(request.user)
        alias = chosen(aliases, request.GET.get("alias"))
        text = browsing.text_of(request.GET)
        context = frame(self.site, request, title=_("Keys"), address=KEYS)
        may_delete = may(request.user, Power.DELETE_KEYS) and not is_read_only()
        context |= {"aliases": aliases, "alias": alias, "text": text, "may_delete": may_delete}
        if alias is not None and text:
            context |= _searched(alias, text, browsing.cursor_of(request.GET))
        elif alias is not None:
            context["hot_keys"] = hot_keys(alias.cache.alias)
        return TemplateResponse(request, "django_callcache/admin/keys.html", context)

    def key(self, request: HttpRequest) -> HttpResponse:
        """Show one key; on POST show its value, or change how long it lives."""
        if not may(request.user, Power.VIEW_KEYS):
            return self._refuse(request, "permission")
        asked = request.POST if request.method == "POST" else request.GET
        alias = chosen(aliases_of(request.user), asked.get("alias"))
        key = asked.get("key", "")
        if alias is None or not key:
            return HttpResponseRedirect(reverse(KEYS, current_app=self.site.name))
        if is_denied(key):
            return self._refuse(request, "denied")
        if request.method != "POST":
            return self._key_page(request, alias, key)
        power = Power.VIEW_VALUES if request.POST.get("act") == "show" else Power.CHANGE_TTL
        if power == Power.CHANGE_TTL and is_read_only():
            return self._refuse(request, "read_only")
        if not may(request.user, power):
            return self._refuse(request, "permission")
        return (
            self._show(request, alias, key)
            if power == Power.VIEW_VALUES
            else self._retime(request, alias, key)
        )

    def _refuse(self, request: HttpRequest, why: str) -> HttpResponse:
        """Refuse a look at a key; what was to be done leaves its trace too."""
        if request.method != "POST":
            return refuse(self.site, request, address=KEYS, reason=why)
        return self.turn_away(
            request,
            address=KEYS,
            why=why,
            kind=Kind.VIEW if request.POST.get("act") == "show" else Kind.TTL,
            scope=Scope.KEY,
            alias=told(request, "alias", 100),
            pattern=told(request, "key", PATTERN_LENGTH),
        )

    def _show(self, request: HttpRequest, alias: Alias, key: str) -> HttpResponse:
        """Show the value; the audit knows who saw it."""
        operation = _begin(request, Kind.VIEW, alias, key)
        try:
            shown = inspection.show(alias.cache, key)
        except FAULTS as error:
            _failed(operation, request, error)
            return self._key_page(request, alias, key)
        audit.end(operation, Outcome.OK)
        return self._key_page(request, alias, key, shown=shown)

    def _retime(self, request: HttpRequest, alias: Alias, key: str) -> HttpResponse:
        """Give the key another time to live, or none that ends."""
        form = TtlForm(request.POST)
        if not form.is_valid():
            audit.end(_begin(request, Kind.TTL, alias, key), Outcome.REFUSED, error_class="invalid")
            return self._key_page(request, alias, key, form=form, status=400)
        seconds = form.cleaned_data["seconds"]
        operation = _begin(request, Kind.TTL, alias, key)
        try:
            done = alias.cache.touch(key, seconds)
        except FAULTS as error:
            _failed(operation, request, error)
            return self._key_page(request, alias, key, form=form)
        if done:
            audit.end(operation, Outcome.OK)
            messages.success(request, _("The key has a new time to live."))
        else:
            audit.end(operation, Outcome.FAILED, error_class="KeyGone")
            messages.error(request, _("Nothing was changed: there is no such key, or Redis did not answer."))
        address = reverse(KEY, current_app=self.site.name)
        return HttpResponseRedirect(f"{address}?{urlencode({'alias': alias.name, 'key': key})}")

    def _key_page(
        self,
        request: HttpRequest,
        alias: Alias,
        key: str,
        *,
        shown: inspection.Shown | None = None,
        form: TtlForm | None = None,
        status: int = 200,
    ) -> HttpResponse:
        context = frame(self.site, request, title=_("Key"), address=KEYS)
        context |= {"alias": alias, "key": key, "shown": shown, "form": form or TtlForm()}
        try:
            context["facts"] = inspection.facts_of(alias.cache, key)
            if context["facts"] is None and status == 200:
                status = 404
        except FAULTS as error:
            context["fault"] = masked(error)
        context |= {
            "may_show": may(request.user, Power.VIEW_VALUES),
            "may_retime": may(request.user, Power.CHANGE_TTL) and not is_read_only(),
            "may_delete": may_clear(request.user),
        }
        return TemplateResponse(request, "django_callcache/admin/key.html", context, status=status)


def _searched(alias: Alias, text: str, cursor: int) -> dict[str, Any]:
    """What a search found: the key of that name, and a page of those that match."""
    try:
        exact = browsing.look_up(alias.cache, text)
        found = browsing.search(alias.cache, browsing.glob_of(text), cursor)
    except FAULTS as error:
        return {"fault": masked(error)}
    return {"exact": exact, "found": found, "glob": browsing.glob_of(text), "cursor": cursor}


def _begin(request: HttpRequest, kind: str, alias: Alias, key: str) -> CacheOperation:
    return audit.begin(
        request.user, kind=kind, scope=Scope.KEY, alias=alias.name, pattern=key[:PATTERN_LENGTH]
    )


def _failed(operation: CacheOperation, request: HttpRequest, error: Exception) -> None:
    audit.end(operation, Outcome.FAILED, error_class=type(error).__name__, error=masked(error))
    messages.error(request, masked(error))
