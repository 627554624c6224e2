"""Keeps in the database what a person has to decide: rejected entries, and both sides of conflicts."""

from __future__ import annotations

import datetime
from hashlib import blake2b

from django.utils import timezone

from django_callcache.models import KEY_LENGTH, SyncConflict, SyncRejection
from django_callcache.outbox.dirty import DirtyEntry
from django_callcache.sync.remote import HeldRow
from django_callcache.sync.rows import Place, Values, blob_of

LATEST = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)


class ModelKeeper:
    """Keeps them in the models of this app.

    Args:
        alias: Of the cache.
        values: Makes of a remote value what the cache would hold.
    """

    def __init__(self, alias: str, values: Values) -> None:
        self._alias = alias
        self._values = values

    def keep_rejection(self, entry: DirtyEntry, reason: str) -> None:
        """Keep an entry that the remote store refuses; of a key only the latest."""
        SyncRejection.objects.update_or_create(
            alias=self._alias,
            digest=digest_of(entry.redis_key),
            defaults={
                "key": text_of(entry.remote_key),
                "redis_key": entry.redis_key,
                "version": entry.version,
                "remote_version": entry.remote_version,
                "deleted": entry.deleted,
                "expires_at": moment(entry.expires_at_ms),
                "payload": entry.blob,
                "reason": reason,
                "rejected_at": timezone.now(),
            },
        )

    def keep_conflict(
        self, place: Place, entry: DirtyEntry | None, row: HeldRow, *, reason: str = ""
    ) -> None:
        """Keep both sides of a key, or only the remote one where the local one is kept already."""
        sides = self._remote_side(place, row)
        open_conflicts = SyncConflict.objects.for_alias(self._alias).open()
        digest = digest_of(place.redis_key)
        if entry is None:
            open_conflicts.filter(digest=digest).update(**sides)
            return
        sides |= {
            "local_version": entry.version,
            "local_deleted": entry.deleted,
            "local_expires_at": moment(entry.expires_at_ms),
            "local_payload": entry.blob,
            "reason": reason,
        }
        if open_conflicts.filter(digest=digest).update(**sides):
            return
        SyncConflict.objects.create(
            alias=self._alias,
            digest=digest,
            key=text_of(place.remote_key),
            redis_key=place.redis_key,
            **sides,
        )

    def _remote_side(self, place: Place, row: HeldRow) -> dict[str, object]:
        ends = None
        if row.ttl_ms is not None:
            ends = timezone.now().timestamp() * 1000 + row.ttl_ms
        return {
            "remote_version": row.remote_version or 0,
            "remote_order": row.version,
            "remote_origin": row.origin[:250],
            "remote_deleted": row.deleted,
            "remote_expires_at": moment(ends),
            "remote_payload": blob_of(row, place, self._values),
        }


def digest_of(redis_key: bytes) -> str:
    """Return what tells a key apart, whatever its length and bytes."""
    return blake2b(redis_key, digest_size=32).hexdigest()


def text_of(key: str) -> str:
    """Return a key as a database can store and people can read it."""
    readable = key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return readable.replace("\0", "\N{SYMBOL FOR NULL}")[:KEY_LENGTH]


def moment(unix_ms: float | None) -> datetime.datetime | None:
    """Return a point in time; None for never."""
    if unix_ms is None:
        return None
    try:
        return datetime.datetime.fromtimestamp(unix_ms / 1000, datetime.UTC)
    except (OverflowError, ValueError):
        return LATEST
