"""Statements about many rows, for which Django sends no signal, say what they make stale."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Any, TypeVar

from django.db import models, router, transaction
from django.db.models import Model, Q, QuerySet

from django_callcache.orm.publication import publish_on_commit
from django_callcache.orm.rules import KEYS_IN_A_QUERY, ModelRules, Row, column, rules

Row_ = TypeVar("Row_", bound=Model)


class InvalidatingQuerySet(QuerySet[Row_]):
    """A queryset whose ``update``, ``bulk_create`` and ``bulk_update`` obey the rules of its model.

    ``delete`` sends signals of its own, row by row. The asynchronous methods do the same.
    """

    def update(self, **changes: Any) -> int:
        """See `QuerySet.update`. Reads the rows that the rules must know of first, and those changed after.

        Rows that other transactions let match between the two statements are changed, but make
        nothing stale.
        """
        known = rules.of(self.model)
        if not known:
            return super().update(**changes)
        using = self._write_alias()
        with transaction.atomic(using=using):
            before: list[Row] = list(self.using(using).order_by().values(*known.attributes))
            changed = super().update(**changes)
            after: list[Row] = []
            if known.changeable & _attributes(self.model, changes):
                after = known.rows_of(using, [row[known.key] for row in before])
            publish_on_commit(known.stale([*before, *after]), using)
        return changed

    def bulk_create(
        self,
        objs: Iterable[Row_],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[Row_]:
        """See `QuerySet.bulk_create`. Where rows are updated instead, reads what they were first."""
        known = rules.of(self.model)
        options = (batch_size, ignore_conflicts, update_conflicts, update_fields, unique_fields)
        if not known:
            return super().bulk_create(objs, *options)
        objs = list(objs)
        using = self._write_alias()
        with transaction.atomic(using=using):
            before = self._conflicting(known, using, objs, unique_fields or ())
            created = super().bulk_create(objs, *options)
            rows = [known.row_of(each) for each in created]
            unknown = [each.pk for each, row in zip(created, rows, strict=True) if row is None]
            after = [row for row in rows if row is not None]
            publish_on_commit(known.stale([*before, *after, *known.rows_of(using, unknown)]), using)
        return created

    def invalidate(self) -> None:
        """Publish what changes of these rows make stale, on commit: after SQL that Django did not write."""
        known = rules.of(self.model)
        if known:
            rows: list[Row] = list(self.order_by().values(*known.attributes))
            publish_on_commit(known.stale(rows), self.db)

    def _write_alias(self) -> str:
        # As QuerySet.db does for its own writes.
        stated, hints = self._db, self._hints  # type: ignore[attr-defined]
        return str(stated or router.db_for_write(self.model, **hints))

    def _conflicting(
        self, known: ModelRules, using: str, objs: Sequence[Row_], unique_fields: Collection[str]
    ) -> list[Row]:
        """The rows that are updated instead of created, as they are before."""
        names = [column(self.model, name).attname for name in unique_fields]
        if not names or not known.changeable:
            return []
        rows: list[Row] = []
        portion = max(KEYS_IN_A_QUERY // len(names), 1)
        for at in range(0, len(objs), portion):
            same = (Q(**{name: getattr(each, name) for name in names}) for each in objs[at : at + portion])
            matching = self.model._base_manager.using(using).filter(reduce(or_, same))
            rows += matching.order_by().values(*known.attributes)
        return rows


def _attributes(model: type[Model], names: Iterable[str]) -> set[str]:
    return {getattr(model._meta.get_field(name), "attname", name) for name in names if name != "pk"}


InvalidatingManager = models.Manager.from_queryset(InvalidatingQuerySet, "InvalidatingManager")
"""A manager whose querysets obey the rules of their model."""
