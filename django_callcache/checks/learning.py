"""Checks of the TTL policies that learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core import checks

from django_callcache.checks.subjects import our_caches, usable_settings
from django_callcache.conf import UNSET, PrefixRule, parameters_of
from django_callcache.ttl import HeuristicFreshness, make_policy


def check_bounds(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """The bounds of the policies that learn leave room between them."""
    settings = usable_settings()
    if settings is not None and settings.ttl.min_ttl > settings.ttl.max_ttl:
        yield checks.Error(
            f'CALLCACHE["TTL"] has a MIN_TTL of {settings.ttl.min_ttl:g} s, above MAX_TTL, '
            f"{settings.ttl.max_ttl:g} s.",
            hint="Exchange them.",
            id="callcache.E030",
        )


def check_rules(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """What a rule says of learning has something to act on."""
    settings = usable_settings()
    if settings is None:
        return
    for cache in our_caches():
        for rule in cache.options.rules:
            where = f'CACHES["{cache.alias}"], RULES["{rule.prefix}"]'
            spec = cache.options.stated_timeout if rule.ttl is UNSET else rule.ttl
            policy = make_policy("peak-hour" if spec is UNSET else spec, parameters_of(settings.ttl, rule))
            if policy.name == HeuristicFreshness.name and rule.updated_at is None:
                yield checks.Warning(
                    f"{where} has the TTL policy 'heuristic-freshness', which goes by the age of rows, "
                    "and no 'updated_at': the hour decides instead.",
                    hint="Name the item or attribute of the values that says when their row changed.",
                    id="callcache.W030",
                )
            if not policy.learns and (idle := _idle_fields(rule)):
                yield checks.Warning(
                    f"{where} has {idle}, which the TTL policy {policy.name!r} does not use.",
                    hint="Remove it, or choose 'adaptive'.",
                    id="callcache.W031",
                )


def _idle_fields(rule: PrefixRule) -> str:
    names = ("eta", "max_ttl", "updated_at", "stale_target")
    return " and ".join(repr(name) for name in names if getattr(rule, name) is not None)
