"""What a pass would do, without doing it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from django_callcache.cache.backend import CallCache
from django_callcache.conf import get_settings
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.outbox.replica import Replica
from django_callcache.replication.remotes import namespace_of
from django_callcache.replication.values import CacheValues, key_of
from django_callcache.sync.remote import RemoteStore


@dataclass(slots=True, kw_only=True)
class Preview:
    """Numbers of a pass that was not run."""

    push: int = 0
    """Entries that would be pushed, deletions included."""
    delete: int = 0
    """Deletions among them."""
    push_bytes: int = 0
    by_prefix: dict[str, int] = field(default_factory=dict)
    """Entries to push by the prefix of their rule."""
    oldest_seconds: float = 0.0
    pull: int = 0
    """Rows that would be taken, or would meet a local write."""
    refuse: int = 0
    """Rows of keys that this cache does not sync."""
    reset: bool = False
    """Whether everything would be pulled anew; rows are those of the whole namespace then."""
    is_complete: bool = True
    """Whether all was looked at; else the numbers are the least that they can be."""


def preview(
    cache: CallCache,
    remote: RemoteStore,
    prefix: str | None = None,
    may_go_on: Callable[[], bool] = lambda: True,
) -> Preview:
    """Look at the outbox and at the changes of the remote store; change nothing on either side.

    Args:
        cache: Which.
        remote: Its remote store.
        prefix: Count no other keys to push than those that begin with it.
        may_go_on: Asked between entries and pages; False ends the look.

    Raises:
        SyncError: The remote store cannot be read.
    """
    found = Preview()
    _look_up(found, cache, prefix, may_go_on)
    _look_down(found, cache, remote, may_go_on)
    return found


def _look_up(found: Preview, cache: CallCache, prefix: str | None, may_go_on: Callable[[], bool]) -> None:
    outbox = DirtyEntries(cache.redis_client(), cache.redis_keys)
    by_prefix = Counter[str]()
    for entry in outbox.entries():
        if not may_go_on():
            found.is_complete = False
            break
        key = key_of(entry)
        if prefix is None or key.startswith(prefix):
            found.push += 1
            found.delete += entry.deleted
            found.push_bytes += len(entry.blob)
            found.oldest_seconds = max(found.oldest_seconds, time.time() - entry.version / 1e6)
            by_prefix[cache.prefix_of(key)] += 1
    found.by_prefix = dict(by_prefix.most_common())


def _look_down(found: Preview, cache: CallCache, remote: RemoteStore, may_go_on: Callable[[], bool]) -> None:
    replica, values = Replica(cache.redis_client(), cache.redis_keys), CacheValues(cache)
    namespace, batch = namespace_of(cache), get_settings().sync.batch
    cursor = replica.cursor(namespace)
    after, epoch = (0, None) if cursor is None else (cursor.seq, cursor.epoch)
    found.reset = cursor is None or bool(cursor.reset_at)
    while True:
        page = remote.pull(namespace, after, batch, epoch)
        if page.reset and after:
            found.reset, after, epoch = True, 0, page.epoch
            continue
        placed = [(row, place) for row in page.rows if (place := values.place_of(row.key)) is not None]
        found.refuse += len(page.rows) - len(placed)
        known = replica.known([place.redis_key for _, place in placed])
        found.pull += sum((row.remote_version or 0) > rv for (row, _), rv in zip(placed, known, strict=True))
        if not page.more:
            return
        if not may_go_on():
            found.is_complete = False
            return
        after, epoch = page.next, page.epoch
