"""What holds for a key, found by its prefix: rule, TTL, codec, counts.

Keys are grouped by their text up to the first colon; a rule may reach further in or stop
earlier. All that a call needs is decided when a group is first seen and kept in one object.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from django_callcache.cache.counters import PrefixCounts
from django_callcache.cache.filling import FillOptions
from django_callcache.cache.revalidation import HitSampler
from django_callcache.cache.tags import Met
from django_callcache.codec import Codec
from django_callcache.conf import PrefixRule
from django_callcache.outbox.stat_buckets import OTHER
from django_callcache.ttl import Decision, HourlyProfile, Learner, Observation, Policy

LONGEST_PX = 10**15
"""Milliseconds that a TTL is cut to: beyond it Redis refuses the sum with the present time."""


class TtlClock:
    """The policy of a prefix, asked again only when its answer may have changed.

    Args:
        policy: Decides.
        profile: Returns the present profile of gets by hour.
        clock: Unix seconds.
        override: Turns a decision into the one that holds, where people have decided something.
    """

    __slots__ = ("_clock", "_decision", "_override", "_profile", "_px", "policy")

    def __init__(
        self,
        policy: Policy,
        profile: Callable[[], HourlyProfile],
        clock: Callable[[], float] = time.time,
        override: Callable[[Decision, float], Decision] | None = None,
    ) -> None:
        self.policy = policy
        self._profile = profile
        self._clock = clock
        self._override = override
        self._decision: Decision | None = None
        self._px: bytes | None = b""

    def px(self) -> bytes | None:
        """Milliseconds that an entry written now may live; empty for ever, None for not at all."""
        self.decision()
        return self._px

    def decision(self) -> Decision:
        """The policy's decision, as long as it is valid."""
        decision = self._decision
        if decision is None or self._clock() >= decision.valid_until:
            decision = self.decide()
            self._px = None if decision.ttl_seconds == 0 else milliseconds(decision.ttl_seconds)
            self._decision = decision
        return decision

    def decide(self) -> Decision:
        """The decision now, with its reasons."""
        now = self._clock()
        decision = self.policy.decide(Observation(now=now, profile=self._profile()))
        return decision if self._override is None else self._override(decision, now)

    def forget(self) -> None:
        """Ask the policy again at the next write: what it observes has changed."""
        self._decision = None


class Prefix:
    """Everything that holds for the keys of one prefix."""

    __slots__ = (
        *("clock", "codec", "counts", "filling", "is_near", "is_synced", "learner"),
        *("leaves_copies", "name", "narrower", "rule", "sampler", "tagged"),
    )

    def __init__(
        self,
        name: str,
        rule: PrefixRule | None,
        clock: TtlClock,
        codec: Codec,
        counts: PrefixCounts,
        is_near: bool,
        learner: Learner | None = None,
        sampler: HitSampler | None = None,
    ) -> None:
        self.name = name
        self.rule = rule
        self.clock = clock
        self.codec = codec
        self.counts = counts
        self.is_synced = rule is not None and rule.sync is not None
        self.learner = learner
        """What its TTL policy learns with, if it is one that learns."""
        self.sampler = sampler
        """Draws the hits that are compared with their origin, where some are."""
        self.filling = FillOptions.of_rule(rule)
        """How missing values are computed."""
        self.leaves_copies = self.filling.grace > 0
        """Whether there may be stale copies, which every write has to drop; a first caller who asks for a
        grace makes it so in its process."""
        self.is_near = is_near
        """Whether this process may keep copies."""
        self.narrower: tuple[Prefix, ...] = ()
        """Prefixes with a rule of their own that begin with this one, longest first."""
        self.tagged: dict[bytes, Met] = {}
        """Entries lately met with tags, by Redis key."""


class Prefixes:
    """Finds the `Prefix` of a key.

    Args:
        rules: Of the alias, longest prefix first.
        make: Makes a `Prefix` of a name and its rule.
        limit: How many prefixes without a rule are told apart.
    """

    def __init__(
        self, rules: Iterable[PrefixRule], make: Callable[[str, PrefixRule | None], Prefix], limit: int
    ) -> None:
        self._make = make
        self._limit = limit
        self._lock = threading.Lock()
        self._ruled = tuple(make(rule.prefix, rule) for rule in rules)
        self._other = make(OTHER, None)
        self._by_head: dict[str, Prefix] = {}
        self._bare = self._without_head()

    def of(self, key: str) -> Prefix:
        """What holds for a key, as the caller wrote it."""
        head = key[: key.find(":") + 1]
        prefix = self._by_head.get(head)
        if prefix is None:
            prefix = self._add(head) if head else self._bare
        if prefix.narrower:
            for narrower in prefix.narrower:
                if key.startswith(narrower.name):
                    return narrower
        return prefix

    def counts(self) -> dict[str, PrefixCounts]:
        """Counts by the prefix's name, of every prefix seen so far."""
        with self._lock:
            return {prefix.name: prefix.counts for prefix in self._all()}

    def each(self) -> list[Prefix]:
        """Every prefix seen so far, those of rules included."""
        with self._lock:
            return [*self._all(), self._bare]

    def forget_decisions(self) -> None:
        """Let every policy decide anew."""
        with self._lock:
            for prefix in (*self._all(), self._bare):
                prefix.clock.forget()

    def forget(self) -> None:
        """Make the lock anew, as a child process must."""
        self._lock = threading.Lock()

    def _all(self) -> list[Prefix]:
        return [*self._ruled, self._other, *self._by_head.values()]

    def _add(self, head: str) -> Prefix:
        with self._lock:
            if head in self._by_head:
                return self._by_head[head]
            broader = next((ruled for ruled in self._ruled if head.startswith(ruled.name)), None)
            narrower = tuple(
                ruled for ruled in self._ruled if ruled.name.startswith(head) and ruled.name != head
            )
            if broader is not None and not narrower:
                if len(self._by_head) < self._limit:
                    self._by_head[head] = broader
                return broader
            if not narrower and len(self._by_head) >= self._limit:
                return self._other
            rule = broader.rule if broader is not None else None
            prefix = self._make(broader.name if broader is not None else head, rule)
            if broader is not None:
                prefix.counts = broader.counts
            prefix.narrower = narrower
            self._by_head[head] = prefix
            return prefix

    def _without_head(self) -> Prefix:
        """For keys without a colon: rules may still name them, by a prefix that has none."""
        prefix = self._make(OTHER, None)
        prefix.counts = self._other.counts
        prefix.narrower = tuple(ruled for ruled in self._ruled if ":" not in ruled.name)
        return prefix


def milliseconds(seconds: float | None) -> bytes:
    """A TTL as Redis takes it: whole milliseconds, at least one; empty where it never ends."""
    if seconds is None:
        return b""
    return b"%d" % max(min(seconds * 1000, LONGEST_PX), 1)
