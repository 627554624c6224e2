from __future__ import annotations

import math

import pytest

from django_callcache.ttl import Adaptive, Baseline, Estimate, Observation, TtlParameters

NOW = 1_800_000_000.0
EVEN = 51


def known(changes_a_second, reads_a_second, *, age=0.0, frailty=1.0, seasons=None):
    """An estimate for a prefix whose hazard is the same at every age."""
    baseline = Baseline((changes_a_second,) * EVEN, seasons)
    return Estimate(baseline, frailty, reads_a_second, NOW - age, observations=1000)


def ttl(estimate, **parameters):
    policy = Adaptive(TtlParameters(**{"min_ttl": 0.001, "max_ttl": 1e7, **parameters}))
    return policy.decide(Observation(now=NOW, estimate=estimate)).ttl_seconds


def cost(seconds, changes, reads, eta):
    """Loads and stale reads for each read, under independent Poisson changes and reads."""
    stale = reads * (seconds - -math.expm1(-changes * seconds) / changes)
    return (1 + eta * stale) / (1 + reads * seconds)


class TestLeastCost:
    @pytest.mark.parametrize("changes", [1 / 60, 1 / 3600, 1 / 86400])
    @pytest.mark.parametrize("reads", [1.0, 1 / 60, 1 / 3600])
    @pytest.mark.parametrize("eta", [3.0, 12.0, 100.0])
    def test_decide__cost(self, changes, reads, eta):
        """No TTL among a fine grid costs less, by more than a hundredth, than the one answered."""
        found = ttl(known(changes, reads), eta=eta)
        grid = [10 ** (step / 50) for step in range(-100, 351)]
        assert cost(found, changes, reads, eta) <= 1.0001 * min(cost(t, changes, reads, eta) for t in grid)

    def test_decide__hot_keys(self):
        """For often read keys it is the square root law: sqrt(2 / (eta * changes * reads))."""
        found = ttl(known(1e-5, 10.0), eta=12)
        assert found == pytest.approx(math.sqrt(2 / (12 * 1e-5 * 10)), rel=0.02)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"changes_a_second": 1e-3}, {"changes_a_second": 1e-4}),
            ({"reads_a_second": 1.0}, {"reads_a_second": 0.01}),
            ({"frailty": 3.0}, {"frailty": 1.0}),
        ],
    )
    def test_decide__what_shortens(self, one, other):
        """More changes and more reads both shorten the TTL."""
        usual = {"changes_a_second": 1e-3, "reads_a_second": 0.1}
        assert ttl(known(**usual | one)) < ttl(known(**usual | other))

    def test_decide__eta(self):
        """The dearer a stale read, the shorter the TTL."""
        found = [ttl(known(1e-3, 0.1), eta=eta) for eta in (1.5, 3, 12, 100)]
        assert found == sorted(found, reverse=True)

    def test_decide__clamps(self):
        """What changes all the time lives for the minimum, what never does for the maximum."""
        assert ttl(known(100.0, 10.0), min_ttl=2, max_ttl=50) == 2
        assert ttl(known(1e-12, 10.0), min_ttl=2, max_ttl=50) == 50

    def test_decide__age(self):
        """Rows that settle down as they grow older are trusted for longer."""
        baseline = Baseline(tuple(1.0 / (1 + bucket**3) for bucket in range(EVEN)))
        ages = (0, 10, 1000, 100_000)
        found = [ttl(Estimate(baseline, 1.0, 0.1, NOW - age, observations=99)) for age in ages]
        assert found == sorted(found)
        assert found[-1] > 10 * found[0]

    def test_decide__season(self):
        """An hour in which changes are frequent shortens what lives in it, and what lives until it."""
        quiet = [1.0] * 48
        hour = Adaptive(TtlParameters())._bins.of(int(NOW // 3600))
        now, soon = list(quiet), list(quiet)
        now[hour] = 5.0
        soon[hour + 1] = 100.0
        base, busy, coming = (
            ttl(known(1e-6, 0.01, seasons=tuple(seasons)), eta=12) for seasons in (quiet, now, soon)
        )
        assert busy < base
        assert coming < base

    def test_decide__same_observation(self):
        """The same observation gives the same answer: nothing is learnt from asking."""
        policy, estimate = Adaptive(TtlParameters()), known(1e-4, 0.1)
        observation = Observation(now=NOW, estimate=estimate)
        assert policy.decide(observation) == policy.decide(observation)


class TestWarmUp:
    @pytest.mark.parametrize("observations", [0, 9])
    def test_decide__few_observations(self, observations):
        """Until ten reloads were seen the hour decides, and the reason says so."""
        policy = Adaptive(TtlParameters(default_ttl=700, peak_ttl=70))
        estimate = Estimate(Baseline((1.0,) * EVEN), observations=observations)
        decision = policy.decide(Observation(now=10 * 3600.0, estimate=estimate))
        assert decision.ttl_seconds == 70
        assert decision.reason.startswith(f"{observations} of 10 reloads seen")

    def test_decide__no_key(self):
        """Asked for no key at all, the hour decides, until it is over; for a key, for this moment only."""
        policy, now = Adaptive(TtlParameters()), 8 * 3600.0
        decision = policy.decide(Observation(now=now))
        assert (decision.ttl_seconds, decision.policy, decision.valid_until) == (3600, "adaptive", 9 * 3600.0)
        one = Estimate(Baseline((1.0,) * EVEN))
        assert policy.decide(Observation(now=now, estimate=one)).valid_until == now

    def test_decide__terms(self):
        """A decision tells its inputs, terms and clamps."""
        decision = Adaptive(TtlParameters()).decide(Observation(now=NOW, estimate=known(1e-3, 0.5, age=60)))
        assert decision.terms["age"] == 60
        assert decision.terms["changes_an_hour"] == pytest.approx(3.6)
        assert decision.terms["reads_an_hour"] == pytest.approx(1800)
        assert {"frailty", "season", "eta", "min_ttl", "max_ttl", "wanted"} <= decision.terms.keys()
        assert decision.ttl_seconds == pytest.approx(decision.terms["wanted"])
