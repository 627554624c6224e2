"""A TTL policy on reads and changes that have been: what it would have loaded, and what been stale.

A simulation, not a measurement: one cache that never evicts, loads that take no time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from django_callcache.ttl.choice import make_policy
from django_callcache.ttl.key_record import KeyRecord
from django_callcache.ttl.learner import Learner, Load
from django_callcache.ttl.policy import TtlParameters
from django_callcache.ttl.profile import HOUR, HourlyProfile

WARM_UP = 0.25
"""Share of the time that is not counted: caches are empty and policies know nothing at first."""


class Event(NamedTuple):
    """A read of a key, or a change of its row."""

    at: float
    """Unix seconds."""
    prefix: str
    key: str
    is_change: bool


@dataclass(slots=True)
class Outcome:
    """What came of the reads."""

    reads: int = 0
    loads: int = 0
    stale: int = 0
    longest: float = 0.0
    """Seconds since the change, of the stalest read."""


@dataclass(slots=True)
class _Key:
    """A key as the simulation knows it, and as the cache does."""

    version: int = 0
    changed_at: float | None = None
    stale_since: float | None = None
    expires_at: float = -math.inf
    record: KeyRecord | None = None
    removed_at: float | None = None


@dataclass
class Simulation:
    """One policy on one trace.

    Args:
        spec: A policy's name, or seconds.
        parameters: What it is tuned with.
        rows_tell: Whether rows say when they changed.
        sync_seconds: Pause between polls that delete what has changed; None for no polls.
    """

    spec: str | float
    parameters: TtlParameters
    rows_tell: bool = True
    sync_seconds: float | None = None
    _keys: dict[str, _Key] = field(default_factory=dict, init=False)
    _learners: dict[str, Learner] = field(default_factory=dict, init=False)
    _counts: dict[int, int] = field(default_factory=dict, init=False)
    _profile: HourlyProfile = field(default_factory=HourlyProfile, init=False)

    def run(self, events: Sequence[Event]) -> Outcome:
        """Replay events, which are in order."""
        outcome = Outcome()
        if not events:
            return outcome
        begins = events[0].at + WARM_UP * (events[-1].at - events[0].at)
        next_sync = math.inf if self.sync_seconds is None else events[0].at + self.sync_seconds
        dirty: set[str] = set()
        for event in events:
            while event.at >= next_sync:
                self._sync(dirty, next_sync)
                next_sync += self.sync_seconds or math.inf
            key = self._keys.setdefault(event.key, _Key())
            if event.is_change:
                key.version += 1
                key.changed_at = event.at
                if key.stale_since is None:
                    key.stale_since = event.at
                dirty.add(event.key)
            else:
                self._read(event, key, outcome if event.at >= begins else Outcome())
        return outcome

    def _read(self, event: Event, key: _Key, outcome: Outcome) -> None:
        outcome.reads += 1
        self._count(event.at)
        if event.at < key.expires_at:
            if key.stale_since is not None:
                outcome.stale += 1
                outcome.longest = max(outcome.longest, event.at - key.stale_since)
            return
        outcome.loads += 1
        if key.record is not None and event.at > key.record.kept_until:
            key.record = None
        load = Load(
            now=event.at,
            digest=key.version.to_bytes(8, "big"),
            updated_at=key.changed_at if self.rows_tell else None,
            previous=key.record,
            removed_at=key.removed_at,
            is_polled=key.removed_at is not None,
        )
        verdict = self._learner(event.prefix).take(load, self._profile)
        never = verdict.decision.ttl_seconds is None
        key.record = verdict.record
        key.expires_at = math.inf if never else event.at + verdict.ttl_seconds
        key.stale_since = key.removed_at = None

    def _sync(self, dirty: set[str], at: float) -> None:
        for name in dirty:
            key = self._keys[name]
            if key.expires_at > at and key.stale_since is not None:
                key.expires_at, key.removed_at = -math.inf, at
        dirty.clear()

    def _count(self, at: float) -> None:
        """Count a read; policies see the hours that are over, as they would in a process."""
        hour = int(at // HOUR)
        if hour not in self._counts:
            self._profile = HourlyProfile(self._counts)
        self._counts[hour] = self._counts.get(hour, 0) + 1

    def _learner(self, prefix: str) -> Learner:
        if prefix not in self._learners:
            self._learners[prefix] = Learner(make_policy(self.spec, self.parameters), self.parameters)
        return self._learners[prefix]


def simulate(
    events: Iterable[Event],
    spec: str | float,
    parameters: TtlParameters,
    *,
    rows_tell: bool = True,
    sync_seconds: float | None = None,
) -> Outcome:
    """Replay events through a policy; see `Simulation`."""
    simulation = Simulation(spec, parameters, rows_tell, sync_seconds)
    return simulation.run(events if isinstance(events, Sequence) else list(events))
