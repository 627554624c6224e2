"""The policy ``alex``: a TTL that grows while reloads find nothing new, and shrinks when they do.

It drives the share of reloads that find a changed value to a target, whatever the law of changes, as long as
it stays the same (H. Robbins and S. Monro, A Stochastic Approximation Method, 1951; the idea of the Alex FTP
cache, V. Cate, 1992).
"""

from __future__ import annotations

import math

from django_callcache.ttl.peak_hour import PeakHour
from django_callcache.ttl.policy import Decision, Observation, TtlParameters
from django_callcache.ttl.sentence import Sentence, gettext_noop

GAIN = 0.5
"""How far one reload moves the logarithm of a TTL, at most."""

_UNKNOWN = gettext_noop("No reload has been seen yet; until then: {hour}")
_KNOWN = gettext_noop(
    "At {ttl_seconds:.0f} s about {target:.0%} of the key's reloads should find a changed value."
)


class Alex:
    """A TTL for each key, moved by what its reloads find."""

    name = "alex"
    learns = True

    def __init__(self, parameters: TtlParameters) -> None:
        self.parameters = parameters
        self._until_known = PeakHour(parameters)

    def decide(self, observation: Observation) -> Decision:
        """Answer where the key has come to; a key that is not known follows its prefix, else the hour."""
        estimate = observation.estimate
        if estimate is None or estimate.log_ttl is None:
            first = self._until_known.decide(observation)
            reason = Sentence(_UNKNOWN, hour=first.reason)
            until = first.valid_until if estimate is None else observation.now
            ttl_seconds = self.parameters.clamp(first.ttl_seconds or 0.0)
            return Decision(ttl_seconds, self.name, reason, first.terms, until)
        wanted = math.exp(estimate.log_ttl)
        ttl_seconds = self.parameters.clamp(wanted)
        target = self.parameters.change_target
        terms = {"wanted": wanted, "change_target": target, **self.parameters.bounds}
        reason = Sentence(_KNOWN, ttl_seconds=ttl_seconds, target=target)
        return Decision(ttl_seconds, self.name, reason, terms, observation.now)

    def moved(self, log_ttl: float | None, changed: bool, elapsed: float) -> float:
        """Where a key's TTL goes after a reload.

        Args:
            log_ttl: Logarithm of the TTL before; None for a key that had none.
            changed: Whether the value had changed.
            elapsed: Seconds since the load before. A reload long after the expiry says little of the TTL.
        """
        parameters = self.parameters
        if log_ttl is None:
            log_ttl = math.log(parameters.peak_ttl)
        weight = min(1.0, math.exp(log_ttl) / max(elapsed, 1e-9))
        target = parameters.change_target
        moved = log_ttl + GAIN * weight * (target - 1 if changed else target)
        return math.log(parameters.clamp(math.exp(moved)))
