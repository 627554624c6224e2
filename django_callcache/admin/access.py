"""Who may do what: permissions by power, caches by rule, and the read-only switch."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, cast

from django.utils.module_loading import import_string

from django_callcache.conf import get_settings


class Power(StrEnum):
    """Permissions, by what they allow."""

    VIEW_DASHBOARD = "django_callcache.view_dashboard"
    VIEW_KEYS = "django_callcache.view_keys"
    VIEW_VALUES = "django_callcache.view_values"
    DELETE_KEYS = "django_callcache.delete_keys"
    CLEAR_CACHE = "django_callcache.clear_cache"
    CHANGE_TTL = "django_callcache.change_ttl"
    RUN_SYNC = "django_callcache.run_sync"
    MANAGE_ALERTS = "django_callcache.manage_alerts"


CLEARING = (Power.DELETE_KEYS, Power.CLEAR_CACHE)
"""Either of them opens the page that clears; the scope decides which one is needed."""


def may(user: Any, *powers: Power) -> bool:
    """Tell whether a user has one of some permissions."""
    return any(user.has_perm(power) for power in powers)


def may_access(user: Any, alias: str) -> bool:
    """Tell whether the rule of ``ADMIN["CAN_ACCESS_ALIAS"]`` lets a user see a cache."""
    rule = get_settings().admin.can_access_alias
    if rule is None:
        return True
    if isinstance(rule, str):
        rule = cast("Callable[[Any, str], bool]", import_string(rule))
    return bool(rule(user, alias))


def may_decide_ttl(user: Any) -> bool:
    """Tell whether a user may pin TTLs and pause what adapts."""
    return not is_read_only() and may(user, Power.CHANGE_TTL)


def is_read_only() -> bool:
    """Tell whether the pages refuse everything that changes a cache, whoever asks."""
    return get_settings().admin.read_only
