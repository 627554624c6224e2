from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_callcache.alerts.states import LONGEST_CLEAR_SECONDS, AlertState, step
from django_callcache.conf import AlertRule

HIGH = AlertRule(name="latency-high", signal="x", threshold=10, clear=8, after=60, clear_after=30)
LOW = AlertRule(
    name="hit-ratio-low", signal="x", is_low_bad=True, threshold=0.5, clear=0.6, after=60, clear_after=30
)


def run(rule, looks, flaps=0):
    """The phases after looks at (seconds, value)."""
    state, phases = None, []
    for now, value in looks:
        state = step(rule, state, value, now)
        if state is not None and flaps:
            state = replace(state, flaps=flaps)
        phases.append(state.phase if state else None)
        if state is not None and state.phase == "resolved":
            state = None
    return phases


class TestStep:
    def test_step__fires_after_its_time(self):
        """The condition must hold at every look for the whole time."""
        looks = [(0, 11), (30, 12), (59, 11), (60, 11), (90, 11)]
        assert run(HIGH, looks) == ["pending", "pending", "pending", "firing", "firing"]

    def test_step__does_not_fire(self):
        """A condition that ends in between begins anew; at the threshold it does not hold."""
        looks = [(0, 11), (50, 10), (55, 11), (100, 11), (116, 11)]
        assert run(HIGH, looks) == ["pending", None, "pending", "pending", "firing"]

    def test_step__at_once(self):
        """Without a time it fires at the first look."""
        assert run(replace(HIGH, after=0), [(0, 11)]) == ["firing"]

    def test_step__resolved_after_its_time(self):
        """It is resolved when all has been well for the whole time, and not before."""
        looks = [(0, 11), (60, 11), (70, 7), (90, 8), (99, 8), (100, 8)]
        assert run(HIGH, looks) == ["pending", "firing", "firing", "firing", "firing", "resolved"]

    @pytest.mark.parametrize("between", [9, 11])
    def test_step__hysteresis(self, between):
        """Between the bounds it is not well, so the time begins anew."""
        looks = [(0, 11), (60, 11), (70, 7), (90, between), (100, 7), (129, 7), (130, 7)]
        assert run(HIGH, looks)[2:] == ["firing", "firing", "firing", "firing", "resolved"]

    def test_step__low_is_bad(self):
        """Rules for what should not be low read the other way round."""
        looks = [(0, 0.5), (10, 0.4), (70, 0.4), (80, 0.55), (120, 0.55), (130, 0.6), (160, 0.7)]
        assert run(LOW, looks) == [None, "pending", "firing", "firing", "firing", "firing", "resolved"]

    def test_step__nothing_to_judge(self):
        """Where there is nothing to judge by, nothing begins and what fires ends."""
        looks = [(0, None), (10, 0.4), (20, None), (30, 0.4), (90, 0.4), (100, None), (130, None)]
        phases = [None, "pending", None, "pending", "firing", "firing", "resolved"]
        assert run(LOW, looks) == phases

    def test_step__flaps(self):
        """What came and went before must be well for twice as long each time, to a bound."""
        state = AlertState(phase="firing", began_at=0, good_since=1000, flaps=3)
        assert step(HIGH, state, 1, 1000 + 8 * 30 - 1).phase == "firing"
        assert step(HIGH, state, 1, 1000 + 8 * 30).phase == "resolved"
        state = replace(state, flaps=500)
        assert step(HIGH, state, 1, 1000 + LONGEST_CLEAR_SECONDS).phase == "resolved"

    @given(st.lists(st.one_of(st.none(), st.floats(0, 20)), max_size=60))
    def test_step__any_course(self, values):
        """Whatever the values, it never fires before its time, nor ends while it is not well."""
        state, broken_for = None, 0
        for index, value in enumerate(values):
            broken_for = broken_for + 10 if value is not None and value > 10 else 0
            before, state = state, step(HIGH, state, value, index * 10.0)
            if (
                state is not None
                and state.phase == "firing"
                and (before is None or before.phase == "pending")
            ):
                assert broken_for > 60
            if state is not None and state.phase == "resolved":
                assert value is None or value <= 8
                state = None
