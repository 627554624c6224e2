"""The way up: claim what is due, push it, acknowledge what the remote store has.

A row that the remote store refuses for its data is found by halving its batch, kept for a person and taken
out of the outbox; it keeps no other row waiting. Where row after row is refused and none is taken, it is not
the rows that are at fault: then all stay.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from django_callcache.exceptions import RemoteRejected, RemoteUnavailable, UnknownDictionary
from django_callcache.failpoints import reach
from django_callcache.outbox.dirty import DirtyEntries, DirtyEntry
from django_callcache.sync.conflicts import Conflicts, Keeper
from django_callcache.sync.remote import PushReply, RemoteRow, RemoteStore, Span
from django_callcache.sync.rows import Values, row_of

logger = logging.getLogger(__name__)

MAX_ROUNDS = 5
"""Pushes of one entry in one pass: who loses to other writers as often leaves it to the next pass."""

MAX_REFUSED = 100
"""Refusals in a row, without a row that is taken, after which a pass ends: it is not single rows then."""

WAITS_SECONDS = 600.0
"""How long an entry waits whose dictionary is not known; a new write of its key ends it."""

Pushable = tuple[DirtyEntry, RemoteRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much goes at a time."""

    batch: int = 500
    """Entries in one push, and rows in one pull."""
    batch_bytes: int = 1_048_576
    """Bytes in one push; a larger entry travels alone."""
    lease_seconds: float = 30.0
    """How long an entry is lent to a pass."""


class Push:
    """The entries of one outbox on their way to one namespace.

    Args:
        outbox: Where the entries wait.
        remote: Where they go.
        values: The cache that they come from.
        conflicts: Decides where another row stands.
        keeper: Takes what the remote store refuses.
        namespace: Name of this deployment's rows in the remote store.
        origin: Name of this Redis there.
        bounds: How much goes at a time.
        may_go_on: Asked before every push; False ends the work.
    """

    def __init__(
        self,
        outbox: DirtyEntries,
        remote: RemoteStore,
        values: Values,
        conflicts: Conflicts,
        keeper: Keeper,
        namespace: str,
        origin: str,
        bounds: Bounds,
        may_go_on: Callable[[], bool],
    ) -> None:
        self._outbox = outbox
        self._remote = remote
        self._values = values
        self._conflicts = conflicts
        self._keeper = keeper
        self._namespace = namespace
        self._origin = origin
        self._bounds = bounds
        self._may_go_on = may_go_on
        self._held: dict[bytes, DirtyEntry] = {}
        self._refused: list[tuple[DirtyEntry, str]] = []
        self.counts = Counter[str]()
        """What was done, by the names in ``SyncReport``."""
        self.spans: list[Span] = []
        """Where in the order of changes lies what was acknowledged."""

    def run(self, prefix: str | None = None) -> None:
        """Push until nothing that was due at the beginning is left.

        Args:
            prefix: Leave entries alone whose key does not begin with it.

        Raises:
            SyncError: The remote store fails, or refuses us.
        """
        chosen = None if prefix is None else self._chosen(prefix)
        try:
            self._push_what_is_due(chosen)
        finally:
            self._set_aside()
            # Also when the process is told to stop at once: others need not wait for the lease to end.
            self._outbox.release(self._held.values())
            self._held = {}

    def _chosen(self, prefix: str) -> Iterator[bytes]:
        for redis_key in self._outbox.redis_keys():
            place = self._values.place_at(redis_key)
            if place is not None and place.remote_key.partition(":")[2].startswith(prefix):
                yield redis_key

    def _push_what_is_due(self, chosen: Iterator[bytes] | None) -> None:
        began_ms = None
        bounds = self._bounds
        while self._may_go_on():
            only = [] if chosen is None else list(islice(chosen, bounds.batch))
            if chosen is not None and not only:
                return
            claim = self._outbox.claim(
                bounds.batch, bounds.batch_bytes, bounds.lease_seconds, not_after_ms=began_ms, only=only
            )
            began_ms = claim.now_ms if began_ms is None else began_ms
            self.counts["unknown"] += claim.unknown
            if claim.entries:
                self._held |= {entry.redis_key: entry for entry in claim.entries}
                reach("cp4")
                self._push(claim.entries, claim.now_ms)
            elif not claim.unknown and chosen is None:
                return

    def _push(self, entries: Sequence[DirtyEntry], now_ms: int) -> None:
        """Push entries until each is acknowledged, lost to another write, or refused."""
        for _ in range(MAX_ROUNDS):
            again: list[DirtyEntry] = []
            for sent, reply in self._replies(self._rows_of(entries, now_ms)):
                self._acknowledge(sent, reply)
                again += self._settle(sent, reply)
                self._check_named(sent, reply)
                if reply.span is not None:
                    self.spans.append(reply.span)
            if not again:
                break
            entries = again
        if self.counts["pushed"]:
            self._set_aside()

    def _rows_of(self, entries: Iterable[DirtyEntry], now_ms: int) -> list[Pushable]:
        rows = []
        for entry in entries:
            try:
                rows.append((entry, row_of(entry, self._values, now_ms)))
            except RemoteRejected as rejection:
                self._refuse(entry, str(rejection))
            except UnknownDictionary as error:
                # Sent as it is, nobody could ever read it. The loop restores dictionaries, so it waits.
                logger.error("waits namespace=%s key=%r reason=%s", self._namespace, entry.remote_key, error)
                self._outbox.release([entry], delay_seconds=WAITS_SECONDS)
                self._held.pop(entry.redis_key, None)
                self.counts["unknown"] += 1
        return rows

    def _replies(self, rows: Sequence[Pushable]) -> Iterator[tuple[Sequence[Pushable], PushReply]]:
        """Push rows in as few calls as it takes; yield each reply with the rows that it answers.

        A batch refused for the data of one of its rows is halved until that row is alone.
        """
        waiting = list(reversed(list(self._by_size(rows))))
        while waiting and self._may_go_on():
            batch = waiting.pop()
            reach("cp5")
            try:
                reply = self._remote.push(self._namespace, self._origin, [row for _, row in batch])
            except RemoteRejected as rejection:
                if len(batch) > 1:
                    middle = len(batch) // 2
                    waiting += [batch[middle:], batch[:middle]]
                    continue
                self._refuse(batch[0][0], str(rejection))
                if len(self._refused) >= MAX_REFUSED and not self.counts["pushed"]:
                    self.counts["rejected"] += len(self._refused)
                    self._refused = []
                    raise RemoteUnavailable(
                        f"The remote store refuses row after row; the last reason: {rejection}"
                    ) from rejection
            else:
                yield batch, reply

    def _by_size(self, rows: Sequence[Pushable]) -> Iterator[Sequence[Pushable]]:
        """Split rows so that no request is huge: as JSON a value can exceed its compressed bytes by far."""
        start = size = 0
        for number, (_, row) in enumerate(rows):
            if number > start and size + row.size > 2 * self._bounds.batch_bytes:
                yield rows[start:number]
                start, size = number, 0
            size += row.size
        if start < len(rows):
            yield rows[start:]

    def _acknowledge(self, sent: Sequence[Pushable], reply: PushReply) -> None:
        applied = [(entry, reply.applied[row.key]) for entry, row in sent if row.key in reply.applied]
        reach("cp8")
        self._outbox.acknowledge(applied)
        reach("cp9")
        for entry, _ in applied:
            self._held.pop(entry.redis_key, None)
        self.counts["pushed"] += len(applied)
        self.counts["deleted"] += sum(entry.deleted for entry, _ in applied)

    def _settle(self, sent: Sequence[Pushable], reply: PushReply) -> list[DirtyEntry]:
        """Decide each conflict, and each refusal the reply names; return the entries to push again."""
        by_key = {row.key: entry for entry, row in sent}
        for key, reason in reply.rejected.items():
            self._refuse(by_key[key], reason)
        again = []
        for row in reply.conflicts:
            entry = by_key[row.key]
            gone = row.remote_version is None
            settled = self._rebuilt(entry) if gone else self._conflicts.settle(entry, row)
            if settled is not None:
                self._held[entry.redis_key] = settled
                again.append(settled)
        return again

    def _rebuilt(self, entry: DirtyEntry) -> DirtyEntry | None:
        """Build on nothing, where the remote row is gone."""
        return replace(entry, remote_version=0) if self._outbox.rebase(entry, 0) else None

    def _refuse(self, entry: DirtyEntry, reason: str) -> None:
        logger.error("rejected namespace=%s key=%r reason=%s", self._namespace, entry.remote_key, reason)
        self._refused.append((entry, reason))

    def _set_aside(self) -> None:
        """Keep what was refused for a person; one written again meanwhile has another chance."""
        for entry, reason in self._refused:
            self._keeper.keep_rejection(entry, reason)
            self._outbox.withdraw(entry)
            self._held.pop(entry.redis_key, None)
            self.counts["rejected"] += 1
        self._refused = []

    def _check_named(self, sent: Sequence[Pushable], reply: PushReply) -> None:
        """End the pass where a reply passes rows over in silence; nothing is known of them."""
        named = reply.applied.keys() | reply.rejected.keys() | {row.key for row in reply.conflicts}
        missing = sum(row.key not in named for _, row in sent)
        if missing:
            raise RemoteUnavailable(f"The remote store's reply says nothing of {missing} rows")
