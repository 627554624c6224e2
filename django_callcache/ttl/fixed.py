"""The policy ``fixed``: always the same TTL."""

from __future__ import annotations

from django_callcache.ttl.policy import Decision, Observation
from django_callcache.ttl.sentence import Sentence, gettext_noop

_REASON = Sentence(gettext_noop("The TTL is fixed."))


class FixedTtl:
    """Always the same TTL.

    Args:
        ttl_seconds: Seconds; 0 for entries that expire at once, None for ones that never do.
    """

    name = "fixed"
    learns = False

    def __init__(self, ttl_seconds: float | None) -> None:
        if ttl_seconds is not None and not ttl_seconds >= 0:
            raise ValueError(f"ttl_seconds is {ttl_seconds!r}: give seconds of at least 0, or None.")
        self.ttl_seconds = ttl_seconds
        self._decision = Decision(ttl_seconds, self.name, _REASON)

    def decide(self, observation: Observation) -> Decision:
        """Answer the one TTL."""
        return self._decision
