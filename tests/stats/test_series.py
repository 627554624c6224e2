"""Arithmetic of series: no database, no Redis, no clock."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest

from django_callcache.outbox.stat_buckets import LATENCY_SLOTS
from django_callcache.stats.series import (
    Totals,
    add_latencies,
    daily_starts,
    percentile,
    series,
    steps_between,
    total,
)

NOON = datetime.datetime(2026, 3, 4, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
MINUTE = datetime.timedelta(minutes=1)


class TestTotals:
    def test_ratios__hits_of_both_tiers(self):
        """The hit ratio counts both tiers, the near share is of the hits."""
        totals = Totals(hits=2, near_hits=6, misses=2)
        assert (totals.gets, totals.hit_ratio, totals.near_share) == (10, 0.8, 0.75)

    def test_ratios__nothing_read(self):
        """Without reads there is no ratio, which is not zero."""
        assert (Totals(sets=3).hit_ratio, Totals(misses=3).near_share) == (None, None)
        assert Totals(misses=3).hit_ratio == 0

    def test_of__sums_of_a_query(self):
        """Counts are read by name, a NULL of the database as none."""
        row = {"total_hits": 3, "total_misses": None, "hour": NOON}
        assert Totals.of(row, "total_") == Totals(hits=3)

    def test_add__all_counts(self):
        """Totals add up count by count."""
        assert Totals(1, 2, 3, 4, 5, 6, 7) + Totals(1, 1, 1, 1, 1, 1, 1) == Totals(2, 3, 4, 5, 6, 7, 8)
        assert not Totals()
        assert Totals(errors=1)


class TestSeries:
    def test_series__gap(self):
        """A step that nobody reported on is a gap, not a zero."""
        starts = list(steps_between(NOON, NOON + 3 * HOUR, HOUR))
        counted = [(NOON, Totals(hits=1)), (NOON + 2 * HOUR, Totals(hits=4)), (NOON - HOUR, Totals(hits=9))]
        points = series(counted, starts, NOON + 3 * HOUR)
        assert [point.totals for point in points] == [Totals(hits=1), None, Totals(hits=4)]
        assert total(points) == Totals(hits=5)

    def test_series__step_in_progress(self):
        """The rate of the step in progress is over the time that has passed."""
        points = series([(NOON, Totals(hits=600))], [NOON - HOUR, NOON], NOON + 10 * MINUTE)
        assert [point.seconds for point in points] == [3600, 600]
        assert [point.gets_per_second for point in points] == [None, 1]

    def test_series__several_in_a_step(self):
        """Hours of a day add up to the day."""
        starts = daily_starts(NOON.date(), 2, datetime.UTC)
        counted = [(NOON + number * HOUR, Totals(misses=1)) for number in range(14)]
        points = series(counted, starts, starts[-1] + 24 * HOUR)
        assert [point.totals.misses for point in points] == [12, 2]

    def test_daily_starts__clocks_change(self):
        """A day on which clocks change has 23 or 25 hours."""
        zone = zoneinfo.ZoneInfo("Europe/Madrid")
        for date, seconds in (
            (datetime.date(2026, 3, 29), 23 * 3600),
            (datetime.date(2026, 10, 25), 25 * 3600),
        ):
            starts = daily_starts(date, 2, zone)
            assert (starts[1] - starts[0]).total_seconds() == seconds
            assert series([], starts, starts[1] + 24 * HOUR)[0].seconds == seconds


class TestPercentile:
    def test_percentile__nothing_counted(self):
        """Without calls there is no percentile."""
        assert percentile([0] * LATENCY_SLOTS, 0.95) is None
        assert percentile([], 0.5) is None

    @pytest.mark.parametrize("fraction", [0.0, 0.5, 0.95, 1.0])
    @pytest.mark.parametrize("nanoseconds", [1500, 70_000, 250_000, 3_000_000, 2**31])
    def test_percentile__within_its_slot(self, fraction, nanoseconds):
        """Of calls of one duration every percentile is within a factor of two of it."""
        slots = [0] * LATENCY_SLOTS
        slots[(nanoseconds >> 10).bit_length()] = 17
        estimate = percentile(slots, fraction) * 1e9
        assert nanoseconds / 2 <= estimate <= nanoseconds * 2

    def test_percentile__many_durations(self):
        """Of calls spread evenly on a logarithmic scale the estimate is near the truth."""
        durations = [1024 * 1.001**number for number in range(14_000)]
        slots = [0] * LATENCY_SLOTS
        for duration in durations:
            slots[min((int(duration) >> 10).bit_length(), LATENCY_SLOTS - 1)] += 1
        for fraction in (0.25, 0.5, 0.95, 0.99):
            truth = durations[int(fraction * len(durations))] / 1e9
            assert percentile(slots, fraction) == pytest.approx(truth, rel=0.02)

    def test_percentile__rises_with_its_fraction(self):
        """A higher percentile is never lower."""
        slots = [5, 0, 3, 9, 0, 1, *[0] * (LATENCY_SLOTS - 7), 2]
        estimates = [percentile(slots, fraction / 100) for fraction in range(101)]
        assert estimates == sorted(estimates)

    def test_percentile__last_slot(self):
        """Calls slower than every bound are told by the last bound."""
        slots = [0] * (LATENCY_SLOTS - 1) + [3]
        assert percentile(slots, 0.95) == pytest.approx(2**32 / 1e9)

    def test_add_latencies__uneven_lists(self):
        """Lists add up slot by slot; a short or missing list counts as zeros."""
        assert add_latencies([[1, 2], [], [1] * LATENCY_SLOTS])[:3] == [2, 3, 1]
