"""Filters of the lists, whose choices cost no look at the whole table, as Django's own would."""

from __future__ import annotations

import datetime
from typing import Any, TypeAlias

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_callcache.admin.aliases import aliases_of
from django_callcache.admin.periods import LABELS
from django_callcache.models import CacheStat

Choices: TypeAlias = list[tuple[Any, str]]

DAYS = {"24h": 1, "7d": 7, "30d": 30}
"""Length of the periods that are offered."""

RECENT = datetime.timedelta(hours=24)
"""Prefixes of the last day are offered; a link may name any other."""


class AliasFilter(admin.SimpleListFilter):
    """Rows of one cache."""

    title = _("cache alias")
    parameter_name = "alias"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        seen = aliases_of(request.user)
        # Statistics know a cache by the name that its options may give it.
        names = {alias.cache.alias for alias in seen if alias.is_ours}
        return [(name, name) for name in sorted(names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(alias=self.value()) if self.value() else queryset


class PrefixFilter(admin.SimpleListFilter):
    """Rows of one prefix."""

    title = _("prefix")
    parameter_name = "prefix"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        recent = CacheStat.objects.since(timezone.now() - RECENT).order_by("prefix")
        names = set(recent.values_list("prefix", flat=True).distinct()) | {self.value() or ""}
        return [(name, name) for name in sorted(names - {""})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(prefix=self.value()) if self.value() else queryset


class PeriodFilter(admin.SimpleListFilter):
    """Rows of the last day, week or month."""

    title = _("period")
    parameter_name = "period"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, str(LABELS[name])) for name in DAYS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        days = DAYS.get(self.value() or "")
        if days is None:
            return queryset
        start = timezone.now() - datetime.timedelta(days=days)
        return queryset.filter(hour__gte=start)
