"""How stale the hits of a prefix are found to be, and what its target makes of that.

No model can promise a share of stale hits; a sample of hits compared with their origin measures it. Each
comparison moves the logarithm of a factor that TTLs are multiplied by, down for a stale hit and up for a
fresh one, so that stale ones come to the target (H. Robbins and S. Monro, A Stochastic Approximation Method,
1951).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from django_callcache.ttl.policy import Decision
from django_callcache.ttl.sentence import Sentence, gettext_noop

GAIN = 0.3
"""How far one comparison moves the logarithm of the factor, at most."""
LOWEST = -9.0
"""Of the logarithm: a TTL of an hour becomes half a second."""
KEPT = 1 - 1 / 500
"""What is left of older comparisons at each new one: the ratio is about the last 500."""
HALVED_SECONDS = 86400.0
"""The logarithm is halved for every so many seconds without a comparison: what once could not be cached is
tried again."""

BYPASSED_BELOW = 0.5
"""Seconds. A TTL that would have to be shorter is not worth storing for."""
BYPASS_SECONDS = 0.05
"""What an entry lives then: long enough for those who already wait for it."""
EXPLORED = 0.05
"""Share of those entries that live for `EXPLORATION_SECONDS` all the same: without hits nothing is found."""
EXPLORATION_SECONDS = 1.0

_Z = 1.959964
"""Of the normal distribution, for 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staleness:
    """What comparisons of a prefix's hits with their origin have found."""

    checks: float = 0.0
    """Hits compared, the older ones faded."""
    stale: float = 0.0
    """Those that were stale, faded alike."""
    log_factor: float = 0.0
    """Logarithm of what the target multiplies TTLs by, when it was last moved."""
    checked_at: float = 0.0
    """Unix seconds of the last comparison."""
    fresh_count: int = 0
    """Hits found fresh since the first comparison."""
    stale_count: int = 0
    unclear_count: int = 0
    """Comparisons that told nothing: the key was written meanwhile, or two loads in a row differed."""

    @property
    def ratio(self) -> float | None:
        """The measured share of stale hits; None where none was compared."""
        return self.stale / self.checks if self.checks else None

    @property
    def bounds(self) -> tuple[float, float]:
        """Where the share of all hits lies with 95 % confidence."""
        return wilson(self.stale, self.checks)

    def factor(self, now: float) -> float:
        """What TTLs are multiplied by."""
        idle = max(0.0, now - self.checked_at)
        return math.exp(self.log_factor * 0.5 ** (idle / HALVED_SECONDS))

    def after(self, *, is_stale: bool, target: float | None, now: float) -> Staleness:
        """The same after one more comparison; the counts are left to who keeps them."""
        log_factor = math.log(self.factor(now)) + step(is_stale=is_stale, target=target)
        return replace(
            self,
            checks=self.checks * KEPT + 1,
            stale=self.stale * KEPT + is_stale,
            log_factor=max(LOWEST, min(0.0, log_factor)),
            checked_at=now,
        )


def step(*, is_stale: bool, target: float | None) -> float:
    """How far a comparison moves the logarithm of the factor; nowhere without a target."""
    return 0.0 if target is None else GAIN * (target - is_stale)


def wilson(hits: float, tries: float) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson, Probable Inference, JASA 1927)."""
    if tries <= 0:
        return 0.0, 1.0
    share, square = hits / tries, _Z * _Z
    middle = share + square / (2 * tries)
    spread = _Z * math.sqrt(share * (1 - share) / tries + square / (4 * tries * tries))
    whole = 1 + square / tries
    return max(0.0, (middle - spread) / whole), min(1.0, (middle + spread) / whole)


class StalenessTarget:
    """Keeps the stale hits of a prefix at a share of them. Any number of threads may share one.

    Args:
        target: The share; None only measures.
    """

    def __init__(self, target: float | None) -> None:
        self.target = target
        self.known = Staleness()
        """What was found, over all processes. It is replaced as a whole."""

    def corrected(self, decision: Decision, now: float) -> Decision:
        """A policy's decision with its TTL shortened as far as the target needs, and with the reason why."""
        known, target = self.known, self.target
        if target is None or decision.ttl_seconds is None or known.ratio is None:
            return decision
        factor = known.factor(now)
        ttl_seconds = decision.ttl_seconds * factor
        is_bypassed = ttl_seconds < BYPASSED_BELOW
        low, high = known.bounds
        terms = {
            **decision.terms,
            "stale_target": target,
            "stale_measured": known.ratio,
            "stale_low": low,
            "stale_high": high,
            "checks": known.checks,
            "factor": factor,
        }
        reason: str = decision.reason
        if is_bypassed:
            reason = Sentence(_BYPASSED, reason=reason, measured=known.ratio, target=target)
        elif factor < _FULL:
            reason = Sentence(_SHORTENED, reason=reason, measured=known.ratio, target=target, factor=factor)
        return replace(
            decision,
            ttl_seconds=BYPASS_SECONDS if is_bypassed else ttl_seconds,
            reason=reason,
            terms=terms,
        )

    def is_bypassed(self, ttl_seconds: float) -> bool:
        """Whether a corrected TTL means that the prefix is bypassed."""
        return self.target is not None and ttl_seconds <= BYPASS_SECONDS


_FULL = 0.995
_SHORTENED = gettext_noop(
    "{reason} Measured: {measured:.1%} of the hits compared with their origin were stale, "
    "{target:.1%} may be: the TTL is shortened to {factor:.0%}."
)
_BYPASSED = gettext_noop(
    "{reason} Measured: {measured:.1%} of the hits compared with their origin were stale, "
    "{target:.1%} may be: no TTL worth storing for does that, so the cache is bypassed but for "
    "one load in 20, to go on measuring."
)
