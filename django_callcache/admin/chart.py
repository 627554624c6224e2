"""Geometry of the chart of hits and misses: numbers in, numbers out. The template draws."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django_callcache.stats.series import Point, Totals

WIDTH, HEIGHT = 960, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 48, 12, 32
GAP = 0.22
"""Share of a step that stays free between two bars."""
TICKS = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """One step: three parts of one column, in units of the drawing."""

    point: Point
    totals: Totals
    x: float
    width: float
    near_y: float
    near_height: float
    redis_y: float
    redis_height: float
    miss_y: float
    miss_height: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the scale."""

    position: float
    value: float | datetime.datetime


class Event(NamedTuple):
    """Something that happened while hits were counted."""

    moment: datetime.datetime
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """An event, as a line across the chart."""

    x: float
    event: Event


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything the template needs."""

    bars: tuple[Bar, ...]
    ratio_paths: tuple[str, ...]
    """Lines of the hit ratio, one for each run of steps without a gap."""
    ratio_dots: tuple[tuple[float, float], ...]
    """Steps with a ratio between two gaps, which no line reaches."""
    gets_ticks: tuple[Tick, ...]
    ratio_ticks: tuple[Tick, ...]
    time_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM
    plot_height: int = HEIGHT - BOTTOM - TOP


def draw(
    points: Sequence[Point],
    is_labelled: Callable[[int, datetime.datetime], bool],
    events: Sequence[Event] = (),
) -> Chart:
    """Lay out a series.

    Args:
        points: Steps in order.
        is_labelled: Tells of a step and its index whether its time is written under the chart.
        events: What is marked; what lies outside is left out.
    """
    step = (WIDTH - LEFT - RIGHT) / max(len(points), 1)
    highest = nice_ceiling(max((point.totals.gets for point in points if point.totals), default=0))
    bars = tuple(
        _bar(point, point.totals, LEFT + index * step, step, highest)
        for index, point in enumerate(points)
        if point.totals is not None
    )
    paths, dots = _ratio(points, step)
    return Chart(
        bars,
        paths,
        dots,
        tuple(Tick(_y(part / TICKS), highest * part / TICKS) for part in range(TICKS + 1)),
        tuple(Tick(_y(part / TICKS), 100 * part / TICKS) for part in range(TICKS + 1)),
        time_ticks_of(points, step, is_labelled),
        marks_of(points, step, events),
    )


def nice_ceiling(value: float) -> float:
    """Return a number not below a value, and little above it, whose quarters are round."""
    if value <= 100:
        return max(math.ceil(value / 4) * 4, 4)
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if step * power >= value)


def _bar(point: Point, totals: Totals, x: float, step: float, highest: float) -> Bar:
    near, redis, miss = (
        round(part / highest * (HEIGHT - TOP - BOTTOM), 2)
        for part in (totals.near_hits, totals.hits, totals.misses)
    )
    base = float(HEIGHT - BOTTOM)
    return Bar(
        point,
        totals,
        x=round(x + step * GAP / 2, 2),
        width=round(step * (1 - GAP), 2),
        near_y=round(base - near, 2),
        near_height=near,
        redis_y=round(base - near - redis, 2),
        redis_height=redis,
        miss_y=round(base - near - redis - miss, 2),
        miss_height=miss,
    )


def _ratio(points: Sequence[Point], step: float) -> tuple[tuple[str, ...], tuple[tuple[float, float], ...]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for index, point in enumerate(points):
        ratio = point.totals.hit_ratio if point.totals else None
        if ratio is None:
            runs.append([])
        else:
            runs[-1].append((round(LEFT + (index + 0.5) * step, 2), round(_y(ratio), 2)))
    lines = tuple(" ".join(f"{x},{y}" for x, y in run) for run in runs if len(run) > 1)
    return lines, tuple(run[0] for run in runs if len(run) == 1)


def time_ticks_of(
    points: Sequence[Point],
    step: float,
    is_labelled: Callable[[int, datetime.datetime], bool],
    *,
    left: int = LEFT,
) -> tuple[Tick, ...]:
    """Return the times that are written under a chart of some steps."""
    return tuple(
        Tick(round(left + (index + 0.5) * step, 2), point.start)
        for index, point in enumerate(points)
        if is_labelled(index, point.start)
    )


def marks_of(
    points: Sequence[Point], step: float, events: Sequence[Event], *, left: int = LEFT
) -> tuple[Mark, ...]:
    """Return the events that fall into some steps, as lines across their chart."""
    marks = []
    for event in events:
        for index, point in enumerate(points):
            within = (event.moment - point.start).total_seconds()
            # The step in progress ends now, hence the last one takes what is later.
            if 0 <= within < point.seconds or (index == len(points) - 1 and within >= 0):
                share = min(within / point.seconds, 1) if point.seconds else 0
                marks.append(Mark(round(left + (index + share) * step, 2), event))
                break
    return tuple(marks)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
