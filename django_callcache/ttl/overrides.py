"""What people have decided about TTLs: prefixes that are pinned, and a pause of all that adapts.

They hold over whatever a policy answers, and never over a timeout that a caller gives. Policies go on
learning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django_callcache.ttl.fixed import FixedTtl
from django_callcache.ttl.policy import Decision
from django_callcache.ttl.sentence import Sentence, gettext_noop


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Something that a person has decided, and for how long."""

    by: str
    """Who."""
    since: float
    """Unix seconds by the clock of Redis."""
    until: float | None = None
    """Unix seconds at which it ends by itself; None: when somebody ends it."""
    reason: str = ""

    def holds(self, now: float) -> bool:
        """Whether it has not ended by itself."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin(Override):
    """One TTL for all entries of a prefix whose writer leaves the timeout open."""

    ttl_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """All that people have decided about the TTLs of a cache."""

    pins: Mapping[str, Pin] = field(default_factory=dict)
    """By prefix."""
    pause: Override | None = None
    """Of all policies that adapt: what is not pinned gets the default TTL meanwhile."""

    def at(self, now: float) -> Overrides:
        """Those that have not ended by themselves."""
        pins = {prefix: pin for prefix, pin in self.pins.items() if pin.holds(now)}
        pause = self.pause if self.pause is not None and self.pause.holds(now) else None
        return Overrides(pins=pins, pause=pause)

    def applied(self, prefix: str, decision: Decision, now: float, default_ttl: float) -> Decision:
        """A policy's decision, or what holds instead of it.

        Args:
            prefix: Whose entries it is about.
            decision: The policy's.
            now: Unix seconds.
            default_ttl: Seconds that hold where what adapts is paused.
        """
        pin = self.pins.get(prefix)
        if pin is not None and pin.holds(now):
            return _overridden(decision, "pinned", pin.ttl_seconds, pin, _PINNED)
        pause = self.pause
        if pause is not None and pause.holds(now) and decision.policy != FixedTtl.name:
            return _overridden(decision, "paused", default_ttl, pause, _PAUSED)
        return decision


_PINNED = (
    gettext_noop("Pinned by {by} since {since}."),
    gettext_noop("Pinned by {by} since {since}, until {until}."),
)
_PAUSED = (
    gettext_noop("What adapts is paused by {by} since {since}: the default TTL holds."),
    gettext_noop("What adapts is paused by {by} since {since}, until {until}: the default TTL holds."),
)
"""Without an end, and with one."""
_WITH_REASON = gettext_noop("{what} Reason: {reason}")


def _overridden(
    decision: Decision, word: str, ttl_seconds: float, override: Override, templates: tuple[str, str]
) -> Decision:
    values = {"by": override.by, "since": _moment(override.since)}
    if override.until is None:
        reason = Sentence(templates[0], **values)
    else:
        reason = Sentence(templates[1], **values, until=_moment(override.until))
    if override.reason:
        reason = Sentence(_WITH_REASON, what=reason, reason=override.reason)
    terms = {
        "own_policy": decision.policy,
        "own_ttl": "never ends" if decision.ttl_seconds is None else decision.ttl_seconds,
    }
    valid_until = math.inf if override.until is None else override.until
    return Decision(ttl_seconds, word, reason, terms, valid_until, is_override=True)


def _moment(seconds: float) -> str:
    """A moment as all time zones understand it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
