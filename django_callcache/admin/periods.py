"""The spans of time that the pages show, and the steps they are drawn in."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from django_callcache.stats.series import daily_starts, steps_between

HOUR = datetime.timedelta(hours=1)
MINUTE = datetime.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Period:
    """A span that ends now."""

    name: str
    """As it stands in addresses."""
    label: Promise
    before: Promise
    """The span it is compared with, in words."""
    starts: Sequence[datetime.datetime]
    """Beginnings of its steps, in UTC."""
    earlier: datetime.datetime
    """Where the span it is compared with begins; it ends where this one begins."""
    now: datetime.datetime
    step: str
    """"minute", "hour" or "day"."""

    @property
    def start(self) -> datetime.datetime:
        """Where it begins."""
        return self.starts[0]

    def is_labelled(self, index: int, moment: datetime.datetime) -> bool:
        """Tell whether a step's time is written under a chart: round times of the present time zone."""
        local = timezone.localtime(moment)
        if self.step == "minute":
            return local.minute % 10 == 0
        if self.step == "day":
            return (len(self.starts) - 1 - index) % 4 == 0
        return local.hour == 0 if len(self.starts) > 24 else local.hour % 3 == 0


LABELS = {
    "1h": _("1 hour"),
    "24h": _("24 hours"),
    "7d": _("7 days"),
    "30d": _("30 days"),
}
COMPARED = {
    "1h": _("the hour before"),
    "24h": _("the 24 hours before"),
    "7d": _("the 7 days before"),
    "30d": _("the 30 days before"),
}
DEFAULT = "24h"
ROUND = {name: label for name, label in LABELS.items() if name != "1h"}
"""Periods that hourly rows can tell of."""


def round_period(name: str, default: str = DEFAULT) -> str:
    """Return the period of a name in an address, as far as hourly rows can tell of it."""
    return name if name in ROUND else default


def period_of(name: str | None, now: datetime.datetime) -> Period:
    """Return the period of a name in an address; an unknown one is a day.

    An hour is drawn in minutes, a day and a week in hours, a month in days of the present time zone.
    """
    if name not in LABELS:
        name = DEFAULT
    now = now.astimezone(datetime.UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    step = "hour"
    if name == "1h":
        # The current minute is still counted, so the hour ends where it begins.
        now = now.replace(second=0, microsecond=0)
        starts = tuple(steps_between(now - HOUR, now, MINUTE))
        # Rows hold clock hours: the one before this hour's first minute is the nearest.
        earlier, step = starts[0].replace(minute=0) - HOUR, "minute"
    elif name == "30d":
        zone = timezone.get_current_timezone()
        starts = daily_starts(now.astimezone(zone).date() - datetime.timedelta(days=29), 30, zone)
        earlier, step = starts[0] - datetime.timedelta(days=30), "day"
    else:
        hours = 24 if name == "24h" else 168
        starts = tuple(steps_between(hour - (hours - 1) * HOUR, hour + HOUR, HOUR))
        earlier = starts[0] - hours * HOUR
    return Period(name, LABELS[name], COMPARED[name], starts, earlier, now, step)
