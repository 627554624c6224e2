"""What becomes of a key that was written on both sides: the strategy of its prefix decides.

A conflict is the same whether a push meets it (the remote row is not the one that the write builds on) or a
pull (a changed row comes for a key that is dirty). The strategies:

``lww``             the later write stays, by the larger pair of version and origin
``local``           the local write stays
``remote``          the remote row stays
``newest-version``  the side with more accepted writes stays: the remote row's version against the one that
                    the local write builds on plus one; the later write where they are equal
``manual``          both are kept for a person; until the decision the local one is served
a callable          ``merge(key, local, remote)`` returns the value that both sides get; ``DELETED`` stands
                    for a side without a value, also as its answer. It may be asked again: it must be pure

What a callable cannot merge, since it raises or a value cannot be read here, is kept for a person too.

A row that this Redis wrote itself is no conflict: a reply was lost, or Redis came back with older data. The
later of the two writes stays, and nothing is counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from typing import Literal, Protocol

from django_callcache.exceptions import Undecodable, ValueTooLarge
from django_callcache.outbox.dirty import DirtyEntries, DirtyEntry
from django_callcache.outbox.replica import RemoteWrite, Replica, Trust
from django_callcache.sync.remote import HeldRow
from django_callcache.sync.rows import Merge, Place, Values, blob_of

logger = logging.getLogger(__name__)

DECISIONS = ("kept_local", "took_remote", "merged", "parked")
"""What a conflict ends in, as it is counted."""

Winner = Literal["local", "remote"]


class Deleted:
    """A side without a value, for merge callables; there is one, ``DELETED``."""

    def __repr__(self) -> str:
        return "DELETED"


DELETED = Deleted()


class Keeper(Protocol):
    """Keeps for a person what no rule can decide."""

    def keep_rejection(self, entry: DirtyEntry, reason: str) -> None:
        """Keep an entry that the remote store refuses; it leaves the outbox afterwards."""

    def keep_conflict(
        self, place: Place, entry: DirtyEntry | None, row: HeldRow, *, reason: str = ""
    ) -> None:
        """Keep both sides of a key, or only the remote one where the local one is kept already.

        The reason is empty where the rule leaves the decision to a person.
        """


class _CannotMerge(Exception):
    """Two sides that the callable has no answer for; the message says why."""


class Conflicts:
    """Decides conflicts over one outbox.

    Args:
        outbox: Where the local sides wait.
        replica: What this Redis holds of the remote store.
        values: The cache that they come from.
        keeper: Takes both sides where a person has to decide.
        origin: Name of this Redis in the eyes of the remote store.
    """

    def __init__(
        self, outbox: DirtyEntries, replica: Replica, values: Values, keeper: Keeper, origin: str
    ) -> None:
        self._outbox = outbox
        self._replica = replica
        self._values = values
        self._keeper = keeper
        self._origin = origin
        self.counts = Counter[str]()
        """Decisions by what they ended in; ``conflicts`` is their sum."""

    def settle(self, entry: DirtyEntry, row: HeldRow, *, trust: Trust = "") -> DirtyEntry | None:
        """Decide between a dirty entry and the remote row that it does not build on.

        Returns:
            The entry to push now, over that row; None where nothing is left to push, or where the key was
            written meanwhile: that write meets the row on its own account.
        """
        if row.origin == self._origin:
            winner = "local" if entry.version > row.version else "remote"
            return self._kept(entry, row, trust, winner)
        strategy = self._values.strategy(entry)
        if callable(strategy):
            try:
                return self._merge(entry, row, strategy)
            except _CannotMerge as failure:
                logger.error("not merged key=%r reason=%s", entry.remote_key, failure)
                self._park(entry, row, str(failure))
                return None
        if strategy == "manual":
            self._park(entry, row)
            return None
        winner = _winner(strategy, entry, row, self._origin)
        self._count("kept_local" if winner == "local" else "took_remote")
        return self._kept(entry, row, trust, winner)

    def give_up(self, entry: DirtyEntry, row: HeldRow, *, trust: Trust = "") -> None:
        """Take the remote row, whatever the strategy says."""
        self._kept(entry, row, trust, "remote")
        self._count("took_remote")

    def _kept(self, entry: DirtyEntry, row: HeldRow, trust: Trust, winner: str) -> DirtyEntry | None:
        version = row.remote_version or 0
        if winner == "local":
            stays = self._outbox.rebase(entry, version)
            return replace(entry, remote_version=version) if stays else None
        taken = write_of(row, entry, self._values, decided=entry.version, trust=trust)
        self._replica.apply([taken])
        self._values.announce([entry.redis_key])
        return None

    def _merge(self, entry: DirtyEntry, row: HeldRow, merge: Merge) -> DirtyEntry | None:
        key = entry.remote_key.partition(":")[2]
        value = self._merged(entry, row, merge, key)
        try:
            blob = None if value is DELETED else self._values.encode(entry, value)
        except (ValueTooLarge, TypeError) as error:
            raise _CannotMerge(f"what the merge returned cannot be stored: {error}") from error
        ttl_ms = self._later_end(entry, row)
        version = self._replica.write_back(
            entry.redis_key,
            entry.remote_key,
            blob=blob,
            ttl_ms=ttl_ms,
            remote_version=row.remote_version,
            decided=entry.version,
        )
        if not version:
            return None
        self._count("merged")
        self._values.announce([entry.redis_key])
        return replace(
            entry,
            version=version,
            deleted=blob is None,
            blob=blob or b"",
            expires_at_ms=None if blob is None or ttl_ms is None else self._replica.now() // 1000 + ttl_ms,
            remote_version=row.remote_version or 0,
        )

    def _merged(self, entry: DirtyEntry, row: HeldRow, merge: Merge, key: str) -> object:
        remote = blob_of(row, entry, self._values)
        if remote is None and not row.deleted:
            raise _CannotMerge("the remote value cannot be read here, so it cannot be merged")
        try:
            ours: object = DELETED if entry.deleted else self._values.decode(entry, entry.blob)
            theirs: object = DELETED if remote is None else self._values.decode(entry, remote)
        except Undecodable as error:
            raise _CannotMerge(f"the value cannot be read here, so it cannot be merged: {error}") from error
        try:
            return merge(key, ours, theirs)
        except Exception as error:
            # Its message may quote a value.
            raise _CannotMerge(f"the merge raised {type(error).__name__}") from error

    def _later_end(self, entry: DirtyEntry, row: HeldRow) -> int | None:
        """Return the milliseconds that the side has left which lives longer; None for ever."""
        left = []
        if not entry.deleted:
            ends = entry.expires_at_ms
            left.append(None if ends is None else ends - self._replica.now() // 1000)
        if not row.deleted:
            left.append(row.ttl_ms)
        if not left or None in left:
            return None
        return max(1, *(ms for ms in left if ms is not None))

    def _park(self, entry: DirtyEntry, row: HeldRow, reason: str = "") -> None:
        self._keeper.keep_conflict(entry, entry, row, reason=reason)
        if self._outbox.withdraw(entry, is_parked=True):
            self._count("parked")

    def _count(self, decision: str) -> None:
        self.counts[decision] += 1
        self.counts["conflicts"] += 1


def write_of(
    row: HeldRow, place: Place, values: Values, *, decided: int | None = None, trust: Trust = ""
) -> RemoteWrite:
    """Return a row as this Redis takes it."""
    return RemoteWrite(
        redis_key=place.redis_key,
        version=row.version,
        remote_version=row.remote_version or 0,
        blob=blob_of(row, place, values),
        ttl_ms=row.ttl_ms,
        deleted=row.deleted,
        decided=decided,
        trust=trust,
    )


def _winner(strategy: str, entry: DirtyEntry, row: HeldRow, origin: str) -> Winner:
    if strategy in ("local", "remote"):
        return "local" if strategy == "local" else "remote"
    if strategy == "newest-version":
        edits = entry.remote_version + 1, row.remote_version or 0
        if edits[0] != edits[1]:
            return "local" if edits[0] > edits[1] else "remote"
    return "local" if (entry.version, origin) > (row.version, row.origin) else "remote"
