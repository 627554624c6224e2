"""What all keys of a prefix taught together: sums of which the baseline of its changes is made.

Processes add to sums of their own, and hand what they added to the sums that all share. Sums fade: they are
halved after every 4,000 reloads, so that what was learnt long ago gives way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from django_callcache.ttl.estimate import BUCKETS, SEASONS, Baseline
from django_callcache.ttl.hour_bins import HourBins
from django_callcache.ttl.policy import PEAK_TTL
from django_callcache.ttl.profile import HOUR

CHANGES = 0
"""First of the changes by age bucket."""
EXPOSURE = BUCKETS
"""First of the seconds that values were watched, by age bucket, weighted as their changes are."""
ALL_CHANGES, ALL_EXPOSURE, GAPS, GAP_SECONDS, LOG_TTLS, LOG_TTL_COUNT = range(2 * BUCKETS, 2 * BUCKETS + 6)
FADING = 2 * BUCKETS + 6
"""The sums before this one are halved from time to time; the counts from here on are not."""
OBSERVATIONS, UNSAFE = FADING, FADING + 1
SUMS = FADING + 2

HALVED_EVERY = 4000
"""Reloads."""
SEASON_HOURS = 28 * 24
"""Hours that changes are remembered for: four of each hour of the week."""
PRIOR_GAP = 1 / 3
"""Part of the first TTL that lies between two reads of a key, as long as nothing is known."""

_BUCKET_PRIOR = 2.0
"""Changes that the overall rate counts for in each age bucket."""
_SEASON_PRIOR = 8.0
"""Changes that the overall rate counts for in each hour of the week."""


class Growth(NamedTuple):
    """What one process added."""

    sums: tuple[float, ...]
    hours: Mapping[int, float]
    """Changes by UTC hour since the epoch."""

    def __bool__(self) -> bool:
        return any(self.sums) or any(self.hours.values())


class ChangeTables:
    """The sums of one prefix. Any number of threads may share one.

    Args:
        eta: What a stale read costs, in loads.
        first_ttl: Seconds that `adaptive` is to answer about, as long as nothing is known.
        is_shared: Whether somebody merges the growth into the sums of all processes, and halves those.
    """

    def __init__(self, eta: float, first_ttl: float = PEAK_TTL, *, is_shared: bool = False) -> None:
        self._prior = min(1.0, 0.5 / eta) / first_ttl
        self._prior_gap = first_ttl * PRIOR_GAP
        self._is_shared = is_shared
        self._merged = [0.0] * SUMS
        self._merged_hours: dict[int, float] = {}
        self.first_hour: int | None = None
        """UTC hour since the epoch of the first observation, over all processes."""
        self.added = [0.0] * SUMS
        """What this process has added since it last handed something over."""
        self.added_hours: dict[int, float] = {}
        self.baseline = Baseline((self._prior,) * BUCKETS)

    @property
    def observations(self) -> float:
        """Reloads from which was learnt."""
        return self._merged[OBSERVATIONS] + self.added[OBSERVATIONS]

    @property
    def is_unsafe(self) -> bool:
        """Whether a value was seen changed while its row said it was not."""
        return self._merged[UNSAFE] + self.added[UNSAFE] > 0

    @property
    def changes_a_second(self) -> float | None:
        """How often a key changes, over all ages and hours; None where nothing is known."""
        exposure = self._sum(ALL_EXPOSURE)
        return self._sum(ALL_CHANGES) / exposure if exposure else None

    @property
    def mean_gap(self) -> float:
        """Seconds from an expiry to the next read, over the keys."""
        return (self._prior_gap + self._sum(GAP_SECONDS)) / (1.0 + self._sum(GAPS))

    @property
    def mean_log_ttl(self) -> float | None:
        """Where `alex` lets a new key begin; None while it knows no key."""
        count = self._sum(LOG_TTL_COUNT)
        return self._sum(LOG_TTLS) / count if count else None

    def observed(self, changed_at: float | None, now: float, bins: HourBins) -> None:
        """Count a reload, and the change that it found; renew the baseline when it is due."""
        added = self.added
        added[OBSERVATIONS] += 1
        if self.first_hour is None:
            self.first_hour = int(now // HOUR)
        if changed_at is not None:
            hour = int(changed_at // HOUR)
            self.added_hours[hour] = self.added_hours.get(hour, 0.0) + 1
        count = self.observations
        if not self._is_shared and count % HALVED_EVERY == 0:
            self._merge_alone(int(now // HOUR))
        # Early on every few reloads tell much; later the baseline moves slowly.
        if count in (10, 30, 100, 200) or count % 400 == 0:
            self.refit(now, bins)

    def refit(self, now: float, bins: HourBins) -> None:
        """Make the baseline anew of the sums."""
        rate = (1.0 + self._sum(ALL_CHANGES)) / (1.0 / self._prior + self._sum(ALL_EXPOSURE))
        hazards = tuple(
            (self._sum(CHANGES + bucket) + _BUCKET_PRIOR)
            / (self._sum(EXPOSURE + bucket) + _BUCKET_PRIOR / rate)
            for bucket in range(BUCKETS)
        )
        self.baseline = Baseline(hazards, self._seasons(now, bins))

    def growth(self) -> Growth:
        """What was added and not yet handed over."""
        return Growth(tuple(self.added), dict(self.added_hours))

    def merged(
        self, sent: Growth, sums: Iterable[float], hours: Mapping[int, float], first_hour: int
    ) -> None:
        """Go on from the sums of all processes, in which what was sent is contained."""
        self._merged = list(sums)
        self._merged_hours = dict(hours)
        self.first_hour = first_hour
        for index, amount in enumerate(sent.sums):
            self.added[index] -= amount
        for hour, amount in sent.hours.items():
            left = self.added_hours[hour] - amount
            if left:
                self.added_hours[hour] = left
            else:
                del self.added_hours[hour]

    def forget_growth(self) -> None:
        """Start from what all share, as a child process does: its parent hands over what was added so far."""
        self.added = [0.0] * SUMS
        self.added_hours = {}

    def _sum(self, index: int) -> float:
        return self._merged[index] + self.added[index]

    def _merge_alone(self, hour: int) -> None:
        """The same for a process that has nobody to share with."""
        self._merged = halved(one + other for one, other in zip(self._merged, self.added, strict=True))
        for changed, number in self.added_hours.items():
            self._merged_hours[changed] = self._merged_hours.get(changed, 0.0) + number
        self._merged_hours = {
            known: number for known, number in self._merged_hours.items() if known > hour - SEASON_HOURS
        }
        self.forget_growth()

    def _seasons(self, now: float, bins: HourBins) -> tuple[float, ...]:
        """Factors of the hours: changes to those expected, were they spread evenly over the time watched."""
        last = int(now // HOUR)
        first = max(last - SEASON_HOURS + 1, last if self.first_hour is None else self.first_hour)
        changes, hours = [0.0] * SEASONS, [0.0] * SEASONS
        for hour in range(first, last + 1):
            season = bins.of(hour)
            # The present hour has been watched in part.
            hours[season] += 1.0 if hour < last else now / HOUR - last
            changes[season] += self._merged_hours.get(hour, 0.0) + self.added_hours.get(hour, 0.0)
        watched = sum(hours)
        if not watched or not any(changes):
            return (1.0,) * SEASONS
        mean = sum(changes) / watched
        return tuple(
            (number + _SEASON_PRIOR) / (mean * length + _SEASON_PRIOR)
            for number, length in zip(changes, hours, strict=True)
        )


def halved(sums: Iterable[float]) -> list[float]:
    """Sums with half of what they hold, counts as they are."""
    sums = iter(sums)
    return [amount / 2 for amount in islice(sums, FADING)] + list(sums)
