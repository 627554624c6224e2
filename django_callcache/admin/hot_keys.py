"""The most read keys of the last day, from the hourly rows: a list that costs Redis nothing."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass

from django.utils import timezone

from django_callcache.admin.aliases import is_denied
from django_callcache.models import CacheStat

DAY = datetime.timedelta(hours=24)
LISTED = 50


@dataclass(frozen=True, slots=True)
class HotKey:
    """A key with its reads, as far as the rows remember them."""

    key: str
    prefix: str
    reads: int


def hot_keys(alias: str) -> tuple[HotKey, ...]:
    """Return the most read keys of a cache, most read first; denied ones are left out."""
    reads: Counter[tuple[str, str]] = Counter()
    rows = CacheStat.objects.for_alias(alias).since(timezone.now() - DAY).exclude(hot_keys=[])
    for prefix, keys in rows.order_by().values_list("prefix", "hot_keys").iterator():
        for key, count in keys:
            reads[str(key), prefix] += int(count)
    ranked = (HotKey(key, prefix, count) for (key, prefix), count in reads.most_common())
    shown = (hot for hot in ranked if not is_denied(hot.key))
    return tuple(hot for hot, _ in zip(shown, range(LISTED), strict=False))
