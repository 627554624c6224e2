"""The policy ``fixed``: always the same TTL."""

from __future__ import annotations

from django_callcache.ttl.policy import Decision, Observation


class FixedTtl:
    """Always the same TTL.

    Args:
        ttl_seconds: Seconds above 0, or None for entries that never expire.
    """

    name = "fixed"

    def __init__(self, ttl_seconds: float | None) -> None:
        if ttl_seconds is not None and not ttl_seconds > 0:
            raise ValueError(
                f"ttl_seconds is {ttl_seconds!r}: give seconds above 0, or None (never expires)."
            )
        self.ttl_seconds = ttl_seconds
        self._decision = Decision(ttl_seconds, self.name, "The TTL is fixed.")

    def decide(self, observation: Observation) -> Decision:
        """Answer the one TTL."""
        return self._decision
