"""The caches of the site, as far as the pages can serve them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

from django.core.cache import caches
from django.utils.module_loading import import_string

from django_callcache.admin.access import may_access
from django_callcache.cache import CallCache
from django_callcache.conf import get_settings


@dataclass(frozen=True, slots=True)
class Alias:
    """A key of ``CACHES``."""

    name: str
    backend: str
    """Dotted path of the backend's class."""
    is_ours: bool
    """Whether it counts, and so has pages; a cache of another backend is only listed."""

    @property
    def cache(self) -> CallCache:
        """The cache itself, of this thread."""
        return cast("CallCache", caches[self.name])


def aliases_of(user: Any) -> tuple[Alias, ...]:
    """Return the caches that a user may see, ours first."""
    found = [
        Alias(name, str(stated.get("BACKEND", "")), is_callcache(str(stated.get("BACKEND", ""))))
        for name, stated in caches.settings.items()
        if may_access(user, name)
    ]
    return tuple(sorted(found, key=lambda alias: not alias.is_ours))


def chosen(aliases: tuple[Alias, ...], name: str | None) -> Alias | None:
    """Return the cache of ours that an address names, else the first."""
    ours = [alias for alias in aliases if alias.is_ours]
    return next((alias for alias in ours if alias.name == name), ours[0] if ours else None)


def is_callcache(backend: str) -> bool:
    """Tell whether the dotted path of a backend leads to ours or to a subclass."""
    try:
        return issubclass(import_string(backend), CallCache)
    except (ImportError, TypeError):
        return False


def is_denied(key: str) -> bool:
    """Tell whether ``ADMIN["KEY_DENY"]`` keeps a key from being shown."""
    return any(fnmatchcase(key, pattern) for pattern in get_settings().admin.key_deny)
