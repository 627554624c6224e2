"""What a TTL policy sees, what it answers, and what it may be tuned with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from django_callcache.ttl.estimate import Estimate
from django_callcache.ttl.profile import HourlyProfile
from django_callcache.ttl.sentence import Sentence, gettext_noop

DEFAULT_TTL = 3600.0
PEAK_TTL = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TtlParameters:
    """What the policies may be tuned with."""

    default_ttl: float = DEFAULT_TTL
    """Seconds."""
    peak_ttl: float = PEAK_TTL
    """Seconds, in peak hours."""
    usage_threshold: float = 50.0
    """Average reads in an hour of the day above which it is a peak hour."""
    time_zone: str = "UTC"
    """Name of the zone in which hours of the day are meant."""
    warmup_hours: float = 24.0
    """Hours after the first recorded read during which office hours are peak hours too; 0 for none."""
    eta: float = 12.0
    """How many loads one stale read costs as much as, for `adaptive`."""
    min_ttl: float = 1.0
    """Seconds that `heuristic-freshness`, `alex` and `adaptive` answer at least."""
    max_ttl: float = 3600.0
    """Seconds that they answer at most."""
    freshness_fraction: float = 0.1
    """Part of its age that a value is trusted for, by `heuristic-freshness` (RFC 9111, 4.2.2)."""
    change_target: float = 0.1
    """Share of reloads that are to find a changed value, for `alex`."""

    def __post_init__(self) -> None:
        for name in ("default_ttl", "peak_ttl", "min_ttl", "max_ttl"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r}: give seconds above 0.")
        if self.min_ttl > self.max_ttl:
            raise ValueError(f"min_ttl is {self.min_ttl:g}, above max_ttl, {self.max_ttl:g}: exchange them.")
        for name in ("eta", "freshness_fraction"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r}: give a number above 0.")
        if not 0 < self.change_target < 1:
            raise ValueError(f"change_target is {self.change_target!r}: give a number between 0 and 1.")
        for name in ("usage_threshold", "warmup_hours"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}: give a number of at least 0.")

    def clamp(self, ttl_seconds: float) -> float:
        """Seconds within the bounds of the policies that learn."""
        return min(self.max_ttl, max(self.min_ttl, ttl_seconds))

    @property
    def bounds(self) -> dict[str, float]:
        """These bounds, as terms of a decision."""
        return {"min_ttl": self.min_ttl, "max_ttl": self.max_ttl}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is known at the moment a timeout is needed. A policy reads the fields that it is made for."""

    now: float
    """Seconds since the epoch."""
    profile: HourlyProfile = field(default_factory=HourlyProfile)
    """Reads by hour, over all processes."""
    estimate: Estimate | None = None
    """What is known of the key's changes and reads; None where a policy is asked for no key at all."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A policy's answer, and why."""

    ttl_seconds: float | None
    """Seconds to live; None: never expires."""
    policy: str
    """Name of the policy that answered."""
    reason: str
    """A sentence for people, in English; a `Sentence`, which can be translated, by our policies."""
    terms: Mapping[str, float | str] = field(default_factory=dict)
    """The inputs that made the answer, by name."""
    valid_until: float = math.inf
    """Seconds since the epoch at which the clock alone may change the answer. A caller may keep it until
    then, for the same profile; an answer that holds for one key only is valid until now."""
    is_override: bool = False
    """Whether a person has decided it, in place of the policy that `policy` would name."""


class Policy(Protocol):
    """A rule for how long an entry lives where its writer left the timeout open."""

    @property
    def name(self) -> str:
        """The word that settings know it by."""

    @property
    def learns(self) -> bool:
        """Whether it goes by what is known of the key, so that each load must be learnt from."""

    def decide(self, observation: Observation) -> Decision:
        """Answer for one moment; the same observation gives the same answer."""


_EXPLICIT = Sentence(gettext_noop("The caller gave the timeout."))


def explicit_timeout(ttl_seconds: float | None) -> Decision:
    """The answer where the caller gave a timeout: that one, whatever a policy would say."""
    return Decision(ttl_seconds, "explicit", _EXPLICIT)
