"""Rows that grow old: questions that all of them answer, and how they leave."""

from __future__ import annotations

import datetime
from typing import Any, ClassVar, Self

from django.db import models, router
from django.utils import timezone

PRUNE_BATCH = 1000
"""Rows deleted by one statement of ``prune``: short enough never to hold up a writer."""


class HistoryQuerySet(models.QuerySet[Any]):
    """Rows of cache aliases that grow old by ``time_field``."""

    time_field: ClassVar[str]

    def for_alias(self, alias: str) -> Self:
        """Rows of one cache alias."""
        return self.filter(alias=alias)

    def since(self, moment: datetime.datetime) -> Self:
        """Rows from a moment on, that moment included."""
        return self.filter(**{f"{self.time_field}__gte": moment})

    def until(self, moment: datetime.datetime) -> Self:
        """Rows before a moment."""
        return self.filter(**{f"{self.time_field}__lt": moment})

    def prune(self, days: float, *, now: datetime.datetime | None = None, batch: int = PRUNE_BATCH) -> int:
        """Delete the rows of this set that are older than some days, a batch at a time.

        Returns:
            How many rows were deleted.
        """
        database = router.db_for_write(self.model)
        limit = (now or timezone.now()) - datetime.timedelta(days=days)
        old = self.using(database).until(limit).order_by(self.time_field).values_list("pk", flat=True)
        deleted = 0
        # Keys first: neither DELETE with LIMIT nor LIMIT in its subquery is portable.
        while keys := list(old[:batch]):
            deleted += self.model._default_manager.using(database).filter(pk__in=keys).delete()[0]
        return deleted
