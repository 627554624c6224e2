"""Charts of the page of sync: what waits, for how long, and what passes carry."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Case, Max, Q, Sum, When
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_callcache.admin.cache_facts import highest, steps_of
from django_callcache.admin.chart import Event
from django_callcache.admin.lines import LineChart, Values, draw_lines
from django_callcache.admin.periods import period_of
from django_callcache.models import CacheHour, SyncRun
from django_callcache.stats.series import Point, series


def sync_charts(alias: str, period_name: str) -> dict[str, Any]:
    """Return the period and the charts of the sync of a cache, in two queries.

    Args:
        alias: As statistics know the cache.
        period_name: As in the address.
    """
    period = period_of(period_name, timezone.now())
    points = series([], period.starts, max(period.now, period.start))
    hours = CacheHour.objects.for_alias(alias).since(period.start).order_by("hour")
    by_step = steps_of(hours, points)
    runs = _runs_by_step(alias, period.starts)
    events = [Event(run["failed_at"], "sync", "") for run in runs if run["failed_at"]]

    def chart(name: str, title: Any, unit: str, *lines: tuple[Any, Values]) -> LineChart:
        return draw_lines(name, title, unit, points, lines, period.is_labelled, events)

    return {
        "period": period,
        "charts": (
            chart("backlog", _("Backlog"), "number", (_("most entries seen"), highest(by_step, "backlog"))),
            chart(
                "waited",
                _("Age of the backlog"),
                "wait",
                (_("longest wait seen"), highest(by_step, "oldest_seconds")),
            ),
            chart(
                "carried",
                _("Entries carried"),
                "number",
                (_("pushed"), _sums(runs, points, "total_pushed")),
                (_("pulled"), _sums(runs, points, "total_pulled")),
            ),
        ),
    }


def _runs_by_step(alias: str, starts: Sequence[datetime.datetime]) -> list[dict[str, Any]]:
    """What the passes of each step did, as far as there were any."""
    # Comparisons, for what truncates a time is on SQLite a function in Python, called for each row.
    latest_first = reversed(list(enumerate(starts)))
    step = Case(*(When(started_at__gte=start, then=at) for at, start in latest_first))
    failed = Q(outcome__in=(SyncRun.Outcome.FAILED, SyncRun.Outcome.PARTIAL))
    runs: Any = SyncRun.objects.for_alias(alias).since(starts[0]).annotate(step=step).values("step")
    return list(
        runs.order_by("step").annotate(
            total_pushed=Sum("pushed"),
            total_pulled=Sum("pulled"),
            failed_at=Max("started_at", filter=failed),
        )
    )


def _sums(runs: Iterable[dict[str, Any]], points: Sequence[Point], name: str) -> list[float | None]:
    sums = {run["step"]: run[name] for run in runs}
    return [sums.get(step) for step in range(len(points))]
