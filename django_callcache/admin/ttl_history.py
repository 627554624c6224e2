"""How long what was written was to live, over time: by the bands that the hourly rows count writes in."""

from __future__ import annotations

import datetime
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from django.utils.translation import gettext_lazy as _

from django_callcache.admin.lines import LineChart, draw_lines
from django_callcache.admin.periods import Period
from django_callcache.outbox.stat_buckets import TTL_BANDS, TTL_BOUNDS
from django_callcache.stats.series import Point, add_lists

Bands = Sequence[int]


@dataclass(frozen=True, slots=True)
class TtlHistory:
    """Times to live over one period."""

    chart: LineChart
    changes: int
    """How often the band that most writes fell into was another than in the hour with writes before."""
    starts: tuple[datetime.datetime, ...]
    """When the steps of the chart begin."""
    ratios: tuple[float | None, ...]
    """The hit ratio of each step of the chart."""


def ttl_history(
    period: Period,
    points: Sequence[Point],
    by_hour: Iterable[tuple[datetime.datetime, Bands]],
    ratios: Iterable[float | None],
) -> TtlHistory:
    """Lay out the bands of some hours.

    Args:
        period: That the page shows.
        points: Its steps.
        by_hour: Writes by band, with the hour that they were counted in; the oldest first.
        ratios: The hit ratio of each step.
    """
    found = list(by_hour)
    starts = [point.start for point in points]
    steps: list[list[Bands]] = [[] for _step in points]
    for hour, bands in found:
        if (step := bisect_right(starts, hour) - 1) >= 0:
            steps[step].append(bands)
    writes = [add_lists(step, TTL_BANDS) for step in steps]
    lines = (
        (_("half of the writes, at most"), [_bound(bands, 0.5) for bands in writes]),
        (_("nine of ten writes, at most"), [_bound(bands, 0.9) for bands in writes]),
    )
    chart = draw_lines(
        "ttl", _("Times to live over time"), "wait", points, lines, period.is_labelled, is_logarithmic=True
    )
    usual = [max(range(len(bands)), key=bands.__getitem__) for _hour, bands in found if any(bands)]
    changes = sum(one != other for one, other in pairwise(usual))
    return TtlHistory(chart, changes, tuple(starts), tuple(ratios))


def _bound(bands: Bands, share: float) -> float | None:
    """Seconds that a share of the writes live at most; None without writes, or where no bound is known."""
    left = share * sum(bands)
    for amount, bound in zip(bands, TTL_BOUNDS, strict=False):
        left -= amount
        if amount and left <= 0:
            return float(bound)
    return None
