"""Models as sources of records: rules of prefixes that name one become loaders."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import router
from django.utils.module_loading import import_string

from django_callcache.cache.loading import sources
from django_callcache.conf import InvalidationRule, ModelSource, stated_sources
from django_callcache.key_templates import KeyTemplate, text_of
from django_callcache.orm.rules import KEYS_IN_A_QUERY, column, find_model

logger = logging.getLogger(__name__)


class ModelLoader:
    """Reads the records of a prefix from a model's rows.

    From the database that the model is written to: a replica may be behind the change that made
    an entry stale.

    Args:
        source: What the rule says.

    Raises:
        ImproperlyConfigured: The model, a column or the callable is not there.
    """

    def __init__(self, source: ModelSource) -> None:
        self.model = find_model(source.model)
        self._by = column(self.model, source.by)
        if not self._by.unique:
            raise ImproperlyConfigured(f"{source.model}.{source.by} is not unique: it names no one row.")
        self._columns = tuple(column(self.model, name).attname for name in source.fields)
        self._record = source.record

    @cached_property
    def _make(self) -> Any:
        return import_string(self._record) if isinstance(self._record, str) else self._record

    def require_record(self) -> None:
        """Make sure that the callable is there.

        Raises:
            ImproperlyConfigured: It cannot be imported, or is none.
        """
        try:
            made = self._make
        except ImportError as error:
            raise ImproperlyConfigured(f"record: {error}") from error
        if made is not None and not callable(made):
            raise ImproperlyConfigured(f"record: {self._record!r} cannot be called.")

    def __call__(self, names: Sequence[str], /) -> dict[str, Any]:
        """The records of rows by what their column holds."""
        wanted = list(self._values(names))
        found: dict[str, Any] = {}
        for at in range(0, len(wanted), KEYS_IN_A_QUERY):
            found.update(self._read(wanted[at : at + KEYS_IN_A_QUERY]))
        # 007 finds the row of 7, but is not its key: nothing would make its entry stale.
        return {name: found[name] for name in names if name in found}

    def _values(self, names: Sequence[str]) -> Iterator[Any]:
        """What the column would hold; what it could not is no row's."""
        for name in names:
            try:
                value = self._by.to_python(name)
                self._by.run_validators(value)
            except (ValidationError, ValueError):
                continue
            yield value

    def _read(self, values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
        using = router.db_for_write(self.model)
        rows = self.model._default_manager.using(using).filter(**{f"{self._by.attname}__in": values})
        if self._make is not None:
            for row in rows:
                yield text_of(getattr(row, self._by.attname)), self._make(row)
            return
        columns = self._columns or tuple(each.attname for each in self.model._meta.concrete_fields)
        for each in rows.values(*dict.fromkeys((self._by.attname, *columns))):
            yield text_of(each[self._by.attname]), {name: each[name] for name in columns}


def register_sources() -> None:
    """Let `load` know the models that rules name, and forget those that they named before."""
    sources.state("models", _loaders())


def _loaders() -> Iterator[tuple[str, str, ModelLoader]]:
    for stated in stated_sources(ModelSource):
        try:
            yield stated.name, stated.prefix, ModelLoader(stated.source)
        except ImproperlyConfigured as error:
            logger.error("source=%s of prefix=%s left out: %s", stated.source.model, stated.prefix, error)


def stale_by(prefix: str, source: ModelSource, alias: str) -> InvalidationRule:
    """The rule that a change of a row deletes its record by."""
    literal = prefix.replace("{", "{{").replace("}", "}}")
    key = KeyTemplate(f"{literal}{{{source.by}}}")
    return InvalidationRule(model=source.model, keys=(key,), alias=alias)
