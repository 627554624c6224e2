"""What an alias on a Redis Cluster cannot have."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from django_callcache.conf.cache_options import CacheOptions


def refuse_on_cluster(key_prefix: str, options: CacheOptions) -> None:
    """Refuse what has no meaning on a cluster.

    Raises:
        ImproperlyConfigured: The message says what replaces it.
    """
    if "{" in key_prefix or "}" in key_prefix:
        raise ImproperlyConfigured(
            f"KEY_PREFIX is {key_prefix!r}: on a Redis Cluster braces would choose the slot of every key. "
            "Choose a KEY_PREFIX without them."
        )
    if options.link == "per-key":
        raise ImproperlyConfigured(
            "LINK is 'per-key', which is not offered on a Redis Cluster. "
            "Leave it out: 'broadcast' is the default."
        )
