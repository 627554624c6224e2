"""The way down: take what changed in the remote store since the last time.

Rows come in the order of their commits. Each page is taken, then the cursor is saved: a pass that dies
between the two takes the page again, which changes nothing. Rows of keys that this cache does not sync are
left alone and counted: whoever can write the table must not make up sessions here.

Where the cursor says nothing any more, everything is pulled anew. A row that is earlier than what is known
here, or is missing, then means one of three things:

``unread``  this namespace was never pulled, or Redis has lost the cursor; ``verify``: somebody asked. What is
            known here was pushed or pulled at some time, so the remote store has lost it: it is pushed again
``late``    tombstones that were not read yet are gone, or the store has lost its last commits: pushed again
            where it was written within the time that tombstones are kept, else it was deleted elsewhere
``anew``    the store was made anew, or restored by the book: what it holds is taken, the rest forgotten
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from django_callcache.exceptions import RemoteUnavailable
from django_callcache.failpoints import reach
from django_callcache.outbox.dirty import DirtyEntry
from django_callcache.outbox.dirty_scripts import TOMBSTONE_MS
from django_callcache.outbox.replica import Applied, Cursor, Replica, SyncedKey, Trust
from django_callcache.sync.conflicts import Conflicts, Keeper, write_of
from django_callcache.sync.remote import HeldRow, Page, RemoteStore, Span
from django_callcache.sync.rows import Place, Values

logger = logging.getLogger(__name__)

MAX_RESETS = 2
"""How often one pull begins again: a store that asks for it more often is out of order."""

Placed = tuple[HeldRow, Place]
Dirty = Literal["settled", "held", "given up"]
"""What becomes of a key that is dirty: its strategy decides, nobody does for now, or the remote row stays."""


class Pull:
    """The rows of one namespace on their way into one Redis.

    Args:
        remote: Where they come from.
        replica: Where they go.
        values: The cache that reads and makes its own bytes.
        conflicts: Decides where a key is dirty.
        keeper: Has the two sides of keys that wait for a person.
        namespace: Name of this deployment's rows in the remote store.
        batch: Rows in one page.
        may_go_on: Asked before every page; False ends the work.
    """

    def __init__(
        self,
        remote: RemoteStore,
        replica: Replica,
        values: Values,
        conflicts: Conflicts,
        keeper: Keeper,
        namespace: str,
        batch: int,
        may_go_on: Callable[[], bool],
    ) -> None:
        self._remote = remote
        self._replica = replica
        self._values = values
        self._conflicts = conflicts
        self._keeper = keeper
        self._namespace = namespace
        self._batch = batch
        self._may_go_on = may_go_on
        self._dirty: Dirty = "settled"
        self.counts = Counter[str]()
        """What was done, by the names in ``SyncReport``."""

    def run(self, *, verify: bool = False, pushed: Iterable[Span] = (), dirty: Dirty = "settled") -> None:
        """Pull until nothing more has changed.

        Args:
            verify: Compare everything, whatever the cursor says.
            pushed: What this Redis has pushed and acknowledged since the last pull.
            dirty: What becomes of keys that were written here too.

        Raises:
            SyncError: The remote store fails, or refuses us.
        """
        self._dirty = dirty
        reach("cp16")
        cursor = _past(self._replica.cursor(self._namespace), pushed)
        if verify and cursor is not None:
            cursor = self._begin_anew(cursor.epoch, "verify")
        resets = 0
        while self._may_go_on():
            after, epoch = (0, None) if cursor is None else (cursor.seq, cursor.epoch)
            page = self._remote.pull(self._namespace, after, self._batch, epoch)
            if cursor is None or page.reset:
                resets += 1
                if resets > MAX_RESETS:
                    raise RemoteUnavailable("The remote store asks again and again to begin anew")
                cursor = self._begin_anew(page.epoch, _cause(cursor, page))
                if after or page.reset:
                    continue
            self._take(page, cursor)
            reach("cp14")
            cursor = replace(cursor, seq=page.next)
            self._replica.save(self._namespace, cursor)
            if not page.more:
                self._end(cursor)
                return

    def _begin_anew(self, epoch: str, cause: str) -> Cursor:
        level = logging.WARNING if cause in ("late", "anew") else logging.DEBUG
        logger.log(level, "pulling anew namespace=%s cause=%s", self._namespace, cause)
        self.counts["resets"] += 1
        cursor = Cursor(epoch=epoch, reset_at=self._replica.now(), cause=cause)
        self._replica.save(self._namespace, cursor)
        reach("cp17")
        return cursor

    def _take(self, page: Page, cursor: Cursor) -> None:
        trust: Trust = ""
        if cursor.reset_at:
            trust = "anew" if cursor.cause == "anew" else "compare"
        placed = [(row, place) for row in page.rows if (place := self._values.place_of(row.key)) is not None]
        self.counts["refused"] += len(page.rows) - len(placed)
        if not trust:
            placed = self._unknown(placed)
        writes = [write_of(row, place, self._values, trust=trust) for row, place in placed]
        self.counts["unreadable"] += sum(write.blob is None and not write.deleted for write in writes)
        reach("cp15")
        outcomes = self._replica.apply(writes)
        self._values.announce(
            [
                place.redis_key
                for (_, place), applied in zip(placed, outcomes, strict=True)
                if applied.outcome == "taken"
            ]
        )
        for (row, place), applied in zip(placed, outcomes, strict=True):
            self._follow_up(row, place, applied, trust)

    def _unknown(self, placed: Sequence[Placed]) -> list[Placed]:
        """Leave out rows that are known here, our own pushes above all: they need not be encoded."""
        known = self._replica.known([place.redis_key for _, place in placed])
        return [
            (row, place)
            for (row, place), version in zip(placed, known, strict=True)
            if (row.remote_version or 0) > version
        ]

    def _follow_up(self, row: HeldRow, place: Place, applied: Applied, trust: Trust) -> None:
        if applied.outcome == "taken":
            self.counts["pulled"] += 1
        elif applied.outcome == "dirty" and applied.entry is not None:
            self._meet(applied.entry, row, trust)
        elif applied.outcome == "parked":
            self._keeper.keep_conflict(place, None, row)
        elif applied.outcome == "lost":
            key = next(self._replica.read([place.redis_key]), None)
            if key is not None:
                self._push_again(key, place, row.remote_version or 0)

    def _meet(self, entry: DirtyEntry, row: HeldRow, trust: Trust) -> None:
        if self._dirty == "settled":
            self._conflicts.settle(entry, row, trust=trust)
        elif self._dirty == "held":
            self.counts["held"] += 1
        else:
            self._conflicts.give_up(entry, row, trust=trust)

    def _end(self, cursor: Cursor) -> None:
        """After everything was pulled anew: see to the keys that the remote store does not have."""
        if not cursor.reset_at:
            return
        for key in self._replica.unseen(cursor.reset_at):
            if not self._may_go_on():
                return
            place = self._values.place_at(key.redis_key)
            if place is None or self._values.place_of(place.remote_key) is None:
                continue
            if not self._is_lost(key, cursor) or not self._push_again(key, place, 0):
                self.counts["forgotten"] += self._replica.forget(key, cursor.reset_at)
        self._replica.save(self._namespace, replace(cursor, reset_at=0, cause=""))

    def _is_lost(self, key: SyncedKey, cursor: Cursor) -> bool:
        """Tell whether it is the remote store that has lost a key."""
        if cursor.cause == "late":
            return key.version > cursor.reset_at - TOMBSTONE_MS * 1000
        return cursor.cause != "anew"

    def _push_again(self, key: SyncedKey, place: Place, remote_version: int) -> bool:
        """Mark a key dirty as it was last written; False where nothing of it is left to push."""
        if key.blob is None and not key.deleted:
            return False
        version = self._replica.write_back(
            key.redis_key,
            place.remote_key,
            blob=None if key.deleted else key.blob,
            ttl_ms=key.ttl_ms,
            remote_version=remote_version,
            version=key.version,
            last=key.version,
        )
        self.counts["remarked"] += bool(version)
        return True


def _past(cursor: Cursor | None, pushed: Iterable[Span]) -> Cursor | None:
    """Move a cursor over our own pushes, as far as nobody else's change lies between them."""
    if cursor is None or cursor.reset_at:
        return cursor
    for span in pushed:
        if (span.epoch, span.after) == (cursor.epoch, cursor.seq):
            cursor = replace(cursor, seq=span.next)
    return cursor


def _cause(cursor: Cursor | None, page: Page) -> str:
    if cursor is None:
        return "unread"
    return "late" if cursor.epoch == page.epoch else "anew"
