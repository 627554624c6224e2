"""The cache of a process of its own, which has no test's settings."""

from __future__ import annotations


def set_up(url, options, app=None):
    """Configure Django with one alias, its ``OPTIONS`` and ``CALLCACHE`` as told; return its cache."""
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="of processes that share a cache",
        CACHES={
            "default": {
                "BACKEND": "django_callcache.cache.CallCache",
                "LOCATION": url,
                "KEY_PREFIX": "t",
                "OPTIONS": {"CALLCACHE": options},
            }
        },
        CALLCACHE=app or {},
    )
    django.setup()
    from django.core.cache import caches

    return caches["default"]
