"""The counts of a cache hour by hour, from the rows of all its prefixes together."""

from __future__ import annotations

import datetime
from typing import Any

from django.db.models import QuerySet

from django_callcache.models import COUNTERS
from django_callcache.stats.series import Totals


def counted_hours(hours: QuerySet[Any]) -> list[tuple[datetime.datetime, Totals]]:
    """Return what each hour counted, oldest first; hours that nothing was counted in are left out.

    Args:
        hours: Rows of `CacheHour`, or of `CacheStat` for one prefix.
    """
    rows = hours.order_by("hour").values_list("hour", *COUNTERS)
    return [(hour, Totals(*counts)) for hour, *counts in rows if any(counts)]
