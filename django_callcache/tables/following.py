"""Entries follow the tables that they come from: what changed there is deleted here, or read anew.

Tables with triggers tell of each change in a feed; others are polled by the column that says when a row
changed. A cursor is kept after what came before it was done, so that whoever dies in between does it again,
which changes nothing. Where changes may have been missed, all entries of the prefixes concerned go.

Deleting an entry voids the loads of it that are under way: none that read the row as it was is stored after.
"""

from __future__ import annotations

import logging
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from django.core.cache.backends.base import CacheKeyWarning, InvalidCacheKey
from django.core.exceptions import ImproperlyConfigured

from django_callcache.cache.backend import CallCache
from django_callcache.conf import StatedSource, TableSource, stated_sources
from django_callcache.exceptions import SyncError
from django_callcache.replication.environments import ensure_own_redis
from django_callcache.sync.rest import ensure_rested, rest
from django_callcache.sync.tables import Change, SourceTables
from django_callcache.tables.polling import Poll

logger = logging.getLogger(__name__)

Stated = StatedSource[TableSource]

GARBAGE_SECONDS = 600
"""Pause between two removals of old changes, which are bounded in size."""

FEED = "feed"
"""Where the cursor of the feed lies among those of tables that are polled."""


@dataclass(slots=True)
class Followed:
    """What became of the changes of tables."""

    changes: int = 0
    """Changes that were heard of."""
    deleted: int = 0
    """Entries that were deleted."""
    refetched: int = 0
    """Entries among them that were read anew at once."""
    resets: int = 0
    """Prefixes whose entries all went, since changes may have been missed."""
    errors: list[SyncError] = field(default_factory=list)
    """What the remote store did not do. One table that fails keeps no other from its turn."""


def sources_of(cache: CallCache) -> list[Stated]:
    """Return the tables that rules of a cache name."""
    return [each for each in stated_sources(TableSource) if each.name == cache.alias]


def needs_schema(cache: CallCache) -> bool:
    """Tell whether the remote store must have our own schema: not where tables are polled, and no more."""
    stated = sources_of(cache)
    is_synced = any(rule.sync for rule in cache.options.rules)
    return is_synced or not stated or any(each.source.changed_at is None for each in stated)


def follow(cache: CallCache, remote: object, may_go_on: Callable[[], bool] = lambda: True) -> Followed:
    """Let the entries of a cache follow the tables that its rules name.

    Args:
        cache: The cache.
        remote: Its remote store.
        may_go_on: Asked before each page; False ends the work. What was done so far is kept.

    Raises:
        ImproperlyConfigured: The remote store has no tables.
        WrongEnvironment: The Redis is another environment's.
        RemoteUnavailable: The remote store has asked for a rest, which is not over.
        redis.RedisError: Redis does not answer. What was not done is done the next time.
    """
    stated = sources_of(cache)
    if not stated:
        return Followed()
    if not hasattr(remote, "read_rows"):
        raise ImproperlyConfigured(f"A rule has a table as source, and {remote!r} reads no tables")
    store = cast("SourceTables", remote)
    ensure_own_redis(cache)
    ensure_rested(cache.redis_client(), cache.redis_keys)
    done = Following(cache, store, may_go_on).run()
    for error in done.errors:
        rest(cache.redis_client(), cache.redis_keys, error)
    is_fed = any(each.source.changed_at is None for each in stated)
    if is_fed and not done.errors:
        _remove_old(cache, store)
    return done


def _remove_old(cache: CallCache, store: SourceTables) -> None:
    """Let the remote store remove old changes, once in a while; it does no harm to be late."""
    if not cache.redis_client().set(cache.redis_keys.old_changes(), "1", nx=True, ex=GARBAGE_SECONDS):
        return
    try:
        removed = store.collect_changes()
    except SyncError as error:
        logger.warning("old changes stay alias=%s error=%s", cache.alias, error)
    else:
        logger.debug("old changes alias=%s removed=%d", cache.alias, removed)


class Following:
    """One look at what has changed since the last.

    Args:
        cache: Whose entries follow.
        store: Where the tables are.
        may_go_on: Asked before each page; False ends the work. What was done so far is kept.
    """

    def __init__(
        self, cache: CallCache, store: SourceTables, may_go_on: Callable[[], bool] = lambda: True
    ) -> None:
        self._cache = cache
        self._store = store
        self._may_go_on = may_go_on
        self._redis: Any = cache.redis_client()
        self._done = Followed()

    def run(self) -> Followed:
        """Do what changes ask for.

        Raises:
            redis.RedisError: Redis does not answer. What was not done is done the next time.
        """
        fed: list[Stated] = []
        polled: dict[tuple[str, ...], list[Stated]] = defaultdict(list)
        for each in sources_of(self._cache):
            source = each.source
            if source.changed_at is None:
                fed.append(each)
            else:
                polled[source.full_name, source.by, source.changed_at].append(each)
        parts = [partial(self._follow_feed, fed)] if fed else []
        parts += [partial(self._follow_poll, group) for group in polled.values()]
        for part in parts:
            try:
                part()
            except SyncError as error:
                self._done.errors.append(error)
        return self._done

    def _follow_feed(self, stated: Sequence[Stated]) -> None:
        state = self._cache.redis_keys.followed()
        cursor = (self._redis.hget(state, FEED) or b"").decode() or None
        while self._may_go_on():
            feed = self._store.feed(cursor)
            if feed.reset:
                # The new cursor first: what changes from now on is heard of.
                feed = self._store.feed(None)
                self._forget(stated)
            for each in stated:
                self._take(each, feed.changes)
            self._done.changes += len(feed.changes)
            cursor = feed.cursor
            self._redis.hset(state, FEED, cursor)
            if not feed.more:
                return

    def _take(self, stated: Stated, changes: Iterable[Change]) -> None:
        own = [change for change in changes if change.table == stated.source.full_name]
        if any(change.kind == "T" for change in own):
            self._done.deleted += self._cache.delete_prefix(stated.prefix)
        self._renew(stated, (each.name for each in own if each.by == stated.source.by and each.kind != "T"))

    def _follow_poll(self, stated: Sequence[Stated]) -> None:
        overlap = max(each.source.overlap for each in stated)
        poll = Poll(self._redis, self._cache.redis_keys, stated[0].source, overlap)
        if not poll.is_begun:
            poll.begin(self._store)
            self._forget(stated)
            poll.save()
            return
        for names in poll.pages(self._store, self._may_go_on):
            self._done.changes += len(names)
            for each in stated:
                self._renew(each, names)
            poll.save()

    def _forget(self, stated: Sequence[Stated]) -> None:
        """Delete all that came from some tables."""
        self._done.resets += len(stated)
        for each in stated:
            self._done.deleted += self._cache.delete_prefix(each.prefix)

    def _renew(self, stated: Stated, names: Iterable[str]) -> None:
        """Delete entries of rows that changed; where the rule says so, read those anew that were there."""
        keys = list(filter(self._can_be, (stated.prefix + name for name in dict.fromkeys(names))))
        if not keys:
            return
        present = self._present(keys) if stated.source.on_change == "refetch" else []
        self._done.deleted += self._cache.delete_many(keys, polled=True) or 0
        if present:
            try:
                self._done.refetched += len(self._cache.load_many(present))
            except SyncError as error:  # they are read when somebody asks for them
                logger.warning("refetch=failed prefix=%s error=%s", stated.prefix, error)

    def _present(self, keys: Sequence[str]) -> list[str]:
        """Return the keys that have a value, without counting it as read."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.exists(self._cache.redis_key(key))
            return [key for key, exists in zip(keys, pipeline.execute(), strict=True) if exists]

    def _can_be(self, key: str) -> bool:
        """Tell whether the cache takes a key."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CacheKeyWarning)  # who loads it is warned
                return bool(self._cache.redis_key(key))
        except InvalidCacheKey:
            return False
