from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from django_callcache.service.access import HOTTEST, HotKeys, forget_old, merge, profile_of, record_of

BOGOTA = ZoneInfo("America/Bogota")
NEW_YORK = ZoneInfo("America/New_York")
TODAY = date(2026, 11, 18)


def record(day, hour, count=1):
    return {"hour": hour, "count": count, "keys": HotKeys(), "date": day}


def utc_hour(text, zone=BOGOTA, fold=0):
    return int(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()) // 3600


class TestHotKeys:
    def test_read__is_a_set(self):
        """It is a set of the keys that were read."""
        keys = HotKeys()
        for key in "aba":
            keys.read(key)
        assert keys == {"a", "b"}

    def test_read__bounded(self):
        """A stream of keys that come once does not grow it, nor drive out those that come often."""
        keys = HotKeys()
        hot = Counter()
        for number in range(5000):
            keys.read(f"once:{number}")
            keys.read(f"often:{number % 20}")
            hot[f"often:{number % 20}"] += 1
        assert len(keys) == HOTTEST
        assert hot.keys() <= keys

    def test_learn__keeps_the_hottest(self):
        """Of its own keys and a ranking of others the most read stay."""
        keys = HotKeys()
        for _ in range(50):
            keys.read("mine")
        keys.read("rare")
        keys.learn((f"theirs:{number}", 10 + number) for number in range(HOTTEST))
        assert len(keys) == HOTTEST
        assert {"mine", f"theirs:{HOTTEST - 1}"} <= keys
        assert not {"rare", "theirs:0"} & keys

    def test_learn__same_reads_twice(self):
        """Reads that it has counted itself and hears of again are counted once."""
        keys = HotKeys()
        keys.learn([("a", 5)])
        keys.learn([("a", 5), ("b", 6)])
        for number in range(HOTTEST - 2):
            keys.learn([(f"c:{number}", 100)])
        keys.read("new")
        assert "a" not in keys
        assert {"b", "new"} <= keys


class TestRecordOf:
    def test_same_hour_of_another_day(self):
        """An hour of today and the same hour of yesterday are two records."""
        stats = [record(TODAY - timedelta(days=1), 12)]
        found = record_of(stats, datetime(2026, 11, 18, 12, 30, tzinfo=BOGOTA))
        assert (found["count"], found["date"], len(stats)) == (0, TODAY, 2)
        assert record_of(stats, datetime(2026, 11, 18, 12, 59, tzinfo=BOGOTA)) is found

    def test_new_hour__forgets_the_old(self):
        """Seven days before today are kept, the eighth is dropped."""
        stats = [record(TODAY - timedelta(days=8), 12), record(TODAY - timedelta(days=7), 12)]
        record_of(stats, datetime(2026, 11, 18, 12, tzinfo=BOGOTA))
        assert [one["date"] for one in stats] == [TODAY - timedelta(days=7), TODAY]


class TestMerge:
    def test_counts(self):
        """Hours that others have counted appear in order of time; the larger count of an hour stays."""
        stats = [record(TODAY, 12, 10), record(TODAY, 9, 99)]
        merge(
            stats,
            {
                utc_hour("2026-11-18 12:00"): 25,
                utc_hour("2026-11-18 09:00"): 4,
                utc_hour("2026-11-17 23:00"): 7,
            },
            {},
            BOGOTA,
        )
        assert [(one["date"].day, one["hour"], one["count"]) for one in stats] == [
            (17, 23, 7),
            (18, 9, 99),
            (18, 12, 25),
        ]

    def test_rankings(self):
        """Hottest keys go to the record of their hour, also where somebody has put a plain set."""
        stats = [record(TODAY, 12, 10) | {"keys": {"mine"}}]
        merge(stats, {}, {utc_hour("2026-11-18 12:00"): [("theirs", 3)]}, BOGOTA)
        assert stats[0]["keys"] == {"mine", "theirs"}

    def test_hour_that_clocks_repeat(self):
        """Both hours are in one record, the sum of them."""
        stats = []
        hours = [utc_hour("2026-11-01 01:00", NEW_YORK, fold) for fold in (0, 1)]
        merge(stats, dict(zip(hours, (30, 91), strict=True)), {}, NEW_YORK)
        assert [(one["hour"], one["count"]) for one in stats] == [(1, 121)]
        profile = profile_of(stats, 1, date(2026, 11, 1), NEW_YORK)
        assert profile.counts == dict.fromkeys(hours, 61)


class TestProfileOf:
    def test_hour(self):
        """It has the hour that is asked for, and the first record, which tells the age of them all."""
        stats = [record(TODAY, 10, 60), record(TODAY, 11, 5), record(TODAY - timedelta(days=2), 8, 7)]
        assert profile_of(stats, 10, TODAY, BOGOTA).counts == {
            utc_hour("2026-11-18 10:00"): 60,
            utc_hour("2026-11-16 08:00"): 0,
        }

    @pytest.mark.parametrize("day", [TODAY - timedelta(days=8), TODAY + timedelta(days=1)])
    def test_outside_the_week(self, day):
        """What is older than seven days, or not yet, is not in it."""
        assert profile_of([record(day, 10, 60)], 10, TODAY, BOGOTA).counts == {}

    def test_several_records_of_one_hour(self):
        """Several records of one hour of one day, put there by hand, stand for their mean."""
        stats = [record(TODAY, 10, count) for count in (50, 51)]
        assert profile_of(stats, 10, TODAY, BOGOTA).counts == {utc_hour("2026-11-18 10:00"): 51}


class TestForgetOld:
    def test_same_list(self):
        """The list stays the same object."""
        stats = [record(TODAY - timedelta(days=8), 1), record(TODAY, 1)]
        before = stats
        forget_old(stats, TODAY)
        assert before == [record(TODAY, 1)]
