"""The trace of what people do to a cache: a row, an entry in the admin's log, a line for the log files."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry

from django_callcache.models import CacheOperation

logger = logging.getLogger("callcache.audit")


def begin(user: Any, **facts: Any) -> CacheOperation:
    """Write the row of an attempt before anything is done."""
    return CacheOperation.objects.create(user=user, username=user.get_username(), **facts)


def end(operation: CacheOperation, user: Any, outcome: str, **facts: Any) -> None:
    """Write how an attempt ended, in all three places."""
    operation.finish(CacheOperation.Outcome(outcome), **facts)
    LogEntry.objects.log_actions(
        user_id=user.pk,
        queryset=[operation],
        action_flag=CHANGE,
        change_message=f"{operation.get_outcome_display()}, {operation.deleted}",
        single_object=True,
    )
    logger.info(
        "operation=%s outcome=%s user=%r alias=%r scope=%s pattern=%r deleted=%s error=%s reason=%r",
        operation.kind,
        operation.outcome,
        operation.username,
        operation.alias,
        operation.scope,
        operation.pattern,
        operation.deleted,
        operation.error_class,
        operation.reason,
    )
