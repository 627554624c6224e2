"""Geometry of charts of lines and bars."""

from __future__ import annotations

import datetime

import pytest

from django_callcache.admin.chart import BOTTOM, HEIGHT, TOP, Event
from django_callcache.admin.lines import bars_of, draw_lines
from django_callcache.stats.series import series

START = datetime.datetime(2026, 3, 4, tzinfo=datetime.UTC)
STEPS = [START + datetime.timedelta(hours=hour) for hour in range(4)]
POINTS = series([], STEPS, START + datetime.timedelta(hours=4))


def drawn(*values, **how):
    """A chart of one line."""
    return draw_lines("x", "x", "number", POINTS, [("x", values)], lambda index, moment: index == 0, **how)


def heights(chart):
    """The y of each point of the first line, from the bottom, as a part of the plot."""
    plot = HEIGHT - TOP - BOTTOM
    points = [pair.split(",") for path in chart.lines[0].paths for pair in path.split()]
    return [round((HEIGHT - BOTTOM - float(y)) / plot, 3) for _, y in points]


class TestDrawLines:
    def test_linear__from_zero(self):
        """The scale begins at zero and ends at a round number."""
        chart = drawn(0, 25, 50, 100)
        assert heights(chart) == [0, 0.25, 0.5, 1]
        assert [tick.value for tick in chart.ticks] == [0, 25, 50, 75, 100]

    def test_logarithmic__powers_of_ten(self):
        """On a logarithmic scale a power of ten is the same way everywhere."""
        chart = drawn(0.0001, 0.001, 0.01, 0.1, is_logarithmic=True)
        assert heights(chart) == [0, 0.333, 0.667, 1]
        assert [tick.value for tick in chart.ticks] == pytest.approx([0.0001, 0.001, 0.01, 0.1])

    def test_gap__not_zero(self):
        """A step without a value is a gap; one alone between gaps is a dot."""
        chart = drawn(1, None, 2, 3)
        assert len(chart.lines[0].paths) == len(chart.lines[0].dots) == 1
        assert len(chart.rows) == 3

    @pytest.mark.parametrize("how", [{}, {"is_logarithmic": True}])
    def test_nothing__empty(self, how):
        """Without any value there is nothing to draw, and no error."""
        chart = drawn(None, None, None, None, **how)
        assert chart.is_empty
        assert chart.lines[0].paths == ()

    def test_one_value(self):
        """A single value on a logarithmic scale has a scale around it."""
        chart = drawn(None, 0.002, None, None, is_logarithmic=True)
        assert [round(tick.value, 6) for tick in chart.ticks] == [0.001, 0.01]

    def test_marks(self):
        """What happened is marked in its step; what lies outside is not."""
        events = [
            Event(START + datetime.timedelta(hours=2, minutes=30), "clear", "x"),
            Event(START - datetime.timedelta(hours=1), "clear", "y"),
        ]
        chart = drawn(1, 2, 3, 4, events=events)
        assert [mark.event.text for mark in chart.marks] == ["x"]


class TestBars:
    def test_bars__bands(self):
        """Bands know where they begin and end; the last has no place on the scale."""
        bars = bars_of([1, 0, 3, 4], [10, 60])
        assert [(bar.low, bar.high) for bar in bars] == [(None, 10), (10, 60), (60, None), (None, None)]
        assert [bar.share for bar in bars] == [0.125, 0, 0.375, 0.5]
        assert bars[3].width > bars[2].width > bars[1].width == 0

    def test_bars__nothing(self):
        """Nothing counted divides nothing by zero."""
        assert [bar.share for bar in bars_of([0, 0], [10])] == [0, 0]
