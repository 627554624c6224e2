"""The policy ``heuristic-freshness``: a value is trusted for a part of its age (RFC 9111, section 4.2.2)."""

from __future__ import annotations

from django_callcache.ttl.peak_hour import PeakHour
from django_callcache.ttl.policy import Decision, Observation, TtlParameters
from django_callcache.ttl.sentence import Sentence, gettext_noop

_UNKNOWN = gettext_noop("The value does not say when it changed, so the hour decides: {hour}")
_KNOWN = gettext_noop("The row has been as it is for {age:.0f} s, of which {fraction:.0%}.")


class HeuristicFreshness:
    """A TTL that is a fraction of the row's age; where no row says when it changed, the hour decides."""

    name = "heuristic-freshness"
    learns = True

    def __init__(self, parameters: TtlParameters) -> None:
        self.parameters = parameters
        self._without_age = PeakHour(parameters)

    def decide(self, observation: Observation) -> Decision:
        """Answer by the age that the value has."""
        parameters, estimate = self.parameters, observation.estimate
        if estimate is None or estimate.born_at is None or not estimate.has_updated_at:
            hour = self._without_age.decide(observation)
            reason = Sentence(_UNKNOWN, hour=hour.reason)
            ttl_seconds = parameters.clamp(hour.ttl_seconds or 0.0)
            until = hour.valid_until if estimate is None else observation.now
            return Decision(ttl_seconds, self.name, reason, hour.terms, until)
        age = max(0.0, observation.now - estimate.born_at)
        wanted = parameters.freshness_fraction * age
        ttl_seconds = parameters.clamp(wanted)
        terms = {
            "age": age,
            "freshness_fraction": parameters.freshness_fraction,
            "wanted": wanted,
            **parameters.bounds,
        }
        reason = Sentence(_KNOWN, age=age, fraction=parameters.freshness_fraction)
        return Decision(ttl_seconds, self.name, reason, terms, observation.now)
