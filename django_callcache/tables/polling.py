"""Tables that are polled: which rows changed, by the column that says when.

A transaction that ends late writes a moment that is past by then. So each look begins some time before the
latest change that was seen, and rows that were seen with the same moment are passed over. Rows that were
deleted are not seen at all.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

from django_callcache.conf import TableSource
from django_callcache.exceptions import RemoteRefused
from django_callcache.redis_keys import RedisKeys
from django_callcache.sync.tables import SourceTables, Stamp

EVER = "-infinity"
"""Before every moment, for PostgreSQL."""

MOST_KNOWN = 50_000
"""Rows that are remembered between two looks; where more changed, some entries go once more."""


class Poll:
    """One table, and how far it was followed.

    Args:
        redis: Blocking client of the cache's Redis.
        keys: Names of the alias's internal keys.
        source: The table and the column that says when.
        overlap: Seconds before the latest change to look at again.
    """

    def __init__(self, redis: Any, keys: RedisKeys, source: TableSource, overlap: float) -> None:
        self._redis = redis
        self._source = source
        self._overlap = datetime.timedelta(seconds=overlap)
        self._name = f"{source.full_name}.{source.by}.{source.changed_at}"
        self._state, self._rows = keys.followed(), keys.polled(self._name)
        found = redis.hget(self._state, self._name)
        self._latest = EVER if found is None else found.decode()
        self._known: dict[str, str] = {}
        self.is_begun = found is not None
        """Whether there was a look before."""

    def begin(self, store: SourceTables) -> None:
        """Look at what is there: only changes from now on are told."""
        latest = store.latest_change(self._source)
        self._latest = EVER if latest is None else latest.changed_at

    def pages(self, store: SourceTables, may_go_on: Callable[[], bool]) -> Iterator[list[str]]:
        """Yield which rows changed, a page at a time; `save` after each what was done with it."""
        before = {name.decode(): at.decode() for name, at in self._redis.hgetall(self._rows).items()}
        since = self._since()
        self._known = {name: at for name, at in before.items() if self._is_recent(at, since)}
        after: Stamp | None = None
        while may_go_on():
            page = store.changed_since(self._source, since, after)
            if not page:
                return
            after = page[-1]
            changed = [stamp.name for stamp in page if before.get(stamp.name) != stamp.changed_at]
            self._latest = after.changed_at
            self._known.update((stamp.name, stamp.changed_at) for stamp in page)
            yield changed

    def save(self) -> None:
        """Keep how far it is. Cut off in between, the next look sees some rows once more."""
        since = self._since()
        self._known = {name: at for name, at in self._known.items() if self._is_recent(at, since)}
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hset(self._state, self._name, self._latest)
            pipeline.delete(self._rows)
            if self._known:
                pipeline.hset(self._rows, mapping=self._known)
            pipeline.execute()

    def _since(self) -> str:
        """Where the next look begins. A row from the future must not hide the present."""
        if self._latest == EVER:
            return EVER
        latest = self._moment(self._latest)
        if latest.tzinfo is not None:
            latest = min(latest, datetime.datetime.now(latest.tzinfo))
        try:
            return (latest - self._overlap).isoformat()
        except OverflowError:
            return EVER

    def _is_recent(self, at: str, since: str) -> bool:
        return since == EVER or self._moment(at) >= self._moment(since)

    def _moment(self, text: str) -> datetime.datetime:
        try:
            return datetime.datetime.fromisoformat(text)
        except ValueError:
            pass
        raise RemoteRefused(
            f"{self._source.full_name}.{self._source.changed_at} holds {text!r}, which is no moment"
        )
