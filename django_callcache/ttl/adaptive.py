"""The policy ``adaptive``: the TTL at which loads and stale reads together cost least.

With hazard h of a change, F the chance that the value has changed by T and mu the reads a second, one cycle
of a key costs one load and ``eta`` for every stale read. The cost a read is least where

    eta * (F(T) * (T + 1/mu) - integral of F from 0 to T) = 1/mu,

whose left side grows with T: so the policy walks forward through ages and hours until it is reached.
"""

from __future__ import annotations

import math

from django_callcache.ttl.estimate import BUCKETS, EDGES, Estimate, bucket_of
from django_callcache.ttl.hour_bins import hour_bins
from django_callcache.ttl.peak_hour import PeakHour
from django_callcache.ttl.policy import Decision, Observation, TtlParameters
from django_callcache.ttl.profile import HOUR
from django_callcache.ttl.sentence import Sentence, gettext_noop

WARMUP_OBSERVATIONS = 10
"""Reloads of a prefix before which the hour decides."""
BISECTIONS = 12
"""Halvings of the last step: to a four-thousandth of it."""


class Adaptive:
    """A TTL for each load, of what is known of the key's changes and reads."""

    name = "adaptive"
    learns = True

    def __init__(self, parameters: TtlParameters) -> None:
        self.parameters = parameters
        self._until_known = PeakHour(parameters)
        self._bins = hour_bins(parameters.time_zone)

    def decide(self, observation: Observation) -> Decision:
        """Answer for one load."""
        estimate = observation.estimate
        if estimate is None or estimate.observations < WARMUP_OBSERVATIONS:
            return self._by_hour(observation, 0 if estimate is None else estimate.observations)
        parameters = self.parameters
        wanted, chance = self.least_cost(observation.now, estimate)
        ttl_seconds = max(parameters.min_ttl, wanted)
        age = max(0.0, observation.now - (estimate.born_at or observation.now))
        season = estimate.baseline.seasons
        terms = {
            "age": age,
            "changes_an_hour": estimate.baseline.hazards[bucket_of(age)] * HOUR,
            "frailty": estimate.frailty,
            "season": 1.0 if season is None else season[self._bins.of(int(observation.now // HOUR))],
            "reads_an_hour": estimate.reads_a_second * HOUR,
            "observations": float(estimate.observations),
            "eta": parameters.eta,
            "chance_of_change": chance,
            "wanted": wanted,
            **parameters.bounds,
        }
        return Decision(ttl_seconds, self.name, _REASON, terms, observation.now)

    def least_cost(self, now: float, estimate: Estimate) -> tuple[float, float]:
        """The seconds at which the cost is least, up to ``max_ttl``, and the chance of a change by then."""
        hazards, seasons, bins = estimate.baseline.hazards, estimate.baseline.seasons, self._bins
        longest, eta = self.parameters.max_ttl, self.parameters.eta
        age = max(0.0, now - (now if estimate.born_at is None else estimate.born_at))
        wait = 1.0 / estimate.reads_a_second
        goal = wait / eta
        bucket = bucket_of(age)
        passed = summed = integral = 0.0
        while passed < longest:
            rate = estimate.frailty * hazards[bucket]
            step = min(EDGES[bucket + 1] - age - passed, longest - passed)
            if seasons is not None:
                at = now + passed
                hour = int(at // HOUR)
                rate *= seasons[bins.of(hour)]
                step = min(step, (hour + 1) * HOUR - at)
            # Rounding may leave a step of nothing on an edge.
            step = max(step, 1e-6)
            survival = math.exp(-summed)
            end, chance, area = _advanced(summed, survival, integral, rate, step)
            if chance * (passed + step + wait) - area >= goal:
                low, high = 0.0, step
                for _ in range(BISECTIONS):
                    middle = (low + high) / 2
                    _, chance, area = _advanced(summed, survival, integral, rate, middle)
                    if chance * (passed + middle + wait) - area >= goal:
                        high = middle
                    else:
                        low = middle
                return passed + high, -math.expm1(-summed - rate * high)
            passed, summed, integral = passed + step, end, area
            if bucket < BUCKETS - 1 and age + passed >= EDGES[bucket + 1] - 1e-9:
                bucket += 1
        return longest, -math.expm1(-summed)

    def _by_hour(self, observation: Observation, seen: int) -> Decision:
        hour = self._until_known.decide(observation)
        reason = Sentence(_WARMING_UP, seen=seen, needed=WARMUP_OBSERVATIONS, hour=hour.reason)
        ttl_seconds = self.parameters.clamp(hour.ttl_seconds or 0.0)
        terms = {**hour.terms, "observations": float(seen)}
        # For no key at all the answer is as good as the hour's.
        until = hour.valid_until if observation.estimate is None else observation.now
        return Decision(ttl_seconds, self.name, reason, terms, until)


_REASON = Sentence(gettext_noop("Living longer would cost more in stale reads than it saves in loads."))
_WARMING_UP = gettext_noop("{seen} of {needed} reloads seen; until then the hour decides: {hour}")


def _advanced(
    summed: float, survival: float, integral: float, rate: float, step: float
) -> tuple[float, float, float]:
    """After a step at one hazard: the hazard in all, the chance of a change, and that chance's integral."""
    end = summed + rate * step
    stays = math.exp(-end)
    # The difference of two survivals loses its digits where hardly anything changes.
    lived = (survival - stays) / rate if rate * step > 1e-6 else survival * step * (1 - rate * step / 2)
    return end, 1 - stays, integral + step - lived
