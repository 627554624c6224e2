"""The numbers of every chart and table of the pages, as CSV and JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.http import urlencode

from django_callcache.admin import browsing
from django_callcache.admin.access import Power, may
from django_callcache.admin.aliases import Alias, aliases_of, chosen
from django_callcache.admin.backlog import sync_charts
from django_callcache.admin.cache_facts import CacheFacts, cache_facts
from django_callcache.admin.chart import Chart
from django_callcache.admin.frame import DATA, KEYS, KEYS_DATA, OVERVIEW, Pages, refuse
from django_callcache.admin.heat import Heat
from django_callcache.admin.hot_keys import hot_keys
from django_callcache.admin.lines import Bar, LineChart
from django_callcache.admin.overview import overview_of
from django_callcache.admin.periods import period_of, round_period
from django_callcache.admin.prefixes import PrefixFacts, prefix_facts, prefixes_of
from django_callcache.admin.sheets import FORMATS, Sheet
from django_callcache.admin.ttl_history import TtlHistory
from django_callcache.live import FAULTS, look, masked
from django_callcache.models import PREFIX_LENGTH, SyncRun

Rows = Iterable[Sequence[Any]]

TRAFFIC = ("start", "seconds", "near_hits", "hits", "misses", "sets", "deletes", "errors", "hit_ratio")
HOURS = ("date", "hour", "gets", "hit_ratio", "is_peak_hour")
PREFIXES = (
    "prefix", "near_hits", "hits", "misses", "sets", "deletes", "errors", "hit_ratio",
    "ttl_seconds", "policy",
)  # fmt: skip
PASSES = (
    "started_at", "outcome", "duration_seconds", "pushed", "deleted", "pulled", "conflicts", "rejected",
    "backlog", "backlog_bytes", "oldest_seconds", "error_class",
)  # fmt: skip
PROCESSES = ("process", "near_entries", "near_bytes", "lag_seconds", "is_degraded")
HOT_KEYS = ("key", "prefix", "gets")
TTLS = ("start", "half_up_to_seconds", "nine_tenths_up_to_seconds", "hit_ratio")
BANDS = ("above_seconds", "up_to_seconds", "number", "share")
LINES = {
    "latency": ("start", "read_p50_seconds", "read_p95_seconds", "read_p99_seconds", "write_p95_seconds"),
    "memory": ("start", "used_memory_bytes"),
    "backlog": ("start", "entries"),
    "waited": ("start", "longest_wait_seconds"),
    "carried": ("start", "pushed", "pulled"),
}
"""Columns of the charts of lines, by their names on the pages."""


class SheetPages(Pages):
    """Downloads: each has the permission of the page that shows the same."""

    def urls(self) -> list[URLPattern]:
        return [
            self.page("data/<slug:sheet>.<str:form>", self.data, DATA, only_shows=True),
            self.page("keys.<str:form>", self.keys, KEYS_DATA, only_shows=True),
        ]

    def data(self, request: HttpRequest, sheet: str, form: str) -> HttpResponseBase:
        """Send the numbers of one chart or table."""
        if not may(request.user, Power.VIEW_KEYS if sheet in NAMING else Power.VIEW_DASHBOARD):
            return refuse(self.site, request, address=OVERVIEW)
        alias = chosen(aliases_of(request.user), request.GET.get("alias"))
        if sheet not in SHEETS or form not in FORMATS or alias is None:
            raise Http404
        return SHEETS[sheet](alias, sheet, request.GET).response(form)

    def keys(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """Send the names of the keys that a search finds, as far as one look goes."""
        if not may(request.user, Power.VIEW_KEYS):
            return refuse(self.site, request, address=KEYS)
        alias = chosen(aliases_of(request.user), request.GET.get("alias"))
        text = browsing.text_of(request.GET)
        if form not in FORMATS or alias is None or not text:
            raise Http404
        cursor = browsing.cursor_of(request.GET)
        try:
            walked = browsing.walk(alias.cache, browsing.glob_of(text), cursor)
        except FAULTS as error:
            return HttpResponse(masked(error), status=503, content_type="text/plain; charset=utf-8")
        about = {"alias": alias.name, "part": "part" if cursor or walked.cursor else None}
        told = {"search": text, "looked_at": walked.looked_at, "total": walked.total, "hidden": walked.hidden}
        rows = zip(walked.keys, walked.redis_keys, strict=True)
        sheet = Sheet(
            "keys", ("key", "redis_key"), rows, about, told | {"next_cursor": walked.cursor or None}
        )
        response = sheet.response(form)
        if walked.cursor:
            address = reverse(KEYS_DATA, args=[form], current_app=self.site.name)
            query = urlencode([("alias", alias.name), ("q", text), ("cursor", walked.cursor)])
            response["Link"] = f'<{address}?{query}>; rel="next"'
        return response


def _traffic(alias: Alias, sheet: str, asked: QueryDict) -> Sheet:
    prefix = _prefix(asked)
    if prefix:
        found = prefix_facts(alias, prefix, _week(asked))
        return _sheet(alias, sheet, TRAFFIC, _traffic_rows(found.chart), found.period.name, prefix)
    overview = overview_of(alias, asked.get("period"))
    return _sheet(alias, sheet, TRAFFIC, _traffic_rows(overview.chart), overview.period.name)


def _traffic_rows(chart: Chart) -> Iterator[Sequence[Any]]:
    for bar in chart.bars:
        counts = (getattr(bar.totals, name) for name in TRAFFIC[2:-1])
        yield bar.point.start, round(bar.point.seconds), *counts, bar.totals.hit_ratio


def _of_cache(alias: Alias, sheet: str, asked: QueryDict) -> Sheet:
    facts = cache_facts(alias, round_period(asked.get("period", "")))
    chart: LineChart = getattr(facts, sheet)
    return _sheet(alias, sheet, LINES[sheet], _line_rows(chart), facts.period.name)


def _reads(alias: Alias, sheet: str, asked: QueryDict) -> Sheet:
    facts = cache_facts(alias, round_period(asked.get("period", "")))
    return _sheet(alias, sheet, BANDS, _band_rows(facts.reads), facts.period.name)


def _lifetimes(alias: Alias, sheet: str, asked: QueryDict) -> Sheet:
    return _of_writes(alias, sheet, asked, BANDS, lambda facts: _band_rows(facts.lifetimes))


def _ttl(alias: Alias, sheet: str, asked: QueryDict) -> Sheet:
    return _of_writes(alias, sheet, asked, TTLS, lambda facts: _ttl_rows(facts.ttl))


def _of_writes(
    alias: Alias,
    sheet: str,
    asked: QueryDict,
    columns: tuple[str, ...],
    rows: Callable[[PrefixFacts | CacheFacts], Rows],
) -> Sheet:
    """What the pages of a prefix and of a whole cache tell alike."""
    prefix = _prefix(asked)
    facts: PrefixFacts | CacheFacts
    if prefix:
        facts = prefix_facts(alias, prefix, _week(asked))
    else:
        facts = cache_facts(alias, round_period(asked.get("period", "")))
    return _sheet(alias, sheet, columns, rows(facts), facts.period.name, prefix)


def _ttl_rows(history: TtlHistory) -> Rows:
    half, most = (line.values for line in history.chart.lines)
    return zip(history.starts, half, most, history.ratios, strict=True)


def _of_sync(alias: Alias, sheet: str, asked: QueryDict) -> Sheet:
    found = sync_charts(alias.cache.alias, round_period(asked.get("period", "")))
    chart = next(chart for chart in found["charts"] if chart.name == sheet)
    return _sheet(alias, sheet, LINES[sheet], _line_rows(chart), found["period"].name)


def _line_rows(chart: LineChart) -> Rows:
    return ((start, *values) for start, values in chart.rows)


def _band_rows(bars: Iterable[Bar]) -> Rows:
    return ((bar.low, bar.high, bar.amount, bar.share) for bar in bars)


def _hours(alias: Alias, sheet: str, asked: QueryDict) -> Sheet:
    prefix = _prefix(asked)
    facts: Any = prefix_facts(alias, prefix, "7d") if prefix else prefixes_of(alias, "7d", "", "", 0)
    made = _sheet(alias, sheet, HOURS, _hour_rows(facts.heat), "7d", prefix)
    return Sheet(made.name, made.columns, made.rows, made.about, {"time_zone": facts.heat.time_zone})


def _hour_rows(heat: Heat) -> Iterator[Sequence[Any]]:
    peaks = {hour.hour: hour.is_peak for hour in heat.hours}
    for row in heat.rows:
        for cell in row.cells:
            yield row.date, cell.hour, cell.reads, cell.ratio, peaks.get(cell.hour)


def _prefixes(alias: Alias, sheet: str, asked: QueryDict) -> Sheet:
    text = asked.get("q", "")[:PREFIX_LENGTH].replace("\0", "")
    if (period := asked.get("period", "")) == "1h":
        lines, period = overview_of(alias, period).prefixes, "1h"
    else:
        found = prefixes_of(alias, round_period(period, "7d"), asked.get("sort", ""), text, 0, per_page=None)
        lines, period = found.lines, found.period.name
    rows = (
        (line.prefix, *(getattr(line.totals, name) for name in PREFIXES[1:7]), line.totals.hit_ratio,
         line.ttl.ttl_seconds, line.ttl.policy)
        for line in lines
    )  # fmt: skip
    return _sheet(alias, sheet, PREFIXES, rows, period)


def _passes(alias: Alias, sheet: str, asked: QueryDict) -> Sheet:
    period = period_of(round_period(asked.get("period", "")), timezone.now())
    runs = SyncRun.objects.for_alias(alias.cache.alias).since(period.start).order_by("started_at", "pk")
    return _sheet(alias, sheet, PASSES, runs.values_list(*PASSES).iterator(), period.name)


def _processes(alias: Alias, sheet: str, asked: QueryDict) -> Sheet:
    processes = enumerate(look(alias.cache).processes, 1)
    rows = ((number, *(getattr(each, name) for name in PROCESSES[1:])) for number, each in processes)
    return _sheet(alias, sheet, PROCESSES, rows)


def _hot_keys(alias: Alias, sheet: str, asked: QueryDict) -> Sheet:
    rows = ((hot.key, hot.prefix, hot.reads) for hot in hot_keys(alias.cache.alias))
    return _sheet(alias, sheet, HOT_KEYS, rows, "24h")


def _sheet(
    alias: Alias, name: str, columns: tuple[str, ...], rows: Rows, period: str = "", prefix: str = ""
) -> Sheet:
    about = {"alias": alias.name, "prefix": prefix or None, "period": period or None}
    return Sheet(name, columns, rows, {key: value for key, value in about.items() if value})


def _prefix(asked: QueryDict) -> str:
    return asked.get("prefix", "")[:PREFIX_LENGTH].replace("\0", "")


def _week(asked: QueryDict) -> str:
    """The period of the pages of prefixes, which begin with a week."""
    return round_period(asked.get("period", ""), "7d")


SHEETS: Mapping[str, Callable[[Alias, str, QueryDict], Sheet]] = {
    "traffic": _traffic,
    "latency": _of_cache,
    "reads": _reads,
    "lifetimes": _lifetimes,
    "ttl": _ttl,
    "memory": _of_cache,
    "processes": _processes,
    "hours": _hours,
    "prefixes": _prefixes,
    "backlog": _of_sync,
    "waited": _of_sync,
    "carried": _of_sync,
    "passes": _passes,
    "hot-keys": _hot_keys,
}
"""What can be downloaded, by the name that its chart or table has on the pages."""

NAMING = frozenset({"hot-keys"})
"""Those that name keys."""
