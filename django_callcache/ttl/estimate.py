"""What a policy is told of one key: how it changed, how it is read, and what its prefix teaches.

Ages fall into buckets whose edges are 0 and 2**(i/2) seconds: rows that were just written mostly change
again soon, and half an order of magnitude is as fine as the data are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

BUCKETS = 51
"""Age buckets; the last is open-ended, from 2**24.5 s (nine months) on."""
EDGES = (0.0, *(2 ** (i / 2) for i in range(BUCKETS - 1)), math.inf)
"""Seconds at which buckets begin; the last one is where the open bucket ends."""
SEASONS = 48
"""Hours of the day, of workdays and then of weekends."""

_PER_OCTAVE = 2 / math.log(2)


def bucket_of(age: float) -> int:
    """The bucket that an age in seconds falls into."""
    if age < 1:
        return 0
    # The small amount puts an age on an edge into the bucket that begins there.
    return min(BUCKETS - 1, int(math.log(age) * _PER_OCTAVE + 1e-9) + 1)


@dataclass(frozen=True, slots=True)
class Baseline:
    """How often the values of a prefix change: by age, and by hour of the week."""

    hazards: Sequence[float]
    """Changes a second, by age bucket."""
    seasons: Sequence[float] | None = None
    """Factors of the 48 hours; None while nothing is known of them, and all count alike."""

    def hazard_until(self, age: float) -> float:
        """Changes to be expected until an age, for an ordinary key in ordinary hours."""
        total, bucket = 0.0, 0
        while bucket < BUCKETS and age > EDGES[bucket]:
            total += self.hazards[bucket] * (min(age, EDGES[bucket + 1]) - EDGES[bucket])
            bucket += 1
        return total


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of one key at the moment of a load."""

    baseline: Baseline
    """Of the key's prefix."""
    frailty: float = 1.0
    """How much more often than the prefix the key changes."""
    reads_a_second: float = 1 / 600
    """Reads of the key."""
    born_at: float | None = None
    """Unix seconds of the value's last change: as its row says, else as it was first seen."""
    has_updated_at: bool = False
    """Whether the row says when it changed."""
    log_ttl: float | None = None
    """Logarithm of the seconds that `alex` has come to for the key."""
    observations: int = 0
    """Reloads from which the prefix has learnt."""
