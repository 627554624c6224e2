from __future__ import annotations

import math
import random

import pytest

from django_callcache.ttl import TtlParameters
from django_callcache.ttl.forecast import Keys, cheapest, classes, expected, read_rate
from django_callcache.ttl.simulation import Event, simulate


def drawn(rate, changes, keys, seconds, seed=1):
    """Reads and changes at random moments."""
    draw = random.Random(seed)
    events = []
    for key in range(keys):
        for each, is_change in ((rate, False), (changes, True)):
            at = draw.expovariate(each)
            while at < seconds:
                events.append(Event(at, "row:", str(key), is_change))
                at += draw.expovariate(each)
    return sorted(events, key=lambda event: event.at)


class TestExpected:
    @pytest.mark.parametrize("ttl", [30, 120, 600])
    def test_expected__as_simulated(self, ttl):
        """The model agrees with the simulation of what it assumes."""
        rate, changes = 1 / 60, 1 / 300
        outcome = simulate(drawn(rate, changes, 60, 6000), ttl, TtlParameters())
        found = expected([Keys(1.0, rate)], ttl, changes)
        assert found.loads == pytest.approx(outcome.loads / outcome.reads, rel=0.1)
        assert found.stale == pytest.approx(outcome.stale / outcome.reads, rel=0.2)

    def test_expected__changes_unknown(self):
        """Where nobody knows how often values change, nothing is said of stale reads."""
        found = expected([Keys(100, 1 / 60)], 60, None)
        assert (found.reads, found.loads, found.stale) == (100, 50, None)

    def test_expected__never_changes(self):
        """What hardly changes is hardly stale, without loss of digits."""
        assert 0 < expected([Keys(1, 1.0)], 60, 1e-12).stale < 1e-9

    def test_classes(self):
        """Keys put together are read as often in all, and give almost the same answer."""
        draw = random.Random(2)
        keys = [Keys(draw.randint(1, 50), 10 ** draw.uniform(-4, 0)) for _ in range(500)] + [Keys(7, 0.0)]
        one, other = expected(keys, 300, 1 / 1000), expected(classes(keys), 300, 1 / 1000)
        assert len(classes(keys)) < 60
        assert one.reads == pytest.approx(other.reads)
        assert one.loads == pytest.approx(other.loads, rel=0.02)
        assert one.stale == pytest.approx(other.stale, rel=0.02)


class TestReadRate:
    def test_read_rate__once_each(self):
        """Keys that were read once each promise no second read."""
        assert read_rate(500, 500, 3600) == 0
        assert read_rate(0, 0, 3600) == 0

    @pytest.mark.parametrize("mean", [0.2, 1.0, 5.0])
    def test_read_rate__without_the_unread(self, mean):
        """The rate of all keys is found, of the ones that were read."""
        seen = 1 - math.exp(-mean)
        assert read_rate(mean, seen, 3600) * 3600 == pytest.approx(mean, rel=0.01)


class TestCheapest:
    def test_cheapest(self):
        """No other TTL within the bounds costs less, but for the steps between the candidates."""
        keys, changes, eta = [Keys(1, 1 / 60)], 1 / 3000, 12

        def cost(ttl):
            found = expected(keys, ttl, changes)
            return found.loads + eta * found.stale

        best = cheapest(keys, changes, eta, 1, 3600)
        assert cost(best) <= min(cost(ttl) for ttl in range(1, 3600)) * 1.01

    def test_cheapest__bounds(self):
        """Where longer is always cheaper the bound is the answer."""
        assert cheapest([Keys(1, 1 / 60)], 1e-9, 3, 1, 900) == pytest.approx(900)
