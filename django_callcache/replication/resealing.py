"""Rows that wait for a person, put under the newest secret: what they hold goes back to the cache one day."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import models

from django_callcache.cache.backend import CallCache
from django_callcache.models import SyncConflict, SyncRejection
from django_callcache.rotation import Rotated, anew


def reseal_rows(cache: CallCache, rotated: Rotated) -> None:
    """Put the values in an alias's rejected entries and open conflicts under the newest secret.

    Args:
        cache: Whose rows.
        rotated: Counts of the rotation that this is part of.
    """
    for rows, field in _fields(cache.alias):
        for pk, redis_key, payload in rows.values_list("pk", "redis_key", field).iterator():
            key, blob = bytes(redis_key), bytes(payload)
            resealed = anew(cache, key, blob, key, rotated)
            if resealed is not None:
                rotated.count(bool(rows.filter(pk=pk, **{field: blob}).update(**{field: resealed})))


def _fields(alias: str) -> Iterator[tuple[models.QuerySet[Any], str]]:
    """Yield rows with a value, and the field that it is in. Deletions have none."""
    conflicts = SyncConflict.objects.filter(alias=alias).open()
    yield SyncRejection.objects.filter(alias=alias, deleted=False), "payload"
    yield conflicts.filter(local_deleted=False), "local_payload"
    yield conflicts.filter(remote_payload__isnull=False, remote_deleted=False), "remote_payload"
