"""The rules that give the data set ids and a clock."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, time
from itertools import groupby, pairwise

import pytest

from testproject.crm.bank_calls import BankCall, read_calls
from testproject.crm.loading import TOTAL_CALLS


@pytest.fixture(scope="module")
def calls() -> list[BankCall]:
    return list(read_calls())


class TestReadCalls:
    def test_read_calls__whole_file(self, calls):
        """All 41,188 calls of 26 campaigns and 13,006 contacts are there, numbered in file order."""
        assert [call.number for call in calls] == list(range(1, TOTAL_CALLS + 1))
        assert {call.month.number for call in calls} == set(range(1, 27))
        assert {call.contact for call in calls} == set(range(1, 13_007))

    def test_read_calls__twice(self, calls):
        """Reading again gives the same ids and times."""
        assert list(read_calls()) == calls

    def test_read_calls__limit(self, calls):
        """A limit takes the first calls and changes none of them."""
        assert list(read_calls(limit=100)) == calls[:100]

    def test_read_calls__first_row(self, calls):
        """Every column of the file's first row arrives."""
        assert calls[0] == BankCall(
            number=1,
            month=calls[0].month,
            contact=1,
            profile=(56, "housemaid", "married", "basic.4y", "no", "no", "no"),
            started_at=datetime(2008, 5, 5, 9),
            duration_seconds=261,
            channel="telephone",
            attempt=1,
            days_since_previous=None,
            previous_attempts=0,
            subscribed=False,
        )

    def test_read_calls__months(self, calls):
        """Campaigns are the runs of months, from May 2008 to November 2010."""
        months = [month.starts_on for month, _ in groupby(calls, key=lambda call: call.month)]
        assert len(months) == 26
        assert months == sorted(set(months))
        assert (months[0], months[-1]) == (date(2008, 5, 1), date(2010, 11, 1))

    def test_read_calls__contacts(self, calls):
        """A contact is one profile, numbered in the order of first appearance."""
        assert len({(call.contact, call.profile) for call in calls}) == 13_006
        first_seen = list(dict.fromkeys(call.contact for call in calls))
        assert first_seen == sorted(first_seen)

    def test_read_calls__business_hours(self, calls):
        """Every call begins on a working day between 09:00 and 18:59:59, within its campaign's month."""
        for call in calls:
            assert call.started_at.weekday() < 5
            assert time(9) <= call.started_at.time() < time(19)
            assert call.started_at.date().replace(day=1) == call.month.starts_on

    def test_read_calls__order(self, calls):
        """Times never go back from one row of the file to the next."""
        assert all(one.started_at <= other.started_at for one, other in pairwise(calls))

    def test_read_calls__spread(self, calls):
        """The calls of a day are spread over all of its ten hours."""
        first_day = Counter(
            call.started_at.hour for call in calls if call.started_at.date() == date(2008, 5, 5)
        )
        assert first_day == dict.fromkeys(range(9, 19), 36)
