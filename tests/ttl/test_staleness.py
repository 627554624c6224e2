from __future__ import annotations

import random

import pytest

from django_callcache.ttl import (
    Decision,
    HourlyProfile,
    Learner,
    Load,
    Staleness,
    StalenessTarget,
    TtlParameters,
    make_policy,
)
from django_callcache.ttl.staleness import (
    BYPASS_SECONDS,
    EXPLORATION_SECONDS,
    HALVED_SECONDS,
    LOWEST,
    wilson,
)

START = 1_800_000_000.0
HOUR = Decision(3600.0, "adaptive", "Because.", {"wanted": 3600.0})


def play(target, *, changes_with_reads, share=0.02, hours=40):
    """One row, read every ten seconds, whose changes come at random or just behind a read.

    Returns:
        Reads, loads, stale reads, of the second half; the measured ratio.
    """
    rng = random.Random(3)
    parameters = TtlParameters(max_ttl=3600.0)
    staleness = StalenessTarget(target)
    learner = Learner(make_policy("adaptive", parameters), parameters, staleness=staleness, draw=rng.random)
    now, version, held, expires_at, record = START, 0, -1, 0.0, None
    reads = loads = stale = 0
    half = START + hours * 1800
    while now < START + hours * 3600:
        now += rng.expovariate(0.1)
        if not changes_with_reads and rng.random() < 0.01:
            version += 1
        counts = now > half
        reads += counts
        if now < expires_at:
            is_stale = held != version
            stale += is_stale and counts
            if rng.random() < share:
                staleness.known = staleness.known.after(is_stale=is_stale, target=target, now=now)
        else:
            loads += counts
            load = Load(now=now, digest=version.to_bytes(8, "big"), previous=record)
            verdict = learner.take(load, HourlyProfile())
            record, expires_at, held = verdict.record, now + verdict.ttl_seconds, version
        if changes_with_reads and rng.random() < 0.5:
            version += 1
    return reads, loads, stale, staleness.known.ratio


class TestStaleness:
    def test_ratio__nothing_compared(self):
        """Without a comparison nothing is known, and anything is possible."""
        assert Staleness().ratio is None
        assert Staleness().bounds == (0.0, 1.0)

    def test_after__ratio(self):
        """The ratio is of what was compared, with bounds around it that get narrower."""
        few = many = Staleness()
        for number in range(400):
            many = many.after(is_stale=number % 20 == 0, target=None, now=START)
            if number < 40:
                few = few.after(is_stale=number % 20 == 0, target=None, now=START)
        assert many.ratio == pytest.approx(0.05, abs=0.005)
        assert few.bounds[0] < many.bounds[0] < 0.05 < many.bounds[1] < few.bounds[1]
        assert many.log_factor == 0

    def test_after__old_comparisons_fade(self):
        """What was found long ago weighs little beside what is found now."""
        known = Staleness()
        for number in range(4000):
            known = known.after(is_stale=number < 2000, target=None, now=START)
        assert known.ratio < 0.03
        assert known.checks == pytest.approx(500, rel=0.01)

    def test_after__bounded(self):
        """The factor never exceeds one, and never comes to nothing."""
        known = Staleness()
        for _ in range(1000):
            known = known.after(is_stale=True, target=0.02, now=START)
        assert known.log_factor == LOWEST
        for _ in range(10_000):
            known = known.after(is_stale=False, target=0.02, now=START)
        assert known.factor(START) == 1.0

    def test_factor__idle(self):
        """Without comparisons the shortening is taken back, half of it a day."""
        known = Staleness(log_factor=-4.0, checked_at=START)
        assert known.factor(START) == pytest.approx(0.0183, rel=0.01)
        assert known.factor(START + HALVED_SECONDS) == pytest.approx(0.135, rel=0.01)
        assert known.factor(START - 50) == known.factor(START)

    @pytest.mark.parametrize(
        ("hits", "tries", "low", "high"),
        [(0, 10, 0.0, 0.278), (5, 100, 0.0215, 0.112), (10, 10, 0.722, 1)],
    )
    def test_wilson(self, hits, tries, low, high):
        """The interval is that of the tables, also where nothing or everything was hit."""
        assert wilson(hits, tries) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


class TestStalenessTarget:
    def test_corrected__only_measured(self):
        """Without a target, and before anything is known, a decision is as the policy made it."""
        measured = StalenessTarget(None)
        measured.known = Staleness(checks=10, stale=10, log_factor=-5, checked_at=START)
        assert measured.corrected(HOUR, START) is HOUR
        assert StalenessTarget(0.02).corrected(HOUR, START) is HOUR

    def test_corrected__shortened(self):
        """The TTL is shortened, and the reason says that this comes of a measurement."""
        target = StalenessTarget(0.02)
        target.known = Staleness(checks=100, stale=8, log_factor=-1.0, checked_at=START)
        decision = target.corrected(HOUR, START)
        assert decision.ttl_seconds == pytest.approx(3600 * 0.3679, rel=1e-3)
        assert decision.reason == (
            "Because. Measured: 8.0% of the hits compared with their origin were stale, 2.0% may be: "
            "the TTL is shortened to 37%."
        )
        assert decision.terms["wanted"] == 3600.0
        assert decision.terms["stale_measured"] == 0.08
        assert decision.terms["stale_low"] < 0.08 < decision.terms["stale_high"]

    def test_corrected__kept(self):
        """Where the target is kept by the policy alone, the reason stays."""
        target = StalenessTarget(0.02)
        target.known = Staleness(checks=100, stale=1, log_factor=0.0, checked_at=START)
        assert target.corrected(HOUR, START).reason == "Because."
        assert target.corrected(HOUR, START).ttl_seconds == 3600

    def test_take__bypassed(self):
        """Where no TTL keeps the target, one load in twenty is stored for a second, to go on measuring."""
        target = StalenessTarget(0.02)
        target.known = Staleness(checks=100, stale=50, log_factor=LOWEST, checked_at=START)
        parameters = TtlParameters(max_ttl=60.0)
        learner = Learner(make_policy("adaptive", parameters), parameters, staleness=target)
        lives = [
            learner.take(Load(now=START, digest=b"12345678"), HourlyProfile()).ttl_seconds
            for _ in range(2000)
        ]
        assert set(lives) == {BYPASS_SECONDS, EXPLORATION_SECONDS}
        assert 50 < lives.count(EXPLORATION_SECONDS) < 170

    def test_take__reads_that_change(self):
        """A row that changes just behind its reads is all but not cached, and the target is kept."""
        reads, _, stale, _ = play(None, changes_with_reads=True)
        assert stale / reads > 0.05
        reads, loads, stale, _ = play(0.02, changes_with_reads=True)
        assert stale / reads < 0.022
        assert loads / reads > 0.9

    def test_take__rows_that_keep(self):
        """Where a TTL keeps the target, it is kept by a shorter TTL and not by a bypass."""
        reads, _, stale, ratio = play(None, changes_with_reads=False, share=0.1)
        assert ratio == pytest.approx(stale / reads, abs=0.05)
        reads, loads, stale, _ = play(0.02, changes_with_reads=False, share=0.1)
        assert stale / (reads - loads) < 0.045
        assert loads / reads < 0.95
