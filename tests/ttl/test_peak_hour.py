from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from django_callcache.ttl import HourlyProfile, Observation, PeakHour, TtlParameters
from django_callcache.ttl.profile import utc_hours

BOGOTA = ZoneInfo("America/Bogota")
TODAY = date(2026, 11, 18)
LONG_AGO = {("2026-11-11", 0): 1}
"""One read a week ago: collection has begun, its warm-up is over."""


def local(text, zone=BOGOTA):
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def profile_of(records, zone=BOGOTA):
    """A profile of counts by local date and hour."""
    return HourlyProfile(
        {utc_hours(date.fromisoformat(day), hour, zone)[0]: count for (day, hour), count in records.items()}
    )


def days_ago(*numbers):
    return [str(TODAY - timedelta(days=number)) for number in numbers]


def ttl_at(moment, records=(), **parameters):
    """The TTL chosen at a time of day, in Bogota."""
    policy = PeakHour(TtlParameters(time_zone="America/Bogota", **parameters))
    return policy.decide(
        Observation(now=local(f"{TODAY} {moment}"), profile=profile_of(dict(records)))
    ).ttl_seconds


class TestWithoutRecords:
    @pytest.mark.parametrize(
        ("moment", "ttl_seconds"),
        [("08:59:59", 3600), ("09:00", 1800), ("18:59:59", 1800), ("19:00", 3600), ("00:00", 3600)],
    )
    def test_decide__nothing_recorded(self, moment, ttl_seconds):
        """Without any record the office hours, 09:00 to 18:59, are peak hours."""
        assert ttl_at(moment) == ttl_seconds

    def test_decide__only_records_of_more_than_a_week_ago(self):
        """Records that have left the window count as none."""
        old = {(day, hour): 900 for day in days_ago(8, 9) for hour in range(24)}
        assert [ttl_at("10:30", old), ttl_at("20:30", old)] == [1800, 3600]

    def test_decide__other_ttls(self):
        """The two TTLs are parameters."""
        assert [ttl_at(moment, default_ttl=60, peak_ttl=20) for moment in ("10:00", "20:00")] == [20, 60]


class TestAverage:
    def average_over(self, counts, hour=10, **parameters):
        records = {
            (day, hour): count for day, count in zip(days_ago(1, 2, 3, 4, 5, 6, 7), counts, strict=False)
        }
        return ttl_at(f"{hour}:15", LONG_AGO | records, **parameters)

    def test_decide__above_the_threshold(self):
        """Counts of 60, 40 and 53 average 51, which makes a peak hour."""
        assert self.average_over([60, 40, 53]) == 1800

    def test_decide__exactly_the_threshold(self):
        """An average that equals the threshold makes no peak hour."""
        assert self.average_over([50, 50]) == 3600

    def test_decide__hour_without_records(self):
        """Once warmed up, an hour without records is no peak hour, though it is an office hour."""
        records = {(day, 10): 900 for day in days_ago(1, 2, 3)}
        assert ttl_at("11:15", records) == 3600

    def test_decide__outside_office_hours(self):
        """A busy hour of the night is a peak hour."""
        assert self.average_over([60, 60], hour=23) == 1800

    def test_decide__record_of_a_week_ago(self):
        """A record of today minus seven days counts."""
        assert ttl_at("10:15", {(days_ago(7)[0], 10): 51}) == 1800

    def test_decide__record_of_eight_days_ago(self):
        """A record of today minus eight days does not."""
        assert ttl_at("10:15", LONG_AGO | {(days_ago(8)[0], 10): 51}) == 3600

    def test_decide__one_busy_day(self):
        """Days without a record do not lower the average: 350 reads on one day average 350."""
        decision = PeakHour(TtlParameters(time_zone="America/Bogota")).decide(
            Observation(
                now=local(f"{TODAY} 10:15"), profile=profile_of(LONG_AGO | {(days_ago(3)[0], 10): 350})
            )
        )
        assert (decision.terms["average"], decision.ttl_seconds) == (350, 1800)

    def test_decide__the_same_reads_over_a_week(self):
        """350 reads over seven days average 50, which is not above the threshold."""
        assert self.average_over([50] * 7) == 3600

    def test_decide__record_of_today(self):
        """What was read in this hour of today counts as a day of its own."""
        assert ttl_at("10:15", LONG_AGO | {(str(TODAY), 10): 51}) == 1800

    def test_decide__record_of_zero(self):
        """A record of no reads is a record."""
        assert self.average_over([60, 0]) == 3600

    def test_decide__record_of_the_future(self):
        """A record ahead of the clock is not looked at."""
        assert ttl_at("10:15", LONG_AGO | {("2026-11-19", 10): 900}) == 3600

    def test_decide__other_threshold(self):
        """The threshold is a parameter."""
        assert self.average_over([6, 6], usage_threshold=5) == 1800


FIRST_READ = {("2026-11-18", 8): 1}


class TestWarmUp:
    def test_decide__first_day_in_office_hours(self):
        """One early read does not end the office hours: for the first 24 hours either rule suffices."""
        assert ttl_at("10:15", FIRST_READ) == 1800

    def test_decide__first_day_outside_office_hours(self):
        """During the warm-up a busy hour outside office hours is a peak hour too."""
        assert ttl_at("20:15", FIRST_READ | {("2026-11-18", 20): 51}) == 1800

    def test_decide__first_day_quiet_evening(self):
        """During the warm-up a quiet hour outside office hours is none."""
        assert ttl_at("20:15", FIRST_READ) == 3600

    @pytest.mark.parametrize(("first_hour", "ttl_seconds"), [(9, 3600), (10, 1800)])
    def test_decide__the_end(self, first_hour, ttl_seconds):
        """The warm-up ends 24 hours after the first hour with a record began."""
        assert ttl_at("09:30", {("2026-11-17", first_hour): 1}) == ttl_seconds

    def test_decide__no_warm_up(self):
        """Without a warm-up a single read ends the office-hours rule, as the specification's code has it."""
        assert ttl_at("10:15", FIRST_READ, warmup_hours=0) == 3600

    def test_decide__end_of_warm_up_within_the_hour(self):
        """An answer is good no longer than the warm-up lasts."""
        policy = PeakHour(TtlParameters(time_zone="America/Bogota", warmup_hours=1.25))
        decision = policy.decide(Observation(now=local(f"{TODAY} 09:05"), profile=profile_of(FIRST_READ)))
        assert decision.valid_until == local(f"{TODAY} 09:15")


class TestTimeZones:
    NEW_YORK = ZoneInfo("America/New_York")

    def decide(self, now, counts, zone):
        parameters = TtlParameters(time_zone=zone.key, warmup_hours=0)
        return PeakHour(parameters).decide(Observation(now=now, profile=HourlyProfile(counts)))

    def test_decide__business_zone(self):
        """Hours of the day are those of the business, not of the server: 10:15 in Bogota is 15:15 in UTC."""
        counts = {int(local("2026-11-17 10:00", ZoneInfo("UTC"))) // 3600: 900}
        assert self.decide(local("2026-11-18 10:15"), counts, BOGOTA).ttl_seconds == 3600
        assert self.decide(local("2026-11-18 05:15"), counts, BOGOTA).ttl_seconds == 1800

    def test_utc_hours__autumn(self):
        """The hour that clocks repeat is two samples."""
        repeated = utc_hours(date(2026, 11, 1), 1, self.NEW_YORK)
        decision = self.decide(
            local("2026-11-03 01:30", self.NEW_YORK), {repeated[0]: 30, repeated[1]: 90}, self.NEW_YORK
        )
        assert (len(repeated), decision.terms["samples"], decision.terms["average"]) == (2, 2, 60)

    def test_utc_hours__spring(self):
        """The hour that clocks skip is no sample, and its neighbours are one each."""
        assert [len(utc_hours(date(2026, 3, 8), hour, self.NEW_YORK)) for hour in (1, 2, 3)] == [1, 0, 1]

    def test_utc_hours__skipped_hour_takes_nothing_from_the_next(self):
        """Reads of the hour after the skipped one do not count for the skipped one on other days."""
        counts = {utc_hours(date(2026, 3, 8), 3, self.NEW_YORK)[0]: 900}
        assert (
            self.decide(local("2026-03-10 02:30", self.NEW_YORK), counts, self.NEW_YORK).ttl_seconds == 3600
        )

    @pytest.mark.parametrize(
        "zone", ["Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC", "America/Bogota"]
    )
    def test_utc_hours__each_hour_belongs_somewhere(self, zone):
        """Every UTC hour of a year belongs to exactly one hour of one day, in odd zones too."""
        zone = ZoneInfo(zone)
        first = int(datetime(2026, 1, 1, tzinfo=zone).timestamp()) // 3600 + 1
        found = [
            utc_hour
            for number in range(365)
            for hour in range(24)
            for utc_hour in utc_hours(date(2026, 1, 1) + timedelta(days=number), hour, zone)
        ]
        assert sorted(set(found)) == sorted(found)
        assert set(range(first, first + 364 * 24)) <= set(found)

    @pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/Bogota", "Asia/Kathmandu"])
    def test_decide__valid_until_the_next_hour(self, zone):
        """An answer is good until the next hour of the day begins, where zones are off by a part too."""
        zone = ZoneInfo(zone)
        decision = self.decide(local("2026-11-18 10:15:30.5", zone), {}, zone)
        assert decision.valid_until == local("2026-11-18 11:00", zone)

    def test_init__unknown_zone(self):
        """A zone that nobody knows is refused by name."""
        with pytest.raises(ValueError, match="America/Macondo"):
            PeakHour(TtlParameters(time_zone="America/Macondo"))


class TestExplanation:
    def test_decide__terms(self):
        """An answer names its inputs."""
        records = LONG_AGO | dict.fromkeys([(day, 10) for day in days_ago(1, 2)], 60)
        decision = PeakHour(TtlParameters(time_zone="America/Bogota")).decide(
            Observation(now=local(f"{TODAY} 10:15"), profile=profile_of(records))
        )
        assert dict(decision.terms) == {
            "hour": 10.0,
            "peak": 1.0,
            "average": 60.0,
            "samples": 2.0,
            "threshold": 50.0,
            "time_zone": "America/Bogota",
        }
        assert decision.reason == "10:00 is a peak hour: 60.0 reads on average over 2 days, above 50."
        assert decision.policy == "peak-hour"

    def test_decide__by_office_hours(self):
        """An answer by office hours says so."""
        decision = PeakHour(TtlParameters()).decide(Observation(now=0.0))
        assert decision.reason == "00:00 is outside office hours, which decide since nothing is recorded yet."

    def test_assess__another_hour(self):
        """Any hour of the day can be asked about."""
        records = LONG_AGO | {(days_ago(1)[0], 16): 60}
        policy = PeakHour(TtlParameters(time_zone="America/Bogota"))
        observation = Observation(now=local(f"{TODAY} 10:15"), profile=profile_of(records))
        assert [hour for hour in range(24) if policy.assess(hour, observation).is_peak] == [16]
