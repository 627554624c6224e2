"""The process's environment, read once, when a settings module asks for it.

    environment = from_environment(key_prefix="crm", namespace="crm-production", rules={"call:": {"ttl": 60}})
    CACHES = environment.caches
    CALLCACHE = environment.callcache

Passwords leave the URL for names that Django's error pages hide. Every variable may be given as a file, by
its name and ``_FILE``, as the secrets of containers are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from environ import Env
from environ.fileaware_mapping import FileAwareMapping

from django_callcache.conf.parsing import Amount, Count, Seconds, read
from django_callcache.conf.redis_urls import RedisAddress, part_credentials, split_addresses

BACKEND = "django_callcache.cache.CallCache"

NUMBERS: dict[str, Any] = {
    "REDIS_CACHE_TTL": Seconds,
    "REDIS_MAX_CONNECTIONS": Count,
    "REDIS_POOL_TIMEOUT": Amount,
    "REDIS_SYNC_INTERVAL": Seconds,
}
DEFAULTS: dict[str, float] = {
    "REDIS_CACHE_TTL": 3600.0,
    "REDIS_MAX_CONNECTIONS": 10,
    "REDIS_POOL_TIMEOUT": 30.0,
    "REDIS_SYNC_INTERVAL": 300.0,
}
SETTINGS = {
    "REDIS_URL": 'CACHES[alias]["LOCATION"]',
    "REDIS_PASSWORD": 'CACHES[alias]["OPTIONS"]["PASSWORD"]',
    "REDIS_MAX_CONNECTIONS": "MAX_CONNECTIONS",
    "REDIS_POOL_TIMEOUT": "POOL_TIMEOUT",
    "REDIS_CACHE_TTL": "TTL.DEFAULT_TTL",
    "REDIS_SYNC_INTERVAL": "SYNC.INTERVAL",
    "SUPABASE_URL": "SYNC.SUPABASE_URL",
    "SUPABASE_KEY": "SYNC.SUPABASE_KEY",
}
"""Every variable that is read, and the setting that it becomes."""

SECRETS = frozenset({"REDIS_PASSWORD", "SUPABASE_KEY"})
FAMILIES = ("RED", "SUP")
"""How names begin that may be ours, misspelt."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Settings made of the environment, ready to be assigned in a settings module."""

    caches: dict[str, dict[str, Any]] = field(repr=False)
    """For ``CACHES``."""
    callcache: dict[str, dict[str, Any]] = field(repr=False)
    """For ``CALLCACHE``."""


def from_environment(
    environ: Mapping[str, str] | None = None,
    *,
    alias: str = "default",
    key_prefix: str = "",
    rules: Mapping[str, Mapping[str, Any]] | None = None,
    namespace: str = "",
) -> Environment:
    """Make ``CACHES`` and ``CALLCACHE`` of the environment.

    Args:
        environ: The variables; ``os.environ`` if left out.
        alias: Key of the cache in ``CACHES``.
        key_prefix: Its ``KEY_PREFIX``.
        rules: Its ``RULES``.
        namespace: ``SYNC["NAMESPACE"]``.

    Raises:
        ImproperlyConfigured: For a variable that is missing, empty, misspelt or wrong, and for two that
            contradict each other.
    """
    variables = _stated(os.environ if environ is None else environ)
    numbers = {
        name: read(kind, variables[name], name) if name in variables else DEFAULTS[name]
        for name, kind in NUMBERS.items()
    }
    location, options = _connection(variables)
    options["CALLCACHE"] = {
        "MAX_CONNECTIONS": numbers["REDIS_MAX_CONNECTIONS"],
        "POOL_TIMEOUT": numbers["REDIS_POOL_TIMEOUT"],
        "RULES": dict(rules or {}),
    }
    cache = {"BACKEND": BACKEND, "LOCATION": location, "KEY_PREFIX": key_prefix, "OPTIONS": options}
    sync = {"INTERVAL": numbers["REDIS_SYNC_INTERVAL"], "NAMESPACE": namespace, **_supabase(variables)}
    return Environment({alias: cache}, {"TTL": {"DEFAULT_TTL": numbers["REDIS_CACHE_TTL"]}, "SYNC": sync})


def _stated(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of ours that are stated, each one not empty."""
    source = FileAwareMapping(env=environ, cache=False)
    _refuse_misspelt(set(source))
    env = Env()
    env.ENVIRON = source
    return {name: _value(env, name) for name in SETTINGS if name in set(source)}


def _value(env: Env, name: str) -> str:
    try:
        # django-environ takes "$NAME" for another variable's value; a secret may begin with "$".
        value = str(env.ENVIRON[name] if name in SECRETS else env.str(name)).rstrip("\r\n")
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE cannot be read: {error.strerror}.") from error
    if not value.strip():
        raise ImproperlyConfigured(f"{name} is set but empty: give it a value or unset it.")
    return value


def _refuse_misspelt(names: set[str]) -> None:
    """Refuse a name that resembles one of ours, unless that one is there too."""
    missing = [known for known in SETTINGS if known not in names]
    for name in sorted(name for name in names if name.startswith(FAMILIES) and name not in SETTINGS):
        for known in missing:
            if edits(name, known) <= _tolerance(known):
                raise ImproperlyConfigured(f"{name} is set, which nothing reads: did you mean {known}?")


def _tolerance(name: str) -> int:
    """Edits within which another name is taken for this one; short endings resemble too much (SSL, URL)."""
    return max(1, len(name.partition("_")[2]) // 4)


def edits(one: str, other: str) -> int:
    """Count the insertions, deletions, substitutions and swaps of neighbours between two names.

    Optimal string alignment distance (F. J. Damerau, 1964).
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, target in enumerate(other, 1):
            cost = min(row[j - 1] + 1, before[j] + 1, before[j - 1] + (letter != target))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == target:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _connection(variables: Mapping[str, str]) -> tuple[str | list[str], dict[str, Any]]:
    """``LOCATION`` and the credentials among ``OPTIONS``."""
    if "REDIS_URL" not in variables:
        raise ImproperlyConfigured(
            "REDIS_URL is not set: give the server's address, as redis://127.0.0.1:6379/0."
        )
    addresses = [part_credentials(url, "REDIS_URL") for url in split_addresses(variables["REDIS_URL"])]
    names = {address.username for address in addresses}
    options = {
        "USERNAME": _only_one(names, "REDIS_URL has different user names"),
        "PASSWORD": _password(addresses, variables.get("REDIS_PASSWORD", "")),
    }
    urls = [address.url for address in addresses]
    return urls[0] if len(urls) == 1 else urls, {name: value for name, value in options.items() if value}


def _password(addresses: list[RedisAddress], password: str) -> str:
    inside = _only_one({address.password for address in addresses}, "REDIS_URL has different passwords")
    return _only_one({inside, password}, "REDIS_PASSWORD is not the password in REDIS_URL")


def _only_one(values: set[str], problem: str) -> str:
    stated = values - {""}
    if len(stated) > 1:
        raise ImproperlyConfigured(f"{problem}: state one of them, once.")
    return stated.pop() if stated else ""


def _supabase(variables: Mapping[str, str]) -> dict[str, str]:
    stated = {name: variables[name] for name in ("SUPABASE_URL", "SUPABASE_KEY") if name in variables}
    if len(stated) == 1:
        (there,) = stated
        (missing,) = {"SUPABASE_URL", "SUPABASE_KEY"} - {there}
        raise ImproperlyConfigured(f"{there} is set without {missing}: set both or none.")
    return {"REMOTE": "supabase", **stated} if stated else {}
