"""The 41,188 calls of the data set as campaigns, contacts and calls. No database is needed here.

The file has neither ids nor a clock, so these rules make them; the same file gives the same
numbers and times on every machine.

* **Campaigns** are the 26 runs of equal months, numbered from 1. The first is May 2008, and a
  month that is not later in the year than the one before begins the next year; so they end with
  November 2010, as the data set's description says.
* **Contacts** are the distinct profiles (age, job, marital status, education, the three loans),
  numbered from 1 in the order in which they first appear: 13,006. Two people with one profile
  count as one.
* **Days**: a run of equal days of the week within a campaign is one day of work. The first is the
  first such weekday of the month, each further one the next such weekday after the day before.
  (All 26 campaigns then end within their own month, which the rule does not force.)
* **Times**: the n calls of a day begin at equal distances from 09:00 on, in file order, so that
  the last begins before 19:00, local time.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).resolve().parent.parent / "data" / "bank-calls.csv.gz"
FIRST_YEAR = 2008
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri")
OPENING = time(9)
WORKING_SECONDS = 10 * 60 * 60
NEVER = 999
"""What ``pdays`` holds for a client whom no earlier campaign called."""


class Profile(NamedTuple):
    """All that the data set says about a client."""

    age: int
    job: str
    marital_status: str
    education: str
    credit_default: str
    housing_loan: str
    personal_loan: str


@dataclass(frozen=True, slots=True)
class Month:
    """One run of equal months: a campaign."""

    number: int
    starts_on: date


@dataclass(frozen=True, slots=True)
class BankCall:
    """One row of the file, with the ids and the time that the rules give it."""

    number: int
    """Row of the file, from 1."""
    month: Month
    contact: int
    profile: Profile
    started_at: datetime
    """Local time, without a zone."""
    duration_seconds: int
    channel: str
    attempt: int
    days_since_previous: int | None
    previous_attempts: int
    subscribed: bool


def read_calls(path: Path = DATA, *, limit: int | None = None) -> Iterator[BankCall]:
    """Yield the calls in file order.

    Args:
        path: The compressed file.
        limit: How many calls to yield at most. It changes no call: a day's times come from all
            the calls of the day, yielded or not.
    """
    return islice(_all_calls(path), limit)


def _all_calls(path: Path) -> Iterator[BankCall]:
    contacts: dict[Profile, int] = {}
    number = 0
    for month, day, rows in _days(path):
        for position, row in enumerate(rows):
            number += 1
            profile = _profile(row)
            since_opening = timedelta(seconds=position * WORKING_SECONDS // len(rows))
            days = int(row["pdays"])
            yield BankCall(
                number=number,
                month=month,
                contact=contacts.setdefault(profile, len(contacts) + 1),
                profile=profile,
                started_at=datetime.combine(day, OPENING) + since_opening,
                duration_seconds=int(row["duration"]),
                channel=row["contact"],
                attempt=int(row["campaign"]),
                days_since_previous=None if days == NEVER else days,
                previous_attempts=int(row["previous"]),
                subscribed=row["output"] == "yes",
            )


def _days(path: Path) -> Iterator[tuple[Month, date, list[dict[str, str]]]]:
    """Yield each day of work with its campaign and its rows."""
    with gzip.open(path, "rt", newline="") as file:
        for month, month_rows in _months(csv.DictReader(file)):
            day = month.starts_on - timedelta(days=1)
            for weekday, rows in groupby(month_rows, key=itemgetter("day_of_week")):
                day = _next_weekday(day, WEEKDAYS.index(weekday))
                yield month, day, list(rows)


def _months(rows: Iterator[dict[str, str]]) -> Iterator[tuple[Month, Iterator[dict[str, str]]]]:
    year, previous = FIRST_YEAR, 0
    for number, (name, month_rows) in enumerate(groupby(rows, key=itemgetter("month")), start=1):
        month = MONTHS.index(name) + 1
        year += month <= previous
        previous = month
        yield Month(number, date(year, month, 1)), month_rows


def _next_weekday(day: date, weekday: int) -> date:
    """Return the first such weekday after a day."""
    return day + timedelta(days=(weekday - day.weekday() - 1) % 7 + 1)


def _profile(row: dict[str, str]) -> Profile:
    return Profile(
        age=int(row["age"]),
        job=row["job"],
        marital_status=row["marital"],
        education=row["education"],
        credit_default=row["default"],
        housing_loan=row["housing"],
        personal_loan=row["loan"],
    )
