"""Geometry of the chart, and the periods it is drawn for."""

from __future__ import annotations

import datetime

import pytest
from django.utils import timezone

from django_callcache.admin.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Event, draw, nice_ceiling
from django_callcache.admin.periods import period_of
from django_callcache.stats.series import Point, Totals

NOON = datetime.datetime(2026, 3, 4, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


def points(*totals):
    return [Point(NOON + index * HOUR, 3600, one) for index, one in enumerate(totals)]


def nowhere(index, moment):
    return False


class TestCeiling:
    @pytest.mark.parametrize("value", [0, 1, 4, 5, 17, 99, 100, 101, 119, 121, 999, 1001, 123456, 10**9])
    def test_nice_ceiling__just_above(self, value):
        """The scale ends at or a little above the highest value, at a number with round quarters."""
        ceiling = nice_ceiling(value)
        assert value <= ceiling <= max(value * 1.7, 4)
        assert ceiling / 4 == int(ceiling / 4)


class TestDraw:
    def test_draw__stacked(self):
        """Near hits stand on the base, Redis hits on them, misses on top; together they are the gets."""
        (bar,) = draw(points(Totals(hits=50, near_hits=30, misses=20)), nowhere).bars
        plot = HEIGHT - TOP - BOTTOM
        assert bar.near_y + bar.near_height == pytest.approx(HEIGHT - BOTTOM)
        assert bar.redis_y + bar.redis_height == pytest.approx(bar.near_y)
        assert bar.miss_y + bar.miss_height == pytest.approx(bar.redis_y)
        assert bar.near_height + bar.redis_height + bar.miss_height == pytest.approx(plot)

    def test_draw__gap(self):
        """A step without a report has no bar, and the line of the ratio ends before it."""
        chart = draw(points(Totals(hits=1), Totals(misses=1), None, Totals(hits=1)), nowhere)
        assert len(chart.bars) == 3
        assert len(chart.ratio_paths) == 1
        assert len(chart.ratio_paths[0].split()) == 2
        assert len(chart.ratio_dots) == 1

    def test_draw__nothing_read(self):
        """Steps with writes only have no ratio."""
        chart = draw(points(Totals(sets=1)), nowhere)
        assert (chart.ratio_paths, chart.ratio_dots) == ((), ())

    def test_draw__empty(self):
        """Nothing gives an empty chart."""
        assert draw([], nowhere).bars == ()

    def test_draw__events(self):
        """An event stands at its moment; one outside of the series is left out."""
        events = [
            Event(NOON + HOUR / 2, "clear", "a"),
            Event(NOON - HOUR, "clear", "before"),
            Event(NOON + 4 * HOUR, "sync", "now"),
        ]
        chart = draw(points(None, None), nowhere, events)
        step = (WIDTH - LEFT - RIGHT) / 2
        assert [(mark.x, mark.event.text) for mark in chart.marks] == [
            (LEFT + step / 2, "a"),
            (WIDTH - RIGHT, "now"),
        ]

    def test_draw__labels(self):
        """Only labelled steps have their time under the chart."""
        chart = draw(points(None, None, None), lambda index, moment: index == 1)
        assert [tick.value for tick in chart.time_ticks] == [NOON + HOUR]


class TestPeriods:
    @pytest.mark.parametrize(("name", "steps"), [("1h", 60), ("24h", 24), ("7d", 168), ("30d", 30)])
    def test_period_of__steps(self, name, steps):
        """A period has steps without holes, up to the present."""
        now = NOON + datetime.timedelta(minutes=20, seconds=5)
        with timezone.override("UTC"):
            period = period_of(name, now)
            assert (
                1 <= sum(period.is_labelled(index, start) for index, start in enumerate(period.starts)) <= 8
            )
        assert len(period.starts) == steps
        assert period.starts[-1] < period.now <= now
        assert (
            len({after - start for start, after in zip(period.starts, period.starts[1:], strict=False)}) == 1
        )

    @pytest.mark.parametrize("name", ["24h", "7d"])
    def test_period_of__compared_with_the_same_span(self, name):
        """Days and weeks are compared with as many hours before."""
        period = period_of(name, NOON)
        assert period.start - period.earlier == len(period.starts) * HOUR

    def test_period_of__days_of_the_time_zone(self):
        """Days of a month begin at midnight of the present time zone."""
        with timezone.override("America/Bogota"):
            period = period_of("30d", NOON)
            assert {timezone.localtime(start).hour for start in period.starts} == {0}

    def test_period_of__unknown(self):
        """An unknown name is a day."""
        assert period_of("fortnight", NOON).name == "24h"
