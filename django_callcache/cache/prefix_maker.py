"""Makes what holds for the keys of a prefix, of the rules and settings of its alias."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from django_callcache.cache.counters import PrefixCounts
from django_callcache.cache.prefixes import Prefix, TtlClock
from django_callcache.cache.revalidation import HitSampler
from django_callcache.cache.shared_overrides import SharedOverrides, default_ttl_of
from django_callcache.codec import Codec
from django_callcache.conf import UNSET, CacheOptions, PrefixRule, Settings, parameters_of
from django_callcache.ttl import ChangeTables, Decision, HourlyProfile, Learner, Policy, make_policy

SESSIONS = "django.contrib.sessions"
"""What the keys of Django's session backends begin with."""


class PrefixMaker:
    """Makes the prefixes of one alias; what learns and what draws hits is there once for each name.

    Args:
        options: Of the alias.
        settings: Of the site.
        codec_of: Makes the codec of a name and its rule.
        profile: Returns the present profile of gets by hour.
        overrides: What people have decided about TTLs.
        has_near: Whether the alias keeps near copies.
    """

    def __init__(
        self,
        options: CacheOptions,
        settings: Settings,
        codec_of: Callable[[str, PrefixRule | None], Codec],
        profile: Callable[[], HourlyProfile],
        overrides: SharedOverrides,
        has_near: bool,
    ) -> None:
        self.learners: dict[str, Learner] = {}
        """What learns, by prefix."""
        self.samplers: dict[str, HitSampler] = {}
        """What draws hits to compare with their origin, by the prefix of its rule."""
        self._options = options
        self._settings = settings
        self._codec_of = codec_of
        self._profile = profile
        self._overrides = overrides
        self._has_near = has_near

    def rules(self) -> tuple[PrefixRule, ...]:
        """The rules, and one for sessions where all else is near: their keys have no colon to be told by."""
        rules = self._options.rules
        if not self._has_near or self._options.near is not True:
            return rules
        broader = next((rule for rule in rules if SESSIONS.startswith(rule.prefix)), PrefixRule(prefix=""))
        if broader.prefix == SESSIONS:
            return rules
        sessions = replace(broader, prefix=SESSIONS, near=False)
        return tuple(sorted((*rules, sessions), key=lambda rule: (-len(rule.prefix), rule.prefix)))

    def make(self, name: str, rule: PrefixRule | None) -> Prefix:
        """Make the prefix of a name and its rule."""
        policy = self._policy_of(rule)
        default_ttl = default_ttl_of(policy, parameters_of(self._settings.ttl, rule))
        override = self._overrides.for_prefix(name, default_ttl)
        return Prefix(
            name,
            rule,
            TtlClock(policy, self._profile, override=override),
            self._codec_of(name, rule),
            PrefixCounts(self._settings.stats.max_keys),
            self._has_near and is_near(self._options, name, rule),
            self._learner_of(name, rule, policy, override) if policy.learns else None,
            None if rule is None else self._sampler_of(rule),
        )

    def _policy_of(self, rule: PrefixRule | None) -> Policy:
        spec = self._options.stated_timeout if rule is None or rule.ttl is UNSET else rule.ttl
        return make_policy("peak-hour" if spec is UNSET else spec, parameters_of(self._settings.ttl, rule))

    def _learner_of(
        self,
        name: str,
        rule: PrefixRule | None,
        policy: Policy,
        override: Callable[[Decision, float], Decision],
    ) -> Learner:
        """The one learner of a name: a rule's keys may be found by several of our prefixes."""
        if name not in self.learners:
            parameters = parameters_of(self._settings.ttl, rule)
            tables = ChangeTables(parameters.eta, parameters.peak_ttl, is_shared=True)
            jitter = self._settings.ttl.jitter
            sampler = None if rule is None else self._sampler_of(rule)
            staleness = None if sampler is None else sampler.staleness
            self.learners[name] = Learner(
                policy, parameters, jitter=jitter, tables=tables, staleness=staleness, override=override
            )
        return self.learners[name]

    def _sampler_of(self, rule: PrefixRule) -> HitSampler | None:
        """The one sampler of a rule; none where it asks for no comparisons."""
        if rule.prefix not in self.samplers and rule.checked_share:
            sampler = HitSampler(rule.prefix, rule.checked_share, rule.stale_target)
            self.samplers[rule.prefix] = sampler
        return self.samplers.get(rule.prefix)


def is_near(options: CacheOptions, name: str, rule: PrefixRule | None) -> bool:
    """Whether a process may keep copies of a prefix's values, where it keeps any."""
    if rule is None:
        return options.near is True
    return rule.near is True if name.startswith(SESSIONS) else rule.near is not False
