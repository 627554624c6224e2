from __future__ import annotations

import random
from dataclasses import replace

import pytest

from django_callcache.ttl import (
    Adaptive,
    Alex,
    HeuristicFreshness,
    HourlyProfile,
    Learner,
    Load,
    TtlParameters,
    make_policy,
)
from django_callcache.ttl.change_tables import ALL_CHANGES, ALL_EXPOSURE, OBSERVATIONS

START = 1_800_000_000.0
NOBODY = HourlyProfile()
ONE, OTHER = b"one.....", b"other..."


def learner_of(name="adaptive", *, jitter=0.0, draw=random.random, **parameters):
    tuned = TtlParameters(**parameters)
    return Learner(make_policy(name, tuned), tuned, jitter=jitter, draw=draw)


def first(learner, now=START, updated_at=None):
    return learner.take(Load(now=now, digest=ONE, updated_at=updated_at), NOBODY).record


def again(learner, record, now, digest=ONE, **how):
    return learner.take(Load(now=now, digest=digest, previous=record, **how), NOBODY).record


def play(learner, *, changes, reads, keys=4, days=8, keeps_records=True, removes=False):
    """Rows that change and are read at random, in seconds of their own; what became of the reads.

    Returns:
        Reads, loads, stale reads.
    """
    rng = random.Random(5)
    total = loads = stale = 0
    for _ in range(keys):
        record, held, version, expires_at, removed_at = None, 0, 0, 0.0, None
        now = START
        changes_at = now + rng.expovariate(changes)
        while now < START + days * 86400:
            now += rng.expovariate(reads)
            while changes_at < now:
                version += 1
                if removes:
                    expires_at = removed_at = min(changes_at, removed_at or changes_at)
                changes_at += rng.expovariate(changes)
            total += 1
            if now < expires_at:
                stale += held != version
                continue
            loads += 1
            digest = b"%08d" % version
            load = Load(now=now, digest=digest, previous=record, removed_at=removed_at)
            verdict = learner.take(load, NOBODY)
            held, expires_at, removed_at = version, now + verdict.ttl_seconds, None
            record = verdict.record if keeps_records else None
    return total, loads, stale


class TestRates:
    @pytest.mark.parametrize("changes", [1 / 600, 1 / 7200])
    def test_take__poisson(self, changes):
        """Where rows change at one rate, the rate that is learnt comes to it."""
        learner = learner_of()
        play(learner, changes=changes, reads=1 / 120, keys=8, days=12)
        rate = learner.tables._sum(ALL_CHANGES) / learner.tables._sum(ALL_EXPOSURE)
        assert rate == pytest.approx(changes, rel=0.15)

    def test_take__reads(self):
        """The wait from an expiry to the next read tells how often a key is read."""
        learner = learner_of()
        play(learner, changes=1 / 7200, reads=1 / 120)
        assert learner.tables.mean_gap == pytest.approx(120, rel=0.1)

    def test_take__one_key_changes_more(self):
        """A key that changed at each of its reloads is known to change more often than its prefix."""
        learner = learner_of()
        calm = restless = first(learner)
        for turn in range(1, 15):
            calm = again(learner, calm, START + turn * 4000)
            restless = again(learner, restless, START + turn * 4000, b"%08d" % turn)
        assert learner.estimate(restless).frailty > 2 * learner.estimate(calm).frailty

    def test_take__fewer_stale_reads_than_the_same_ttl_for_all(self):
        """Left to learn, it makes few reads stale, and yet loads for few of them."""
        reads, loads, stale = play(learner_of(), changes=1 / 7200, reads=1 / 60)
        assert stale / reads < 0.05
        assert loads / reads < 0.25

    def test_take__record_gone_with_the_value(self):
        """Nothing is learnt where a key's record goes with its value: it must be kept for longer."""
        learner = learner_of()
        _, _, kept_stale = play(learner_of(), changes=1 / 600, reads=1 / 60, keys=5)
        _, _, lost_stale = play(learner, changes=1 / 600, reads=1 / 60, keys=5, keeps_records=False)
        assert learner.tables.observations == 0
        assert lost_stale > 3 * kept_stale


class TestGuards:
    def test_take__changes_that_were_removed(self):
        """Changes whose writers delete the copy do not shorten the TTL."""
        learner = learner_of()
        play(learner, changes=1 / 600, reads=1 / 60, keys=2, days=1, removes=True)
        growth = learner.tables.growth()
        assert growth.sums[ALL_CHANGES] == 0
        assert growth.sums[ALL_EXPOSURE] > 86400

    def test_take__removed_late(self):
        """A removal long after the change that the row tells of came too late: the change counts."""
        learner = learner_of()
        record = first(learner, updated_at=START - 100)
        times = {"removed_at": START + 250, "updated_at": START + 100}
        again(learner, record, START + 300, OTHER, **times)
        assert learner.tables.growth().sums[ALL_CHANGES] == 1

    def test_take__removed_by_a_poll(self):
        """A copy that was removed because a poll found its row changed had been stale: the change counts."""
        learner = learner_of()
        load = {"removed_at": START + 250, "is_polled": True, "updated_at": START + 280}
        again(learner, first(learner), START + 300, OTHER, **load)
        assert learner.tables.growth().sums[ALL_CHANGES] == 1

    def test_take__removed_by_the_change(self):
        """A copy that went with the change counts as unchanged until then."""
        learner = learner_of()
        times = {"removed_at": START + 250, "updated_at": START + 249}
        again(learner, first(learner), START + 300, OTHER, **times)
        sums = learner.tables.growth().sums
        assert (sums[ALL_CHANGES], sums[OBSERVATIONS]) == (0, 1)
        assert sums[ALL_EXPOSURE] == pytest.approx(250)

    def test_take__lost(self):
        """Of a copy that vanished nobody knows when, nothing is learnt."""
        learner = learner_of()
        again(learner, first(learner), START + 30, OTHER, is_lost=True)
        assert not learner.tables.growth()

    @pytest.mark.parametrize("later", [0.0, -50.0, 8 * 86400.0])
    def test_take__impossible_interval(self, later):
        """Of clocks that went backwards, and of more than a week, nothing is learnt of changes."""
        learner = learner_of()
        record = again(learner, first(learner), START + later, OTHER)
        assert learner.tables.observations == 0
        assert record.changes == record.exposure == 0

    def test_take__row_from_the_future(self):
        """A row that says it will change tomorrow counts as changed now."""
        learner = learner_of()
        assert first(learner, updated_at=START + 86400).born_at == START

    def test_take__row_does_not_say_that_it_changed(self):
        """Where a value changed and its row says it did not, rows of the prefix are not believed any more."""
        learner = learner_of()
        record = first(learner, updated_at=START - 100)
        record = again(learner, record, START + 60, OTHER, updated_at=START - 100)
        assert learner.tables.is_unsafe
        assert (record.has_updated_at, record.born_at) == (False, START + 60)
        assert not again(learner, record, START + 90, ONE, updated_at=START + 80).has_updated_at

    def test_take__first_sight(self):
        """A row that has been as it is for long is trusted from the first load on."""
        learner = learner_of()
        play(learner, changes=1 / 600, reads=1 / 60, days=2)
        old, new = (learner.estimate(first(learner, START, START - age)).frailty for age in (30 * 86400, 10))
        assert old < new


class TestJitter:
    def test_take__jitter(self):
        """The jitter only takes off, at most its share."""
        for drawn, expected in ((0.0, 300.0), (0.5, 285.0), (1.0, 270.0)):
            learner = learner_of(jitter=0.1, draw=lambda drawn=drawn: drawn, peak_ttl=300, default_ttl=300)
            verdict = learner.take(Load(now=START, digest=ONE), NOBODY)
            assert verdict.decision.ttl_seconds == 300
            assert verdict.ttl_seconds == pytest.approx(expected)
            assert verdict.record.expires_at == pytest.approx(START + expected)


class TestExplain:
    def test_explain__learns_nothing(self):
        """Asking changes neither what is known of the prefix nor the answer."""
        learner = learner_of()
        record = first(learner)
        play(learner, changes=1 / 600, reads=1 / 60, keys=2, days=1)
        before = learner.tables.growth()
        answers = [learner.explain(record, START + 60, NOBODY) for _ in range(2)]
        assert answers[0] == answers[1]
        assert learner.tables.growth() == before

    def test_explain__key_never_seen(self):
        """A key without a record is answered for as one that was just born."""
        learner = learner_of()
        play(learner, changes=1 / 600, reads=1 / 60, keys=2, days=1)
        assert learner.explain(None, START, NOBODY).terms["age"] == 0


class TestAlex:
    def test_take__share_of_changed_reloads(self):
        """The share of reloads that find a changed value comes to the target."""
        learner = learner_of("alex", change_target=0.2, max_ttl=86400)
        rng = random.Random(3)
        record, version, found = first(learner), 0, []
        now = changes_at = START
        for _ in range(4000):
            now = record.expires_at + 1
            before = version
            while changes_at < now:
                version += 1
                changes_at += rng.expovariate(1 / 3600)
            found.append(before != version)
            record = again(learner, record, now, b"%08d" % version)
        assert sum(found[1000:]) / 3000 == pytest.approx(0.2, abs=0.04)

    def test_moved__direction(self):
        """A change shortens, no change lengthens, within the bounds."""
        policy = Alex(TtlParameters(max_ttl=2000))
        assert policy.moved(None, True, 10) < policy.moved(None, False, 10)
        assert policy.moved(7.6, False, 10) == pytest.approx(7.6009, abs=1e-3)  # log 2000

    def test_take__new_key(self):
        """A new key begins where the others of its prefix have come to."""
        learner = learner_of("alex")
        record = first(learner)
        for turn in range(1, 200):
            record = again(learner, record, START + turn * 10, b"%08d" % turn)
        assert learner.take(Load(now=START, digest=ONE), NOBODY).ttl_seconds < 60


class TestHeuristicFreshness:
    @pytest.mark.parametrize(("age", "expected"), [(1000, 100), (2, 1), (10**6, 3600)])
    def test_take__age(self, age, expected):
        """A tenth of the row's age, within the bounds."""
        load = Load(now=START, digest=ONE, updated_at=START - age)
        verdict = learner_of("heuristic-freshness").take(load, NOBODY)
        assert verdict.ttl_seconds == pytest.approx(expected)

    def test_take__no_age(self):
        """Without the row's word the hour decides, and the reason says why."""
        verdict = learner_of("heuristic-freshness", peak_ttl=30, default_ttl=30).take(
            Load(now=START, digest=ONE), NOBODY
        )
        assert verdict.ttl_seconds == 30
        assert "does not say when it changed" in verdict.decision.reason


class TestKinds:
    @pytest.mark.parametrize("kind", [Adaptive, Alex, HeuristicFreshness])
    def test_learns(self, kind):
        """The policies that go by a key's record say so, those that go by the clock do not."""
        assert kind.learns
        assert not make_policy("peak-hour", TtlParameters()).learns
        assert not make_policy(60, TtlParameters()).learns

    def test_take__record_replaced_between_policies(self):
        """A record that one policy left is of use to another."""
        record = replace(first(learner_of("alex")), log_ttl=3.0)
        learner = learner_of("adaptive")
        assert again(learner, record, START + 60).log_ttl == 3.0
