"""Checks of what changes of models make stale, and of models that records come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from django_callcache.checks.subjects import our_caches, usable_settings
from django_callcache.conf import InvalidationRule, TableSource
from django_callcache.orm.rules import find_model, require_cache, require_columns
from django_callcache.orm.sources import ModelLoader


def check_models(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """The models and columns that rules name are there."""
    for rule in _stated_rules():
        try:
            require_columns(find_model(rule.model), rule)
        except ImproperlyConfigured as error:
            yield checks.Error(
                f'CALLCACHE["INVALIDATE"]["{rule.model}"]: {error}',
                hint="Until it is mended the rule has no effect.",
                id="callcache.E020",
            )


def check_caches(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """The caches that rules name are there, and rules delete nothing that they should not."""
    ours = {cache.alias: cache for cache in our_caches()}
    for rule in _stated_rules():
        where = f'CALLCACHE["INVALIDATE"]["{rule.model}"]'
        try:
            require_cache(rule.alias)
        except ImproperlyConfigured as error:
            yield checks.Error(f"{where}: {error}", id="callcache.E021")
            continue
        if rule.alias not in ours:
            if rule.tags or rule.prefixes:
                yield checks.Error(
                    f"{where} has tags or prefixes, which the backend of {rule.alias!r} does not know.",
                    hint="Give keys, or name a cache of this backend.",
                    id="callcache.E022",
                )
            continue
        synced = tuple(each.prefix for each in ours[rule.alias].options.rules if each.sync is not None)
        for template in (*rule.keys, *rule.prefixes):
            if template.literal.startswith(synced):
                yield checks.Error(
                    f"{where} deletes {template.text!r}, whose prefix has sync: so would the remote store.",
                    hint="Write the new record where the row is saved, or take sync from the prefix.",
                    id="callcache.E023",
                )


def check_sources(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """Records can be read from where rules say that they come from."""
    for cache in our_caches():
        for rule in cache.options.rules:
            if rule.source is None:
                continue
            where = f'CACHES["{cache.alias}"]["OPTIONS"]["CALLCACHE"]["RULES"]["{rule.prefix}"]'
            if rule.sync is not None:
                yield checks.Error(
                    f"{where} has sync and source: its entries would have two origins.",
                    hint="Keep source where rows are the records, else sync.",
                    id="callcache.E024",
                )
            if isinstance(rule.source, TableSource):
                continue
            try:
                ModelLoader(rule.source).require_record()
            except ImproperlyConfigured as error:
                yield checks.Error(
                    f"{where}: source: {error}",
                    hint="Until it is mended, load() knows no record of the prefix.",
                    id="callcache.E025",
                )


def _stated_rules() -> tuple[InvalidationRule, ...]:
    settings = usable_settings()
    return () if settings is None else settings.invalidate
