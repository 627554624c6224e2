"""Whose Redis and whose rows these are: environments that meet by mistake are refused, not merged.

An environment is known by its namespace and its secrets. The first pass leaves a mark in Redis and one at the
namespace in the remote store; a pass that finds another one's does nothing. So staging with a copy of
production's settings, but with secrets of its own, touches nothing of production's. Several Redis servers of
one environment share its mark.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from django_callcache.cache.backend import CallCache
from django_callcache.conf import get_settings
from django_callcache.exceptions import WrongEnvironment
from django_callcache.replication.remotes import namespace_of
from django_callcache.sync.remote import RemoteStore

CURE = (
    "Correct the settings; or, where this environment is to have it from now on, run once "
    "`manage.py runcachesync --once --take-over`"
)


def ensure_own(cache: CallCache, remote: RemoteStore, *, take_over: bool = False) -> None:
    """See that the cache's Redis and its namespace are this environment's; those of nobody become so.

    Args:
        cache: Which.
        remote: Its remote store.
        take_over: Make them this environment's, whoever had them.

    Raises:
        WrongEnvironment: One of them is another environment's.
        SyncError: The remote store cannot be asked.
    """
    ensure_own_redis(cache, take_over=take_over)
    namespace = namespace_of(cache)
    marks = marks_of(namespace)
    if remote.claim(namespace, marks, take_over=take_over) not in marks:
        raise WrongEnvironment(
            f"The namespace {namespace!r} in the remote store belongs to an environment with other secrets. "
            + CURE
        )


def ensure_own_redis(cache: CallCache, *, take_over: bool = False) -> None:
    """The same for the cache's Redis alone.

    Raises:
        WrongEnvironment: It is another environment's.
    """
    namespace = namespace_of(cache)
    marks = marks_of(namespace)
    client: Any = cache.redis_client()
    name, ours = cache.redis_keys.environment(), f"{marks[0]} {namespace}"
    client.set(name, ours, nx=not take_over)
    found = client.get(name).decode()
    mark, _, owner = found.partition(" ")
    if owner != namespace or mark not in marks:
        other = (
            f"to the namespace {owner!r}" if owner != namespace else "to an environment with other secrets"
        )
        raise WrongEnvironment(
            f"This Redis database, with this KEY_PREFIX, belongs {other}, not to {namespace!r}. {CURE}"
        )
    if found != ours:  # known by a secret that has been replaced since
        client.set(name, ours)


def marks_of(namespace: str) -> list[str]:
    """Return by what this environment is known: a mark for each of its secrets, the present one first."""
    return [
        blake2b(
            namespace.encode(),
            key=blake2b(secret.encode()).digest(),
            digest_size=16,
            person=b"cc-environment",
        ).hexdigest()
        for secret in get_settings().secrets
    ]
