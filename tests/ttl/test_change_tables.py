from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from django_callcache.ttl.change_tables import (
    ALL_CHANGES,
    CHANGES,
    EXPOSURE,
    OBSERVATIONS,
    SUMS,
    ChangeTables,
    halved,
)
from django_callcache.ttl.estimate import BUCKETS, EDGES, Baseline, bucket_of
from django_callcache.ttl.hour_bins import HourBins, hour_bins

UTC = hour_bins("UTC")
MONDAY = 20_458 * 86400.0
"""2026-01-05 00:00 UTC."""


class TestBuckets:
    @pytest.mark.parametrize("bucket", range(BUCKETS))
    def test_bucket_of__edges(self, bucket):
        """A bucket holds its lower edge and what lies above it, up to the next."""
        assert bucket_of(EDGES[bucket]) == bucket
        if bucket < BUCKETS - 1:
            assert bucket_of(EDGES[bucket + 1] * 0.9999) == bucket

    def test_hazard_until(self):
        """The changes to be expected are the hazards times the seconds in each bucket."""
        baseline = Baseline((0.5, 0.25) + (0.0,) * (BUCKETS - 2))
        assert baseline.hazard_until(0) == 0
        assert baseline.hazard_until(1.2) == pytest.approx(0.5 + 0.25 * 0.2)
        assert baseline.hazard_until(1e9) == pytest.approx(0.5 + 0.25 * (2**0.5 - 1))


class TestHourBins:
    @pytest.mark.parametrize(
        ("zone", "utc_hour", "bin_"),
        [
            ("UTC", 20_458 * 24, 0),  # Monday
            ("UTC", 20_463 * 24 + 5, 29),  # Saturday
            ("America/Bogota", 20_458 * 24, 24 + 19),  # still Sunday evening there
            ("Asia/Kolkata", 20_458 * 24, 5),  # 05:30
        ],
    )
    def test_of(self, zone, utc_hour, bin_):
        """A UTC hour belongs to the hour of the business's week in which it begins."""
        assert HourBins(ZoneInfo(zone)).of(utc_hour) == bin_

    def test_of__clocks_set_back(self):
        """The hour that an autumn night has twice is two UTC hours in one bin."""
        bins = HourBins(ZoneInfo("Europe/Madrid"))
        night = 20_751 * 24  # 2026-10-25, Sunday
        assert [bins.of(night + hour) - 24 for hour in range(4)] == [2, 2, 3, 4]

    def test_hour_bins__unknown_zone(self):
        """A zone that is none is refused by name."""
        with pytest.raises(ValueError, match="Bogata"):
            hour_bins("America/Bogata")


class TestChangeTables:
    def test_baseline__prior(self):
        """As long as nothing is known, half a stale read is expected in the time of half an hour's TTL."""
        assert ChangeTables(12).baseline.hazards[0] == pytest.approx(0.5 / 12 / 1800)

    def test_halved(self):
        """Sums fade, the number of observations does not."""
        sums = [4.0] * SUMS
        assert halved(sums)[CHANGES] == halved(sums)[ALL_CHANGES] == 2
        assert halved(sums)[OBSERVATIONS] == 4

    def test_observed__fading(self):
        """After 4,000 reloads half of what was learnt is left, and memory does not grow with time."""
        tables = ChangeTables(12)
        for number in range(8000):
            tables.added[EXPOSURE] += 1
            tables.observed(MONDAY + number * 3600, MONDAY + number * 3600, UTC)
        assert tables._sum(EXPOSURE) == pytest.approx(3000)
        assert tables.observations == 8000
        assert len(tables._merged_hours) <= 28 * 24

    def test_seasons__busy_hour(self):
        """An hour with most of the changes stands out, and an hour never watched counts as any."""
        tables = ChangeTables(12)
        for day in range(5):
            for hour in range(24):
                for _ in range(20 if hour == 10 else 1):
                    at = MONDAY + day * 86400 + hour * 3600
                    tables.observed(at, at, UTC)
        tables.refit(MONDAY + 5 * 86400, UTC)
        seasons = tables.baseline.seasons
        assert max(range(48), key=seasons.__getitem__) == 10
        assert seasons[10] > 3 * seasons[9]
        assert seasons[24 + 10] == pytest.approx(1.0)

    def test_merged__what_was_added_meanwhile(self):
        """What is added while growth travels is neither lost nor counted twice."""
        tables = ChangeTables(12, is_shared=True)
        tables.added[ALL_CHANGES] = 3.0
        tables.added_hours[5] = 3.0
        sent = tables.growth()
        tables.added[ALL_CHANGES] += 1.0
        tables.added_hours[5] += 1.0
        tables.merged(sent, [10.0] * SUMS, {5: 10.0}, first_hour=2)
        assert tables._sum(ALL_CHANGES) == 11
        assert tables.growth().sums[ALL_CHANGES] == 1
        assert tables.growth().hours == {5: 1.0}
        assert tables.first_hour == 2

    def test_merged__nothing_left(self):
        """What has arrived is not sent again."""
        tables = ChangeTables(12, is_shared=True)
        tables.observed(MONDAY, MONDAY, UTC)
        sent = tables.growth()
        tables.merged(sent, sent.sums, sent.hours, first_hour=1)
        assert not tables.growth()
        assert tables.observations == 1
