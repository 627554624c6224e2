"""What one TTL for all keys of a prefix is expected to cost, by how often they are read and change.

A key that is read mu times a second and changes lambda times, each at random moments (Poisson), with a TTL
of T: of its reads 1 / (1 + mu T) are loads, and mu (T - (1 - exp(-lambda T)) / lambda) / (1 + mu T) are stale
(J. Cho and H. Garcia-Molina, Synchronizing a Database to Improve Freshness, 2000). It is a model, not a
measurement.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

CANDIDATES = 48
"""TTLs that are tried, evenly on a scale of logarithms."""
CLASSES_A_DECADE = 10
"""Keys read about as often count as one."""


class Keys(NamedTuple):
    """Keys that are read equally often."""

    reads: float
    """Of all of them, in the time looked at."""
    rate: float
    """Reads a second of each."""


class Expected(NamedTuple):
    """What came of the reads, were the model right."""

    reads: float
    loads: float
    stale: float | None
    """None where nothing is known of how often values change."""


def read_rate(reads: float, keys: float, seconds: float) -> float:
    """Reads a second of each key, where some keys were read in some seconds.

    Of keys that are seldom read only those are counted that were read at all, so the mean of the counted ones
    is that of a Poisson law without its zero: m / (1 - exp(-m)). A key that was read once says nothing of a
    second read.
    """
    mean = reads / keys if keys else 0.0
    if mean <= 1:
        return 0.0
    found = mean
    for _ in range(60):
        found = mean * -math.expm1(-found)
    return found / seconds


def classes(keys: Iterable[Keys]) -> list[Keys]:
    """The same with keys that are read about as often put together."""
    sums: dict[int | None, float] = {}
    for reads, rate in keys:
        name = None if rate <= 0 else round(math.log10(rate) * CLASSES_A_DECADE)
        sums[name] = sums.get(name, 0.0) + reads
    return [
        Keys(reads, 0.0 if name is None else 10 ** (name / CLASSES_A_DECADE)) for name, reads in sums.items()
    ]


def expected(keys: Iterable[Keys], ttl_seconds: float, changes_a_second: float | None) -> Expected:
    """What a TTL is expected to cost.

    Args:
        keys: What is read.
        ttl_seconds: Of every entry.
        changes_a_second: Of a key; None where it is not known.
    """
    reads = loads = stale = 0.0
    aging = 0.0 if changes_a_second is None else _stale_seconds(ttl_seconds, changes_a_second)
    for amount, rate in keys:
        cycle = 1 + rate * ttl_seconds
        reads += amount
        loads += amount / cycle
        stale += amount * rate * aging / cycle
    return Expected(reads, loads, None if changes_a_second is None else stale)


def cheapest(keys: Sequence[Keys], changes_a_second: float, eta: float, least: float, most: float) -> float:
    """The TTL within bounds at which loads, and stale reads at ``eta`` loads each, together cost least."""
    steps = max(CANDIDATES - 1, 1)
    candidates = [float(least * (most / least) ** (step / steps)) for step in range(CANDIDATES)]

    def cost(ttl_seconds: float) -> float:
        found = expected(keys, ttl_seconds, changes_a_second)
        return found.loads + eta * (found.stale or 0.0)

    return min(candidates, key=cost)


def _stale_seconds(ttl_seconds: float, changes_a_second: float) -> float:
    """How long an entry is stale of its time, on average."""
    chance = changes_a_second * ttl_seconds
    if chance < 1e-6:
        return chance * ttl_seconds / 2
    return ttl_seconds + math.expm1(-chance) / changes_a_second
