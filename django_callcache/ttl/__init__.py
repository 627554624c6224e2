"""TTL policies: pure functions of frozen observations, usable without Django, Redis or a running cache.

    policy = make_policy("peak-hour", TtlParameters(time_zone="America/Bogota"))
    decision = policy.decide(Observation(now=time.time(), profile=HourlyProfile(counts)))

A policy is asked only where the caller left the timeout open; a timeout that was given always wins.
"""

from __future__ import annotations

from django_callcache.ttl.choice import POLICIES, make_policy
from django_callcache.ttl.fixed import FixedTtl
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

__all__ = [
    "DEFAULT_TTL",
    "PEAK_TTL",
    "POLICIES",
    "Decision",
    "FixedTtl",
    "HourlyProfile",
    "Observation",
    "PeakHour",
    "Policy",
    "TtlParameters",
    "explicit_timeout",
    "make_policy",
]
