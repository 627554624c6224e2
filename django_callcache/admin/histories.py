"""Lists of what the loop and people left in the database; nothing in them can be changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_callcache.admin.access import Power, is_read_only, may
from django_callcache.admin.alert_page import handle
from django_callcache.admin.aliases import aliases_of, is_denied
from django_callcache.admin.filters import AliasFilter, PeriodFilter, PrefixFilter
from django_callcache.admin.frame import may_audit
from django_callcache.admin.numbers import duration, number, percent
from django_callcache.admin.sheet_pages import PASSES
from django_callcache.admin.sheets import Sheet
from django_callcache.conf import get_settings
from django_callcache.models import (
    CacheAlert,
    CacheOperation,
    CacheStat,
    CompressionDictionary,
    SyncConflict,
    SyncRejection,
    SyncRun,
)
from django_callcache.stats.series import Totals, percentile

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:  # generic in the stubs only
    _ModelAdmin = admin.ModelAdmin


class ReadOnly(_ModelAdmin):
    """A list that is looked at by people with a permission of ours, in the caches they may see."""

    show_full_result_count = False
    list_max_show_all = 200
    list_per_page = 50
    actions: Sequence[str] = ("download",)
    columns: tuple[str, ...] = ()
    """Of the file that its rows leave as: names of fields."""

    @admin.action(description=_("Download as CSV"), permissions=["view"])
    def download(self, request: HttpRequest, rows: QuerySet[Any]) -> StreamingHttpResponse:
        """Send the chosen rows as numbers, not as the language writes them."""
        shown = map(_shown, rows.values(*self.columns).iterator())
        cells = ([row[name] for name in self.columns] for row in shown)
        return Sheet(self.opts.model_name or "rows", self.columns, cells).response("csv")

    def may_view(self, user: Any) -> bool:
        """Tell whether a user may see the list."""
        return may(user, Power.VIEW_DASHBOARD)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may_view(request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.may_view(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Rows of the caches that the user may see."""
        rows = super().get_queryset(request)
        if get_settings().admin.can_access_alias is None:
            return rows
        seen = aliases_of(request.user)
        # Statistics know a cache by the name that its options may give it.
        names = {alias.name for alias in seen} | {alias.cache.alias for alias in seen if alias.is_ours}
        return rows.filter(alias__in=names)


class CacheStatAdmin(ReadOnly):
    """Hourly statistics."""

    list_display = (
        "hour_text",
        "alias",
        "prefix_text",
        "gets",
        "hit_ratio",
        "near_hits",
        "misses",
        "sets",
        "errors",
    )
    list_display_links = ("hour_text",)
    list_filter = (PeriodFilter, AliasFilter, PrefixFilter)
    ordering = ("-hour", "alias", "prefix")
    columns = ("alias", "prefix", "hour", *CacheStat.COUNTERS, "distinct_keys")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        counts = ("alias", "prefix_text", "hour", "gets", "hit_ratio", *CacheStat.COUNTERS, "distinct_keys")
        times = ("read_times", "write_times")
        return (*counts, *times, "hot_keys_text") if may(request.user, Power.VIEW_KEYS) else (*counts, *times)

    get_readonly_fields = get_fields

    @admin.display(description=_("hour"), ordering="hour")
    def hour_text(self, row: CacheStat) -> str:
        return date_format(timezone.localtime(row.hour), "SHORT_DATETIME_FORMAT")

    @admin.display(description=_("prefix"), ordering="prefix")
    def prefix_text(self, row: CacheStat) -> str:
        return code(row.prefix)

    @admin.display(description=_("gets"))
    def gets(self, row: CacheStat) -> str:
        return number(row.gets)

    @admin.display(description=_("hit ratio"))
    def hit_ratio(self, row: CacheStat) -> str:
        return percent(Totals(row.hits, row.near_hits, row.misses).hit_ratio)

    @admin.display(description=_("read times"))
    def read_times(self, row: CacheStat) -> str:
        return times(row.read_latency)

    @admin.display(description=_("write times"))
    def write_times(self, row: CacheStat) -> str:
        return times(row.write_latency)

    @admin.display(description=_("hot keys"))
    def hot_keys_text(self, row: CacheStat) -> str:
        shown = [(key, number(reads)) for key, reads in row.hot_keys if not is_denied(key)]
        return (
            format_html_join(mark_safe("<br>"), '<bdi dir="ltr"><code>{}</code></bdi> {}', shown)
            or "\N{EN DASH}"
        )


class SyncRunAdmin(ReadOnly):
    """Reports of sync passes."""

    date_hierarchy = "started_at"
    list_display = (
        "started_at",
        "alias",
        "outcome",
        "duration",
        "pushed",
        "deleted",
        "pulled",
        "conflicts",
        "rejected",
        "backlog",
        "error_class",
    )
    list_filter = (AliasFilter, "outcome", "error_class")
    ordering = ("-started_at",)
    columns = ("alias", *PASSES)

    @admin.display(description=_("duration"), ordering="duration_seconds")
    def duration(self, run: SyncRun) -> str:
        return duration(run.duration_seconds)


class CompressionDictionaryAdmin(ReadOnly):
    """Copies of dictionaries."""

    list_display = ("trained_at", "alias", "prefix_text", "dictionary_id", "size", "saved", "is_current")
    list_filter = (AliasFilter, "is_current")
    ordering = ("alias", "prefix", "-trained_at")
    columns = (
        "alias", "prefix", "dictionary_id", "size", "samples", "bytes_before", "bytes_after",
        "trained_at", "is_current", "retired_at",
    )  # fmt: skip
    fields = (
        "alias",
        "prefix_text",
        "dictionary_id",
        "size",
        "samples",
        "bytes_before",
        "bytes_after",
        "saved",
        "trained_at",
        "is_current",
        "retired_at",
    )

    @admin.display(description=_("prefix"), ordering="prefix")
    def prefix_text(self, row: CompressionDictionary) -> str:
        return code(row.prefix)

    @admin.display(description=_("saved"))
    def saved(self, row: CompressionDictionary) -> str:
        return percent(row.saved)


class CacheAlertAdmin(ReadOnly):
    """Alerts, open and past."""

    actions = ("download", "acknowledge")

    date_hierarchy = "began_at"
    list_display = (
        "began_at",
        "alias",
        "rule",
        "severity",
        "state",
        "value",
        "threshold",
        "resolved_at",
        "flaps",
    )
    list_filter = (AliasFilter, "state", "severity", "rule")
    ordering = ("-began_at",)
    columns = (
        "alias", "rule", "severity", "state", "value", "threshold", "began_at", "fired_at", "resolved_at",
        "flaps", "handled_by", "note", "silenced_until",
    )  # fmt: skip
    fields = (
        "alias",
        "rule",
        "severity",
        "summary_text",
        "state",
        "value",
        "threshold",
        "began_at",
        "fired_at",
        "resolved_at",
        "flaps",
        "handled_by",
        "note",
        "silenced_until",
        "told_at",
        "undelivered",
    )

    @admin.display(description=_("summary"))
    def summary_text(self, alert: CacheAlert) -> str:
        return gettext(alert.summary) if alert.summary else "\N{EN DASH}"

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """Tell whether a user may handle alerts."""
        return may(request.user, Power.MANAGE_ALERTS) and not is_read_only()

    @admin.action(description=_("Acknowledge"), permissions=["manage"])
    def acknowledge(self, request: HttpRequest, rows: QuerySet[CacheAlert]) -> None:
        """Note that somebody knows of the chosen alerts, as far as they fire."""
        firing = list(rows.active())  # type: ignore[attr-defined]
        for alert in firing:
            handle(request.user, alert)
        self.message_user(
            request,
            ngettext("%(count)s alert was acknowledged.", "%(count)s alerts were acknowledged.", len(firing))
            % {"count": len(firing)},
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Alerts that have fired: a condition that may pass is none yet."""
        return super().get_queryset(request).exclude(state=CacheAlert.State.PENDING)


class CacheOperationAdmin(ReadOnly):
    """The audit."""

    date_hierarchy = "started_at"
    list_display = ("started_at", "username", "kind", "alias", "scope", "pattern_text", "deleted", "outcome")
    list_filter = ("alias", "kind", "scope", "outcome", "username")
    ordering = ("-started_at",)
    columns = (
        "started_at", "username", "kind", "alias", "scope", "pattern", "expected", "deleted",
        "duration_seconds", "outcome", "reason", "error_class",
    )  # fmt: skip
    fields = (
        "started_at",
        "user",
        "username",
        "kind",
        "alias",
        "scope",
        "pattern_text",
        "expected",
        "deleted",
        "duration",
        "outcome",
        "reason",
        "error_class",
        "error",
    )
    list_select_related = ("user",)

    def may_view(self, user: Any) -> bool:
        return may_audit(user)

    @admin.display(description=_("pattern"), ordering="pattern")
    def pattern_text(self, operation: CacheOperation) -> str:
        return code(operation.pattern) if operation.pattern else "\N{EN DASH}"

    @admin.display(description=_("duration"))
    def duration(self, operation: CacheOperation) -> str:
        return duration(operation.duration_seconds)


class SyncRejectionAdmin(ReadOnly):
    """Entries that the remote store refuses."""

    date_hierarchy = "rejected_at"
    list_display = ("rejected_at", "alias", "key_text", "deleted", "reason")
    list_display_links = ("rejected_at",)
    list_filter = (AliasFilter,)
    ordering = ("-rejected_at",)
    columns = ("alias", "key", "rejected_at", "reason", "version", "remote_version", "deleted", "expires_at")
    fields = (
        "alias",
        "key_text",
        "rejected_at",
        "reason",
        "version",
        "remote_version",
        "deleted",
        "expires_at",
    )
    readonly_fields = fields

    def may_view(self, user: Any) -> bool:
        return may(user, Power.VIEW_KEYS)

    @admin.display(description=_("key"), ordering="key")
    def key_text(self, rejection: SyncRejection) -> str:
        return synced_key(rejection.key)


class SyncConflictAdmin(ReadOnly):
    """Keys written on both sides whose conflict a person decides."""

    date_hierarchy = "found_at"
    list_display = ("found_at", "alias", "key_text", "remote_origin", "decision", "decided_by")
    list_display_links = ("found_at",)
    list_filter = (AliasFilter, "decision")
    ordering = ("-found_at",)
    columns = (
        "alias", "key", "found_at", "reason", "local_version", "local_deleted", "remote_version",
        "remote_origin", "remote_deleted", "decision", "decided_at", "decided_by",
    )  # fmt: skip
    fields = (
        "alias", "key_text", "found_at", "reason",
        "local_version", "local_deleted", "local_expires_at",
        "remote_version", "remote_order", "remote_origin", "remote_deleted", "remote_expires_at",
        "decision", "decided_at", "decided_by",
    )  # fmt: skip
    readonly_fields = fields

    def may_view(self, user: Any) -> bool:
        return may(user, Power.VIEW_KEYS)

    @admin.display(description=_("key"), ordering="key")
    def key_text(self, conflict: SyncConflict) -> str:
        return synced_key(conflict.key)


def synced_key(remote_key: str) -> str:
    """A key of the remote store, unless the pages may not show it."""
    return "\N{EN DASH}" if is_denied_remotely(remote_key) else code(remote_key)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the name of a key that the pages may not show."""
    return row | {"key": ""} if is_denied_remotely(row.get("key", "")) else row


def is_denied_remotely(remote_key: str) -> bool:
    """Tell whether the pages may not show a key of the remote store, which names it with its version."""
    return is_denied(remote_key.partition(":")[2])


def code(text: str) -> str:
    """A key, a prefix or a pattern: read from left to right whatever the language."""
    return format_html('<bdi dir="ltr"><code>{}</code></bdi>', text)


def times(latencies: list[int]) -> str:
    """Percentiles of call times, as estimates."""
    return ", ".join(
        f"p{fraction} {duration(percentile(latencies, fraction / 100))}" for fraction in (50, 95, 99)
    )
