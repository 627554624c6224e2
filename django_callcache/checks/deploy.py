"""Checks that matter in production only: what others can read, and what a new key costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from django.core import checks

from django_callcache.checks.subjects import THIS_MACHINE, Cache, our_caches, states, usable_settings


def check_transport(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """What crosses a network is encrypted, and the server asks who is there."""
    for cache in our_caches():
        where = f'CACHES["{cache.alias}"]'
        away = [server for server in cache.servers if server.is_away]
        for host in dict.fromkeys(server.host for server in away if not server.is_encrypted):
            yield checks.Warning(
                f"{where} reaches {host} without TLS: values and the password cross the network in clear.",
                hint="Use rediss://, or silence this where the network is private.",
                id="callcache.W101",
            )
        for host in dict.fromkeys(server.host for server in away if not server.has_password):
            yield checks.Warning(
                f"{where} reaches {host} without a password.",
                hint='Set a password in Redis, and state it as OPTIONS["PASSWORD"] or REDIS_PASSWORD.',
                id="callcache.W102",
            )
        for host in dict.fromkeys(server.host for server in away if server.trusts_anybody):
            yield checks.Warning(
                f"{where} reaches {host} by TLS without checking its certificate.",
                hint="Remove ssl_cert_reqs=none, and name the authority by ssl_ca_certs.",
                id="callcache.W103",
            )


def check_legacy(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """Values that nobody has sealed are read during a change of backend, and not for ever."""
    for cache in our_caches():
        if cache.options.read_legacy == "pickle":
            yield checks.Warning(
                f'CACHES["{cache.alias}"] has READ_LEGACY "pickle": who writes to Redis can run code here.',
                hint="Once the entries of the other backend have ended, or `manage.py callcache_rotate` has "
                "sealed them, remove READ_LEGACY and WRITE_LEGACY.",
                id="callcache.W107",
            )
        elif cache.options.read_legacy is not None:
            yield checks.Info(
                f'CACHES["{cache.alias}"] has READ_LEGACY: values are read that nobody has sealed.',
                hint="Remove it once the entries of the other backend have ended.",
                id="callcache.I102",
            )


def check_addresses(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """No password stands where Django's error pages and mails show it."""
    for cache in our_caches():
        if any(
            "@" in address and ":" in address.rpartition("@")[0].rpartition("//")[2]
            for address in _addresses(cache)
        ):
            yield checks.Warning(
                f'CACHES["{cache.alias}"]["LOCATION"] holds a password: error pages and mails show it.',
                hint='State it as OPTIONS["PASSWORD"], which they hide, or read REDIS_URL by '
                "django_callcache.conf.from_environment, which puts it there.",
                id="callcache.W106",
            )


def _addresses(cache: Cache) -> Iterable[str]:
    location = cache.params.get("LOCATION", "")
    return map(str, location) if isinstance(location, list | tuple | set) else str(location).split(",")


def check_supabase_transport(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """The service key of Supabase does not cross a network in clear."""
    settings = usable_settings()
    if settings is None or not settings.sync.supabase_url.startswith("http://"):
        return
    if urlsplit(settings.sync.supabase_url).hostname not in THIS_MACHINE:
        yield checks.Warning(
            'CALLCACHE["SYNC"]["SUPABASE_URL"] is without TLS: the service key crosses the network in clear.',
            hint="Use https://.",
            id="callcache.W104",
        )


def check_secrets(**kwargs: Any) -> Iterator[checks.CheckMessage]:
    """Nobody is surprised by a cold cache after SECRET_KEY changed."""
    if states("SECRETS") or not our_caches():
        return
    for cache in our_caches():
        prefixes = ", ".join(f'"{rule.prefix}"' for rule in cache.options.rules if rule.sensitive)
        if prefixes:
            yield checks.Warning(
                f'CACHES["{cache.alias}"] encrypts {prefixes} with a key made of SECRET_KEY, which more '
                "people and programs know than need to read these values.",
                hint='Set CALLCACHE["SECRETS"] to a secret of its own.',
                id="callcache.W105",
            )
    yield checks.Info(
        "Cached values are sealed with SECRET_KEY: once it changes, all of them are misses.",
        hint='Keep the old key in SECRET_KEY_FALLBACKS for a while, or set CALLCACHE["SECRETS"].',
        id="callcache.I101",
    )
