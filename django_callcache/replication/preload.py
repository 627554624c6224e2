"""Preload of a cache: what is read most comes from the source of its prefix, or from the remote store.

Nothing is written over: neither a value that is there, nor what somebody writes meanwhile.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.utils import timezone

from django_callcache.cache.backend import CallCache
from django_callcache.cache.loading import sources
from django_callcache.conf import get_settings
from django_callcache.outbox.replica import Replica
from django_callcache.replication.environments import ensure_own
from django_callcache.replication.remotes import namespace_of
from django_callcache.replication.values import CacheValues
from django_callcache.sync.conflicts import write_of
from django_callcache.sync.remote import RemoteStore
from django_callcache.warm import Warmed, hottest, warm


class Preload:
    """Loads keys of one cache.

    Args:
        cache: Where to.
        remote: Where keys of prefixes with ``sync`` come from; None: they are left out.
    """

    def __init__(self, cache: CallCache, remote: RemoteStore | None) -> None:
        self._cache = cache
        self._remote = remote
        self._is_ours = False

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What keys begin with that can be loaded."""
        synced = (rule.prefix for rule in self._cache.options.rules if rule.sync is not None)
        loaded = sources.prefixes(self._cache.alias)
        return tuple(dict.fromkeys((*loaded, *(synced if self._remote is not None else ()))))

    def hottest(self, prefixes: Sequence[str], top: int, days: int) -> list[str]:
        """The keys that were read most in the last days, the most read first, of those that can be loaded."""
        since = timezone.now() - datetime.timedelta(days=days)
        return hottest(self._cache.alias, prefixes, top, since)

    def load_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Load what the cache lacks; return the keys that have a record.

        Raises:
            SyncError: The remote store does not answer, or refuses us.
            Exception: What a loader raises.
        """
        keys = list(keys)
        synced = [key for key in keys if self._is_synced(key)]
        others = [key for key in keys if sources.find(self._cache.alias, key) and not self._is_synced(key)]
        found = dict(self._cache.load_many(others))
        if synced and self._remote is not None:
            found |= self._fetch(synced, self._remote)
        return found

    def _is_synced(self, key: str) -> bool:
        rule = self._cache.rule_for(key)
        return rule is not None and rule.sync is not None

    def _fetch(self, keys: Sequence[str], remote: RemoteStore) -> dict[str, Any]:
        """Take what the remote store has of some keys; nothing of it is marked as a change of this side."""
        if not self._is_ours:
            ensure_own(self._cache, remote)
            self._is_ours = True
        values = CacheValues(self._cache)
        key_of = {self._cache.remote_key_of(self._cache.redis_key(key)): key for key in keys}
        names = [name for name in key_of if name is not None]
        found: dict[str, Any] = {}
        writes = []
        for row in remote.fetch(namespace_of(self._cache), names):
            place = values.place_of(row.key)
            if place is None or row.deleted or (row.ttl_ms is not None and row.ttl_ms <= 0):
                continue
            write = write_of(row, place, values, trust="absent")
            if write.blob is not None:
                writes.append(write)
                found[key_of[row.key]] = True
        replica = Replica(self._cache.redis_client(), self._cache.redis_keys)
        applied = replica.apply(writes)
        values.announce(
            [write.redis_key for write, what in zip(writes, applied, strict=True) if what.outcome == "taken"]
        )
        return found


def preload(
    cache: CallCache, remote: RemoteStore | None, may_go_on: Callable[[], bool] = lambda: True
) -> Warmed | None:
    """Load what the settings say that the loop loads when it starts; None: nothing.

    Args:
        cache: Where to.
        remote: Its remote store, if there is one.
        may_go_on: Asked before each chunk; False ends the work.
    """
    settings = get_settings().preload
    work = Preload(cache, remote)
    if not settings.top or not work.prefixes:
        return None
    keys = work.hottest(work.prefixes, settings.top, settings.days)
    return warm(work, keys, settings.chunk, may_go_on=may_go_on)
