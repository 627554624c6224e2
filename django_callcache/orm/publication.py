"""What has become stale reaches the caches when its transaction commits, once for all of it.

Django forgets what a rolled back transaction or savepoint wanted done on its commit, and what is
held here goes with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

from django.core.cache import caches
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

KINDS = ("keys", "tags", "prefixes")


class Stale(NamedTuple):
    """One thing that a change made stale."""

    alias: str
    kind: str
    """One of `KINDS`."""
    text: str


class _Batch:
    """What one statement made stale.

    Args:
        stale: That.
        transaction: Batches of the same connection, this one included.
    """

    def __init__(self, stale: Iterable[Stale], transaction: WeakSet[_Batch]) -> None:
        self.stale = set(stale)
        self._transaction = transaction
        transaction.add(self)

    def publish(self) -> None:
        """Publish every batch of the transaction; those that come after find nothing left."""
        batches = list(self._transaction)
        stale: set[Stale] = set().union(*(each.stale for each in batches))
        for each in batches:
            each.stale.clear()
        self._transaction.clear()
        publish(stale)


_waiting: WeakKeyDictionary[BaseDatabaseWrapper, WeakSet[_Batch]] = WeakKeyDictionary()
"""Of each connection, the batches that a commit would publish. Only Django's list of what to do on
commit holds them, so those of a savepoint that was rolled back are gone."""
_lock = threading.Lock()


def publish_on_commit(stale: Collection[Stale], using: str) -> None:
    """Delete from the caches when the present transaction commits; at once where there is none.

    Args:
        stale: What to delete.
        using: Alias of the database whose transaction it is.

    Raises:
        TransactionManagementError: Transactions are managed by hand: autocommit is off.
    """
    if stale:
        with _lock:
            batches = _waiting.setdefault(transaction.get_connection(using), WeakSet())
        transaction.on_commit(_Batch(stale, batches).publish, using=using, robust=True)


def publish(stale: Iterable[Stale]) -> None:
    """Delete from the caches now.

    Raises:
        ExceptionGroup: Some of it could not be deleted; all else was.
    """
    failures = []
    for (alias, kind), group in groupby(sorted(stale), key=lambda one: (one.alias, one.kind)):
        for delete in _deletions(caches[alias], kind, [one.text for one in group]):
            try:
                delete()
            except Exception as error:  # reported below: the rest must go all the same
                failures.append(error)
    if failures:
        raise ExceptionGroup("Stale entries may still be in the cache", failures)


def _deletions(cache: Any, kind: str, texts: list[str]) -> list[Callable[[], object]]:
    if kind == "tags":
        return [partial(cache.delete_tags, *texts)]
    if kind == "prefixes":
        return [partial(cache.delete_prefix, text) for text in texts]
    return [partial(cache.delete_many, texts)]
