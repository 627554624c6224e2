"""From the word or number in a setting to the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django_callcache.ttl.adaptive import Adaptive
from django_callcache.ttl.alex import Alex
from django_callcache.ttl.fixed import FixedTtl
from django_callcache.ttl.heuristic_freshness import HeuristicFreshness
from django_callcache.ttl.peak_hour import PeakHour
from django_callcache.ttl.policy import Policy, TtlParameters

POLICIES: Mapping[str, Callable[[TtlParameters], Policy]] = {
    FixedTtl.name: lambda parameters: FixedTtl(parameters.default_ttl),
    PeakHour.name: PeakHour,
    HeuristicFreshness.name: HeuristicFreshness,
    Alex.name: Alex,
    Adaptive.name: Adaptive,
}
"""Every policy, by the word that settings know it by."""


def make_policy(spec: str | float | None, parameters: TtlParameters) -> Policy:
    """Make a policy.

    Args:
        spec: A policy's name, seconds for a fixed TTL, or None for entries that never expire.
        parameters: What the named policies are tuned with.

    Raises:
        ValueError: For an unknown name or seconds below 0.
    """
    if not isinstance(spec, str):
        return FixedTtl(spec)
    if spec not in POLICIES:
        raise ValueError(f"{spec!r} is no TTL policy: give one of {', '.join(map(repr, POLICIES))}.")
    return POLICIES[spec](parameters)
