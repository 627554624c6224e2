"""Samples of what is not counted but seen: the highest of each hour."""

from __future__ import annotations

import datetime

from django_callcache.models import CacheHour


def note(alias: str, now: float, **seen: float | None) -> None:
    """Keep what was seen of a cache, if it is the highest of its hour.

    Args:
        alias: As statistics know the cache.
        now: Unix seconds.
        seen: By the names of `CacheHour.SAMPLES`; None where it is not known.
    """
    known = {name: value for name, value in seen.items() if value is not None}
    if not known:
        return
    hour = datetime.datetime.fromtimestamp(now // 3600 * 3600, datetime.UTC)
    row, is_new = CacheHour.objects.get_or_create(alias=alias, hour=hour, defaults=known)
    if is_new:
        return
    higher = {name: value for name, value in known.items() if value > (getattr(row, name) or -1)}
    if higher:
        CacheHour.objects.filter(pk=row.pk).update(**higher)
