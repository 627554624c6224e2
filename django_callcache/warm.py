"""Preload: the keys that were read most, by the statistics, are loaded before somebody asks for them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django_callcache.failpoints import reach
from django_callcache.models import CacheStat

logger = logging.getLogger(__name__)


class Loading(Protocol):
    """What a cache must do to be warmed."""

    def load_many(self, keys: Iterable[str], /) -> Mapping[str, Any]:
        """The records at some keys, from the cache or their loaders; stores what was missing."""
        ...


@dataclass(frozen=True, slots=True)
class Warmed:
    """What became of the keys."""

    asked: int = 0
    records: int = 0
    """Keys that have a record now. The rest is known not to exist, or failed."""
    failed: int = 0
    """Keys whose loader failed."""

    def __add__(self, other: Warmed) -> Warmed:
        return Warmed(self.asked + other.asked, self.records + other.records, self.failed + other.failed)


def hottest(alias: str, prefixes: Sequence[str], top: int, since: datetime) -> list[str]:
    """The keys that were read most, the most read first.

    Args:
        alias: Name of the cache in the statistics.
        prefixes: What keys begin with that can be loaded.
        top: How many at the most.
        since: From when on reads count.
    """
    reads: Counter[str] = Counter()
    rankings = CacheStat.objects.for_alias(alias).since(since).values_list("hot_keys", flat=True)
    for ranking in rankings.iterator():
        for key, number in ranking:
            if key.startswith(tuple(prefixes)):
                reads[key] += number
    ranked = sorted(reads.items(), key=lambda item: (-item[1], item[0]))
    return [key for key, _ in ranked[:top]]


def warm(
    cache: Loading,
    keys: Sequence[str],
    chunk: int,
    progress: Callable[[Warmed], object] = lambda done: None,
    *,
    may_go_on: Callable[[], bool] = lambda: True,
) -> Warmed:
    """Load keys that the cache lacks; what it has, and what is written meanwhile, stays.

    A loader that fails leaves its chunk out: the others are loaded all the same.

    Args:
        cache: Where to.
        keys: Which; each has a loader.
        chunk: Keys that a loader is asked for at once.
        progress: Called after each chunk with all that was done so far.
        may_go_on: Asked before each chunk; False ends the work.
    """
    total = Warmed()
    for at in range(0, len(keys), chunk):
        if not may_go_on():
            break
        portion = keys[at : at + chunk]
        try:
            total += Warmed(asked=len(portion), records=len(cache.load_many(portion)))
        except Exception:  # a loader is anybody's code
            logger.warning("warm=failed first_key=%s keys=%d", portion[0], len(portion), exc_info=True)
            total += Warmed(asked=len(portion), failed=len(portion))
        progress(total)
        reach("cp20")
    return total
