"""What a person decides: a rejected entry is requeued or discarded, a conflict ends with one of its sides.

Each function says whether it did what was asked: a key that was written meanwhile keeps the newer write,
which meets the remote store on its own account.
"""

from __future__ import annotations

import datetime

from django.db import transaction
from django.utils import timezone

from django_callcache.cache.backend import CallCache
from django_callcache.models import SyncConflict, SyncRejection
from django_callcache.outbox.replica import RemoteWrite, Replica
from django_callcache.replication.values import CacheValues
from django_callcache.sync.rows import PlaceOf


def requeue(cache: CallCache, rejection: SyncRejection) -> bool:
    """Put a rejected entry back into the outbox, to be pushed by the next pass; its row goes.

    Returns:
        False where the key was written since: that write is the one to push, and the row goes too.
    """
    version = Replica(cache.redis_client(), cache.redis_keys).write_back(
        bytes(rejection.redis_key),
        rejection.key,
        blob=None if rejection.deleted else bytes(rejection.payload),
        ttl_ms=_left(rejection.expires_at),
        version=rejection.version,
        last=rejection.version,
    )
    rejection.delete()
    return bool(version)


def discard(rejection: SyncRejection) -> None:
    """Give a rejected entry up. The cached value stays; the remote store never gets it."""
    rejection.delete()


def keep_local(cache: CallCache, conflict: SyncConflict, *, by: str = "") -> bool:
    """End a conflict with the local side, which the next pass pushes over the remote one.

    Args:
        cache: Of the conflict's alias.
        conflict: An open one.
        by: Who decides.

    Returns:
        False where somebody has decided already, or the key was written meanwhile.
    """
    blob = None if conflict.local_deleted else bytes(conflict.local_payload)
    return _write(cache, conflict, blob, _left(conflict.local_expires_at), SyncConflict.Decision.LOCAL, by)


def keep_value(
    cache: CallCache, conflict: SyncConflict, value: object, *, timeout: float | None = None, by: str = ""
) -> bool:
    """End a conflict with a value of neither side, which both get.

    Args:
        cache: Of the conflict's alias.
        conflict: An open one.
        value: As `set` takes it.
        timeout: Seconds that it lives; None for ever.
        by: Who decides.

    Returns:
        False where somebody has decided already, or the key was written meanwhile.

    Raises:
        ValueTooLarge: It exceeds what the cache takes.
    """
    blob = CacheValues(cache).encode(_place(conflict), value)
    ttl_ms = None if timeout is None else max(1, round(timeout * 1000))
    return _write(cache, conflict, blob, ttl_ms, SyncConflict.Decision.VALUE, by)


def keep_remote(cache: CallCache, conflict: SyncConflict, *, by: str = "") -> bool:
    """End a conflict with the remote side, which replaces the local one.

    Args:
        cache: Of the conflict's alias.
        conflict: An open one.
        by: Who decides.

    Returns:
        False where somebody has decided already, or the key was written meanwhile.
    """
    with transaction.atomic():
        if not _decide(conflict, SyncConflict.Decision.REMOTE, by):
            return False
        write = RemoteWrite(
            redis_key=bytes(conflict.redis_key),
            version=conflict.remote_order,
            remote_version=conflict.remote_version,
            blob=None if conflict.remote_payload is None else bytes(conflict.remote_payload),
            ttl_ms=_left(conflict.remote_expires_at),
            deleted=conflict.remote_deleted,
            trust="decided",
        )
        (applied,) = Replica(cache.redis_client(), cache.redis_keys).apply([write])
        if applied.outcome != "taken":
            transaction.set_rollback(True)
            return False
    cache.announce([bytes(conflict.redis_key)])
    return True


def _write(
    cache: CallCache,
    conflict: SyncConflict,
    blob: bytes | None,
    ttl_ms: int | None,
    decision: SyncConflict.Decision,
    by: str,
) -> bool:
    with transaction.atomic():
        if not _decide(conflict, decision, by):
            return False
        version = Replica(cache.redis_client(), cache.redis_keys).write_back(
            bytes(conflict.redis_key),
            conflict.key,
            blob=blob,
            ttl_ms=ttl_ms,
            remote_version=conflict.remote_version,
        )
        if not version:
            transaction.set_rollback(True)
            return False
    cache.announce([bytes(conflict.redis_key)])
    return True


def _decide(conflict: SyncConflict, decision: SyncConflict.Decision, by: str) -> bool:
    """Record the decision, unless there is one."""
    still_open = SyncConflict.objects.open().filter(pk=conflict.pk)
    return bool(still_open.update(decision=decision, decided_at=timezone.now(), decided_by=by[:254]))


def _place(conflict: SyncConflict) -> PlaceOf:
    return PlaceOf(bytes(conflict.redis_key), conflict.key)


def _left(ends_at: datetime.datetime | None) -> int | None:
    """Return the milliseconds until a moment; None for ever."""
    if ends_at is None:
        return None
    return max(1, round((ends_at - timezone.now()).total_seconds() * 1000))
