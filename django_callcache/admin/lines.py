"""Geometry of charts of lines and of bars: numbers in, numbers out. The templates draw."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django.utils.functional import Promise

from django_callcache.admin.chart import (
    BOTTOM,
    HEIGHT,
    RIGHT,
    TICKS,
    TOP,
    WIDTH,
    Event,
    Mark,
    Tick,
    marks_of,
    nice_ceiling,
    time_ticks_of,
)
from django_callcache.stats.series import Point

MARGIN = 84
"""Room at the left for values with their units."""

BAR_WIDTH = 240
"""Units of a bar that stands for all."""

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """One series: told apart by its dashes as well as by its colour."""

    label: Promise
    number: int
    """Its place among the lines, for the style sheet."""
    values: Values
    """One for each step; None where nothing is known."""
    paths: tuple[str, ...]
    """Points of each run of steps without a gap."""
    dots: tuple[tuple[float, float], ...]
    """Steps between two gaps, which no line reaches."""


@dataclass(frozen=True, slots=True)
class LineChart:
    """Everything the template needs."""

    name: str
    """Within its page."""
    title: Promise
    unit: str
    """"seconds", "bytes" or "number"."""
    lines: tuple[Line, ...]
    ticks: tuple[Tick, ...]
    time_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    rows: tuple[tuple[datetime.datetime, tuple[float | None, ...]], ...]
    """The same numbers, a step each, where any is known."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = MARGIN
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known at all."""
        return not self.rows


@dataclass(frozen=True, slots=True)
class Bar:
    """One band of a distribution."""

    low: float | None
    """Where it begins; None for the first, and for what has no place on the scale."""
    high: float | None
    """Where it ends; None where it does not."""
    amount: int
    share: float
    width: float


def draw_lines(
    name: str,
    title: Promise,
    unit: str,
    points: Sequence[Point],
    series: Iterable[tuple[Promise, Values]],
    is_labelled: Callable[[int, datetime.datetime], bool],
    events: Sequence[Event] = (),
    *,
    is_logarithmic: bool = False,
) -> LineChart:
    """Lay out some series over the same steps.

    Args:
        name: Of the chart within its page.
        title: What it shows.
        unit: Of the values.
        points: The steps, in order.
        series: Label and values of each line.
        is_labelled: Tells of a step and its index whether its time is written under the chart.
        events: What is marked; what lies outside is left out.
        is_logarithmic: Whether the scale is; then values that are not above zero are gaps.
    """
    series = [(label, _positive(values) if is_logarithmic else values) for label, values in series]
    known = [value for _, values in series for value in values if value is not None]
    scale, ticks = _logarithmic(known) if is_logarithmic else _linear(known)
    step = (WIDTH - MARGIN - RIGHT) / max(len(points), 1)
    columns = list(zip(*(values for _, values in series), strict=True)) or [()] * len(points)
    return LineChart(
        name,
        title,
        unit,
        tuple(_line(label, number, values, scale, step) for number, (label, values) in enumerate(series, 1)),
        ticks,
        time_ticks_of(points, step, is_labelled, left=MARGIN),
        marks_of(points, step, events, left=MARGIN),
        tuple(
            (point.start, tuple(values))
            for point, values in zip(points, columns, strict=True)
            if any(value is not None for value in values)
        ),
    )


def bars_of(amounts: Sequence[int], bounds: Sequence[float]) -> tuple[Bar, ...]:
    """Lay out a distribution.

    Args:
        amounts: By band; one more than bounds, and perhaps one that has no place on the scale.
        bounds: Where the bands end, ascending.
    """
    total, highest = max(sum(amounts), 1), max((*amounts, 1))
    lows = (None, *bounds, None)
    highs = (*bounds, None, None)
    return tuple(
        Bar(low, high, amount, amount / total, round(BAR_WIDTH * amount / highest, 2))
        for amount, low, high in zip(amounts, lows, highs, strict=False)
    )


def _positive(values: Values) -> Values:
    return [value if value and value > 0 else None for value in values]


def _linear(known: Sequence[float]) -> tuple[Callable[[float], float], tuple[Tick, ...]]:
    highest = nice_ceiling(max(known, default=0))
    ticks = tuple(Tick(_y(part / TICKS), highest * part / TICKS) for part in range(TICKS + 1))
    return lambda value: value / highest, ticks


def _logarithmic(known: Sequence[float]) -> tuple[Callable[[float], float], tuple[Tick, ...]]:
    """A scale from a power of ten below all to one above."""
    lowest = math.floor(math.log10(min(known, default=1)))
    highest = max(math.ceil(math.log10(max(known, default=1))), lowest + 1)
    span = highest - lowest
    powers = range(lowest, highest + 1)
    ticks = tuple(Tick(_y((power - lowest) / span), 10.0**power) for power in powers)
    return lambda value: (math.log10(value) - lowest) / span, ticks


def _line(label: Promise, number: int, values: Values, scale: Callable[[float], float], step: float) -> Line:
    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((round(MARGIN + (index + 0.5) * step, 2), round(_y(scale(value)), 2)))
    paths = tuple(" ".join(f"{x},{y}" for x, y in run) for run in runs if len(run) > 1)
    return Line(label, number, values, paths, tuple(run[0] for run in runs if len(run) == 1))


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 2)
