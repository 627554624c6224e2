"""The trace of what people do to a cache: a row, an entry in the admin's log, a line for the log files."""

from __future__ import annotations

import logging
from typing import Any

from django.apps import apps

from django_callcache.models import CacheOperation

CHANGE = 2
"""``django.contrib.admin.models.CHANGE``, which cannot be imported where the admin is not installed."""

logger = logging.getLogger("callcache.audit")


def begin(user: Any, **facts: Any) -> CacheOperation:
    """Write the row of an attempt before anything is done."""
    return CacheOperation.objects.create(user=user, username=user.get_username(), **facts)


def end(operation: CacheOperation, outcome: str, **facts: Any) -> None:
    """Write how an attempt ended, in all three places."""
    operation.finish(CacheOperation.Outcome(outcome), **facts)
    tell(operation)


def refuse(user: Any, why: str, **facts: Any) -> None:
    """Write that somebody wanted to do what is not allowed."""
    end(begin(user, **facts), CacheOperation.Outcome.REFUSED, error_class=why)


def tell(operation: CacheOperation) -> None:
    """Write an entry in the admin's log, where the admin is installed and knows the person; and a line."""
    if operation.user_id is not None and apps.is_installed("django.contrib.admin"):
        log_entry: Any = apps.get_model("admin", "LogEntry")
        log_entry.objects.log_actions(
            user_id=operation.user_id,
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
