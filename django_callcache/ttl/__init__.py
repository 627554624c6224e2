"""TTL policies: pure functions of frozen observations, usable without Django, Redis or a running cache.

    policy = make_policy("peak-hour", TtlParameters(time_zone="America/Bogota"))
    decision = policy.decide(Observation(now=time.time(), profile=HourlyProfile(counts)))

A policy is asked only where the caller left the timeout open; a timeout that was given always wins.
"""

from __future__ import annotations

from django_callcache.ttl.adaptive import Adaptive
from django_callcache.ttl.alex import Alex
from django_callcache.ttl.change_tables import ChangeTables
from django_callcache.ttl.choice import POLICIES, make_policy
from django_callcache.ttl.estimate import Baseline, Estimate
from django_callcache.ttl.fixed import FixedTtl
from django_callcache.ttl.heuristic_freshness import HeuristicFreshness
from django_callcache.ttl.key_record import DIGEST_BYTES, KeyRecord
from django_callcache.ttl.learner import Learner, Load, Verdict
from django_callcache.ttl.overrides import Override, Overrides, Pin
from django_callcache.ttl.peak_hour import PeakHour
from django_callcache.ttl.policy import (
    DEFAULT_TTL,
    PEAK_TTL,
    Decision,
    Observation,
    Policy,
    TtlParameters,
    explicit_timeout,
)
from django_callcache.ttl.profile import HourlyProfile
from django_callcache.ttl.sentence import Sentence
from django_callcache.ttl.staleness import Staleness, StalenessTarget

__all__ = [
    "DEFAULT_TTL",
    "DIGEST_BYTES",
    "PEAK_TTL",
    "POLICIES",
    "Adaptive",
    "Alex",
    "Baseline",
    "ChangeTables",
    "Decision",
    "Estimate",
    "FixedTtl",
    "HeuristicFreshness",
    "HourlyProfile",
    "KeyRecord",
    "Learner",
    "Load",
    "Observation",
    "Override",
    "Overrides",
    "PeakHour",
    "Pin",
    "Policy",
    "Sentence",
    "Staleness",
    "StalenessTarget",
    "TtlParameters",
    "Verdict",
    "explicit_timeout",
    "make_policy",
]
