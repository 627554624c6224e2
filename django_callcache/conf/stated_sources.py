"""The sources that rules name, of every cache in ``CACHES``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from django_callcache.conf.cache_options import parse_cache_options
from django_callcache.conf.sources import ModelSource, TableSource

Kind = TypeVar("Kind", ModelSource, TableSource)


class StatedSource(NamedTuple, Generic[Kind]):
    """Where a rule says that the records of a prefix come from."""

    alias: str
    """The cache, by its alias in ``CACHES``."""
    name: str
    """The cache, as statistics and loaders know it."""
    prefix: str
    source: Kind


def stated_sources(kind: type[Kind]) -> Iterator[StatedSource[Kind]]:
    """Sources of one kind, as far as settings can be read."""
    for alias, params in django_settings.CACHES.items():
        if not (params.get("OPTIONS") or {}).get("CALLCACHE"):
            continue
        try:
            options = parse_cache_options(params, alias=alias)
        except ImproperlyConfigured:
            continue  # a system check reports it
        for rule in options.rules:
            if isinstance(rule.source, kind):
                yield StatedSource(alias, options.alias or alias, rule.prefix, rule.source)
