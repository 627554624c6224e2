"""How an alert begins, fires and ends: arithmetic only, no clock, no database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from django_callcache.conf import AlertRule

Phase = Literal["pending", "firing", "resolved"]

LONGEST_CLEAR_SECONDS = 3600.0
"""However often an alert came and went, it is resolved when all has been well for this long."""

REOPEN_SECONDS = 900.0
"""An alert that fires again so soon after it was resolved is the same one, flapping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """Where an alert stands. Times are unix seconds."""

    phase: Phase
    began_at: float
    """Since when the condition holds, or held first."""
    good_since: float | None = None
    """Since when all is well again, while the alert still fires."""
    flaps: int = 0
    """How often it fired again soon after it was resolved."""


def step(rule: AlertRule, state: AlertState | None, value: float | None, now: float) -> AlertState | None:
    """Return where an alert stands after a look.

    An alert that flaps must be well for twice as long each time before it is resolved again: so it stays one
    that fires, rather than becoming many.

    Args:
        rule: What the alert is for.
        state: Where it stood; None where nothing was wrong.
        value: What the look found; None where there is nothing to judge by, which ends an alert too.
        now: When.

    Returns:
        None where nothing is wrong and nothing was told.
    """
    is_broken = value is not None and rule.is_broken_by(value)
    if state is None or state.phase == "pending":
        if not is_broken:
            return None
        state = state or AlertState(phase="pending", began_at=now)
        return replace(state, phase="firing") if now - state.began_at >= rule.after else state
    if value is not None and not rule.is_met_by(value):
        return replace(state, good_since=None)
    good_since = state.good_since if state.good_since is not None else now
    needed = min(rule.clear_after * 2.0**state.flaps, max(LONGEST_CLEAR_SECONDS, rule.clear_after))
    phase: Phase = "resolved" if now - good_since >= needed else "firing"
    return replace(state, good_since=good_since, phase=phase)
