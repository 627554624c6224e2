"""What the doctor judges by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django_callcache.live import LiveFacts
from django_callcache.stats.series import Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixFacts:
    """One prefix: what was asked of it lately, and what lies there now."""

    totals: Totals = field(default_factory=Totals)
    """Of the hour looked at."""
    distinct_keys: int = 0
    """Different keys read in it."""
    seconds: float = 3600.0
    """How much of the hour had counts."""
    policy_ttl: float | None = None
    """What an entry written now without a timeout would live; None: for ever."""
    sampled: int = 0
    """Entries found by the sample."""
    longest_ttl: float | None = None
    """The longest life that an entry of the sample has left, in seconds; None where one never ends."""
    total_bytes: int = 0
    """Of the sample."""
    largest_bytes: int = 0
    """Of the sample."""

    @property
    def reads_a_key(self) -> float:
        """How often a key was read."""
        return self.totals.gets / self.distinct_keys if self.distinct_keys else 0.0

    @property
    def pause_between_reads(self) -> float:
        """Seconds between two reads of a key, on average."""
        return self.seconds / self.reads_a_key if self.reads_a_key else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowCommand:
    """One line of Redis's slow log, without its arguments, which may be values."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One examination of one cache."""

    alias: str
    live: LiveFacts
    prefixes: Mapping[str, PrefixFacts] = field(default_factory=dict)
    expired_keys: int = 0
    """Keys that Redis has dropped at their end, since it started."""
    round_trips: Sequence[float] = ()
    """Seconds that some PINGs took, one after another."""
    slow_commands: Sequence[SlowCommand] = ()
    """Of the last hour."""
    is_synced: bool = False
    requires_durable: bool = False
    """Whether synced writes are refused while Redis might lose them."""
    interval: float = 300.0
    """The loop's own pause, in seconds."""
    remote_fault: str = ""
    """Why the remote store cannot be used; empty where it can, or there is none."""
    is_remote_refusing: bool = False
    """Whether it is there and refuses us."""
    last_failure: str = ""
    """What ended the last sync pass, if it failed."""
    surprises: Mapping[str, tuple[int | str, int | str]] = field(default_factory=dict)
    """Settings of the server that are not as expected: what was expected, and what is there."""
    is_counting: bool = True
    """Whether statistics are kept, so that there should be a loop."""
