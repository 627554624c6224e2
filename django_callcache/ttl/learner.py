"""Learns from the loads of a prefix how often its values change and are read.

The hazard of a change is the key's frailty x the baseline of its prefix at the value's age x the factor of
the hour. A reload tells only whether a value changed since the load before, so each is an interval-censored
observation, which one step of expectation and maximization spreads over the ages that the value went through
(D. R. Cox and D. Oakes, Analysis of Survival Data, chapter 11). The frailty has a gamma prior of mean 1.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from django_callcache.ttl.alex import Alex
from django_callcache.ttl.change_tables import (
    ALL_CHANGES,
    ALL_EXPOSURE,
    CHANGES,
    EXPOSURE,
    GAP_SECONDS,
    GAPS,
    LOG_TTL_COUNT,
    LOG_TTLS,
    UNSAFE,
    ChangeTables,
)
from django_callcache.ttl.estimate import BUCKETS, EDGES, Baseline, Estimate, bucket_of
from django_callcache.ttl.hour_bins import HourBins, hour_bins
from django_callcache.ttl.key_record import KeyRecord
from django_callcache.ttl.policy import Decision, Observation, Policy, TtlParameters
from django_callcache.ttl.profile import HOUR, HourlyProfile
from django_callcache.ttl.staleness import EXPLORATION_SECONDS, EXPLORED, StalenessTarget

KEPT = 0.9
"""What is left of a key's older observations at each new one."""
LONGEST_INTERVAL = 7 * 86400.0
"""Seconds; of longer intervals nothing is learnt."""
LONGEST_GAP = 86400.0
PROMPT_SECONDS = 5.0
"""Between a change and the removal of the copy, at most, where the removal dealt with the change."""
_SHORTEST = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One write of a value whose TTL a policy is to choose. All times are by one clock."""

    now: float
    digest: bytes
    """Of the value's bytes."""
    updated_at: float | None = None
    """When the row changed, where the row says so."""
    previous: KeyRecord | None = None
    """What is remembered of the load before."""
    removed_at: float | None = None
    """When the copy of the load before was deleted or overwritten, before its time."""
    is_polled: bool = False
    """Whether it was deleted because somebody looked and found the row changed, rather than by the change."""
    is_lost: bool = False
    """Whether the copy was gone before its time and nobody knows when."""


class Verdict(NamedTuple):
    """What a load comes to."""

    decision: Decision
    ttl_seconds: float
    """The decision's, less the jitter."""
    record: KeyRecord
    """To be remembered until the next load."""


class Learner:
    """The policy of one prefix with what it has learnt. Any number of threads may share one.

    Args:
        policy: Decides.
        parameters: What the policy is tuned with.
        jitter: Share of a TTL that is taken off at random, at most.
        tables: What the prefix has learnt so far.
        staleness: What keeps its stale hits at a share of them.
        override: Turns a decision into the one that holds, where people have decided something.
        draw: Returns a random number from 0 to 1.
    """

    def __init__(
        self,
        policy: Policy,
        parameters: TtlParameters,
        *,
        jitter: float = 0.0,
        tables: ChangeTables | None = None,
        staleness: StalenessTarget | None = None,
        override: Callable[[Decision, float], Decision] | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.policy = policy
        self.tables = ChangeTables(parameters.eta, parameters.peak_ttl) if tables is None else tables
        self.longest = parameters.max_ttl
        """Seconds that no answer exceeds."""
        self.bins: HourBins = hour_bins(parameters.time_zone)
        self._alex = policy if isinstance(policy, Alex) else None
        self.jitter = jitter
        self.staleness = staleness or StalenessTarget(None)
        self._override = override
        self._draw = draw

    def take(self, load: Load, profile: HourlyProfile) -> Verdict:
        """Learn from a load, and decide how long its value lives."""
        record = self._learn(load)
        decision = self.explain(record, load.now, profile)
        ttl_seconds = decision.ttl_seconds or 0.0
        if not decision.is_override:
            if self.staleness.is_bypassed(ttl_seconds) and self._draw() < EXPLORED:
                ttl_seconds = EXPLORATION_SECONDS
            ttl_seconds -= ttl_seconds * self.jitter * self._draw()
        return Verdict(decision, ttl_seconds, replace(record, expires_at=load.now + ttl_seconds))

    def explain(self, record: KeyRecord | None, now: float, profile: HourlyProfile) -> Decision:
        """What a load would be given now, were the value still what it was. Nothing is learnt from asking."""
        observation = Observation(now=now, profile=profile, estimate=self.estimate(record))
        decision = self.staleness.corrected(self.policy.decide(observation), now)
        return decision if self._override is None else self._override(decision, now)

    def estimate(self, record: KeyRecord | None) -> Estimate:
        """What is known of a key, or of a key that nothing is known of."""
        tables = self.tables
        if record is None:
            reads = 1.0 / tables.mean_gap
            return Estimate(tables.baseline, reads_a_second=reads, observations=int(tables.observations))
        return Estimate(
            tables.baseline,
            (1.0 + record.changes) / (1.0 + record.exposure),
            (1.0 + record.gaps) / (tables.mean_gap + record.gap_seconds),
            record.born_at,
            record.has_updated_at,
            record.log_ttl or tables.mean_log_ttl,
            int(tables.observations),
        )

    def _learn(self, load: Load) -> KeyRecord:
        """The key's record with what this load tells."""
        now, previous = load.now, load.previous
        updated_at = None if load.updated_at is None else min(load.updated_at, now)
        if previous is None:
            return self._first(load, updated_at)
        changed = load.digest != previous.digest
        if updated_at is not None and changed and previous.has_updated_at and updated_at == previous.born_at:
            self.tables.added[UNSAFE] += 1
        if self.tables.is_unsafe:
            updated_at = None
        changes, exposure, log_ttl = previous.changes, previous.exposure, previous.log_ttl
        interval = self._interval(load, previous, changed, updated_at)
        if interval is not None:
            end, found = interval
            changes, exposure = self._observe(previous, end, found, now)
            if self._alex is not None:
                log_ttl = self._alex.moved(
                    log_ttl or self.tables.mean_log_ttl, found, now - previous.loaded_at
                )
                self.tables.added[LOG_TTLS] += log_ttl
                self.tables.added[LOG_TTL_COUNT] += 1
        gaps, gap_seconds = self._waited(load, previous)
        born_at = updated_at if updated_at is not None else now if changed else previous.born_at
        return KeyRecord(
            loaded_at=now,
            expires_at=now,
            born_at=born_at,
            has_updated_at=updated_at is not None,
            digest=load.digest,
            changes=changes,
            exposure=exposure,
            gaps=gaps,
            gap_seconds=gap_seconds,
            log_ttl=log_ttl,
        )

    def _first(self, load: Load, updated_at: float | None) -> KeyRecord:
        """At first sight the age of the row is one observation."""
        if self.tables.is_unsafe:
            updated_at = None
        changes = exposure = 0.0
        if updated_at is not None:
            changes = 1.0
            exposure = max(_SHORTEST, self.tables.baseline.hazard_until(load.now - updated_at))
        return KeyRecord(
            loaded_at=load.now,
            expires_at=load.now,
            born_at=load.now if updated_at is None else updated_at,
            has_updated_at=updated_at is not None,
            digest=load.digest,
            changes=changes,
            exposure=exposure,
        )

    def _interval(
        self, load: Load, previous: KeyRecord, changed: bool, updated_at: float | None
    ) -> tuple[float, bool] | None:
        """Until when the copy of the load before is known about, and whether it changed; None where unknown.

        Whoever deletes or overwrites a copy because its row changes has dealt with that change: the TTL had
        nothing to do with it, so the copy counts as unchanged until then. Not so if the row had changed well
        before: in between the copy was stale, which a shorter TTL would have spared.
        """
        if load.is_lost:
            return None
        removed_at = load.now if load.removed_at is None else min(load.removed_at, load.now)
        end, found = removed_at, changed
        if changed and updated_at is not None and previous.loaded_at < updated_at <= removed_at:
            end = updated_at
        if load.is_polled:
            found = True
        elif load.removed_at is not None and removed_at - end < PROMPT_SECONDS:
            end, found = removed_at, False
        return (end, found) if 0 < end - previous.loaded_at <= LONGEST_INTERVAL else None

    def _observe(self, previous: KeyRecord, end: float, changed: bool, now: float) -> tuple[float, float]:
        """Learn from one interval; the key's changes and exposure."""
        tables = self.tables
        baseline = tables.baseline
        frailty = (1.0 + previous.changes) / (1.0 + previous.exposure)
        length = end - previous.loaded_at
        age = max(0.0, previous.loaded_at - previous.born_at)
        season = max(1e-6, weighted(baseline, self.bins, previous.loaded_at, end) / length)
        # Not more at a time than a bucket: the hazard is one number within it.
        parts: list[tuple[int, float]] = []
        hazard, at, bucket = 0.0, age, bucket_of(age)
        last = age + length
        while at < last and bucket < BUCKETS:
            upper = EDGES[bucket + 1]
            step = ((upper if upper < last else last) - at) * season
            parts.append((bucket, step))
            hazard += baseline.hazards[bucket] * step
            at, bucket = upper, bucket + 1
        changes, exposure = previous.changes * KEPT, previous.exposure * KEPT
        if changed:
            spread(tables.added, baseline, parts, frailty, hazard)
            changes += 1.0
            exposure += _exposure_of_change(frailty, hazard)
        else:
            for bucket, step in parts:
                tables.added[EXPOSURE + bucket] += step * frailty
                tables.added[ALL_EXPOSURE] += step * frailty
            exposure += hazard
        tables.observed(end if changed else None, now, self.bins)
        return changes, exposure

    def _waited(self, load: Load, previous: KeyRecord) -> tuple[float, float]:
        """How long the key waits for a read: the time from an expiry to the read is a fair sample of it."""
        removed_early = load.removed_at is not None and load.removed_at < previous.expires_at
        if load.is_lost or removed_early or load.now < previous.expires_at:
            return previous.gaps, previous.gap_seconds
        gap = min(LONGEST_GAP, load.now - previous.expires_at)
        added = self.tables.added
        added[GAPS] += 1
        added[GAP_SECONDS] += gap
        return previous.gaps * KEPT + 1, previous.gap_seconds * KEPT + gap


def spread(
    added: list[float], baseline: Baseline, parts: list[tuple[int, float]], frailty: float, hazard: float
) -> None:
    """Divide one change, and the time watched before it, among the ages in which it may have happened.

    Args:
        added: The sums that it is added to.
        baseline: Of the prefix.
        parts: Age buckets, and the seconds that were spent in each, in order.
        frailty: Of the key.
        hazard: Changes that an ordinary key would have had in all of them.
    """
    chance = -math.expm1(-frailty * hazard)
    whole = sum(step for _, step in parts)
    survival = 1.0
    for bucket, step in parts:
        stays = math.exp(-frailty * baseline.hazards[bucket] * step)
        if chance > 1e-12:
            here = survival * (1 - stays) / chance
            later = max(0.0, (survival * stays - (1 - chance)) / chance)
        else:
            here, later = step / whole, 0.0
        seconds = frailty * step * (later + here / 2)
        added[CHANGES + bucket] += here
        added[EXPOSURE + bucket] += seconds
        added[ALL_EXPOSURE] += seconds
        survival *= stays
    added[ALL_CHANGES] += 1


def weighted(baseline: Baseline, bins: HourBins, start: float, end: float) -> float:
    """Seconds from one moment to another, each by the factor of its hour."""
    seasons = baseline.seasons
    if seasons is None:
        return end - start
    total = 0.0
    while start < end:
        hour = int(start // HOUR)
        stop = min(end, (hour + 1) * HOUR)
        total += seasons[bins.of(hour)] * (stop - start)
        start = stop
    return total


def _exposure_of_change(frailty: float, hazard: float) -> float:
    """What a key was exposed to before a change somewhere in an interval, on average."""
    expected = frailty * hazard
    if expected < 1e-9:
        return hazard / 2
    return (1 - expected * math.exp(-expected) / -math.expm1(-expected)) / frailty
