"""Hours since the epoch in UTC to hours of the business's week.

Everything is counted by UTC hours; which hour of the day one is, and whether of a weekend, is asked only
when counts are read, so neither a change of the clocks nor of the zone spoils them.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from django_callcache.ttl.profile import HOUR

SATURDAY = 5
_REMEMBERED = 4096


class HourBins:
    """The bin of an hour: 0 to 23 for the hours of workdays, 24 to 47 for those of weekends.

    Where a zone is off by a part of an hour, a UTC hour belongs to the hour in which it begins.

    Args:
        zone: Of the business.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self._bins: dict[int, int] = {}

    def of(self, utc_hour: int) -> int:
        """The bin of an hour since the epoch."""
        known = self._bins.get(utc_hour)
        if known is None:
            if len(self._bins) >= _REMEMBERED:
                self._bins = {}
            begins = datetime.fromtimestamp(utc_hour * HOUR, self.zone)
            known = self._bins[utc_hour] = begins.hour + (24 if begins.weekday() >= SATURDAY else 0)
        return known


@lru_cache(maxsize=16)
def hour_bins(time_zone: str) -> HourBins:
    """The bins of a zone by its name.

    Raises:
        ValueError: There is no such zone.
    """
    try:
        return HourBins(ZoneInfo(time_zone))
    except (KeyError, ValueError, OSError) as error:
        message = f"time_zone is {time_zone!r}: give a zone that zoneinfo knows."
        raise ValueError(message) from error
