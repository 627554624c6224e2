"""From settings and rules to what TTL policies are tuned with."""

from __future__ import annotations

from dataclasses import replace

from django_callcache.conf.app_settings import TtlSettings
from django_callcache.conf.cache_options import PrefixRule
from django_callcache.ttl import TtlParameters


def parameters_of(settings: TtlSettings, rule: PrefixRule | None) -> TtlParameters:
    """The parameters that hold for a rule's keys; without a rule, the settings'."""
    parameters = settings.parameters
    if rule is not None and rule.eta is not None:
        parameters = replace(parameters, eta=rule.eta)
    if rule is not None and rule.max_ttl is not None:
        longest = rule.max_ttl
        parameters = replace(parameters, max_ttl=longest, min_ttl=min(parameters.min_ttl, longest))
    return parameters
