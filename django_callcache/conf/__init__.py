"""Configuration: frozen, typed, parsed once, from settings or from the environment.

``get_settings`` is what ``settings.CALLCACHE`` says, ``parse_cache_options`` what one alias in ``CACHES``
says, and ``from_environment`` makes both of environment variables.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from django_callcache.conf.alert_rules import AlertRule, AlertSettings, ChannelSettings
from django_callcache.conf.app_settings import (
    AdminSettings,
    MetricsSettings,
    PreloadSettings,
    RetentionSettings,
    Settings,
    StatsSettings,
    SyncSettings,
    TtlSettings,
    read_settings,
)
from django_callcache.conf.cache_options import (
    LONGEST_LOCK_TIMEOUT,
    CacheOptions,
    PrefixRule,
    parse_cache_options,
)
from django_callcache.conf.cluster import refuse_on_cluster
from django_callcache.conf.environment import Environment, from_environment
from django_callcache.conf.invalidation_rules import InvalidationRule
from django_callcache.conf.parsing import UNSET, Unset
from django_callcache.conf.redis_urls import as_redis_url, is_cluster, nodes_of_cluster
from django_callcache.conf.sources import ModelSource, TableSource
from django_callcache.conf.stated_sources import StatedSource, stated_sources
from django_callcache.conf.ttl_parameters import parameters_of

__all__ = [
    "LONGEST_LOCK_TIMEOUT",
    "SOURCES",
    "UNSET",
    "AdminSettings",
    "AlertRule",
    "AlertSettings",
    "CacheOptions",
    "ChannelSettings",
    "Environment",
    "InvalidationRule",
    "MetricsSettings",
    "ModelSource",
    "PrefixRule",
    "PreloadSettings",
    "RetentionSettings",
    "Settings",
    "StatedSource",
    "StatsSettings",
    "SyncSettings",
    "TableSource",
    "TtlSettings",
    "Unset",
    "as_redis_url",
    "from_environment",
    "get_settings",
    "is_cluster",
    "nodes_of_cluster",
    "parameters_of",
    "parse_cache_options",
    "refuse_on_cluster",
    "stated_sources",
]

SOURCES = frozenset({"CALLCACHE", "CACHES", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "TIME_ZONE"})
"""Django's settings that ours are made of."""


@cache
def get_settings() -> Settings:
    """Return the settings of the whole app, parsed on the first call.

    Raises:
        ImproperlyConfigured: For an unknown name or a value that cannot be.
    """
    try:
        return read_settings()
    except ImproperlyConfigured as error:
        message = str(error)
    # Raised anew: error pages show the variables of every frame, and the parser's hold secrets.
    raise ImproperlyConfigured(message)


@receiver(setting_changed, dispatch_uid="django_callcache.conf")
def forget_settings(*, setting: str, **kwargs: Any) -> None:
    """Parse anew after a test has overridden a setting."""
    if setting in SOURCES:
        get_settings.cache_clear()
