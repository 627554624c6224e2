"""Where the records of a prefix come from: what a rule's ``source`` may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from django_callcache.conf.parsing import Amount, Bounds, ReadBy, by_field, parse, setting_types, wrong

NAME = re.compile(r"[^\W\d][\w$]*")
"""A name that PostgreSQL takes, quoted, and that means one thing in an address."""


def read_model(value: object, where: str) -> str:
    """Read the label of a model."""
    if isinstance(value, str) and value.count(".") == 1:
        return value
    raise wrong(where, value, "a model as its app and name, such as 'crm.Campaign'")


def read_record(value: object, where: str) -> Callable[[Any], Any] | str | None:
    """Read a callable, or the dotted path of one."""
    if value is None or callable(value) or (isinstance(value, str) and "." in value):
        return value
    raise wrong(where, value, "a callable that makes a record of an instance, or the dotted path of one")


def read_table(value: object, where: str) -> str:
    """Read the name of a table, with its schema or without."""
    parts = value.split(".") if isinstance(value, str) else []
    if 1 <= len(parts) <= 2 and all(NAME.fullmatch(part) for part in parts):
        return ".".join(parts)
    raise wrong(where, value, "a table by its name, such as 'campaigns' or 'sales.campaigns'")


def read_column(value: object, where: str) -> str:
    """Read the name of a column."""
    if isinstance(value, str) and NAME.fullmatch(value):
        return value
    raise wrong(where, value, "a column by its name: letters, digits and underscores")


def read_optional_column(value: object, where: str) -> str | None:
    """Read the name of a column, or none."""
    return None if value is None else read_column(value, where)


def read_columns(value: object, where: str) -> tuple[str, ...]:
    """Read a list of columns."""
    if not isinstance(value, list | tuple):
        raise wrong(where, value, "a list of columns")
    return tuple(dict.fromkeys(read_column(name, where) for name in value))


def read_source(value: object, where: str) -> ModelSource | TableSource | None:
    """Read a model or a table of the remote store: by its name, or a dict with more about it."""
    if value is None:
        return None
    if isinstance(value, str):
        value = {"model" if "." in value else "table": value}
    if not isinstance(value, Mapping):
        raise wrong(where, value, f"{SHORT_FORMS}, or a dict with more about it")
    known = setting_types(ModelSource) | setting_types(TableSource)
    stated = {"model", "table"} & by_field(known, value, where).keys()
    if len(stated) != 1:
        raise wrong(where, value, "either a model, such as {'model': 'crm.Campaign'}, or a table")
    kind: type[ModelSource | TableSource] = TableSource if "table" in stated else ModelSource
    return parse(kind, value, where)


SHORT_FORMS = "a model such as 'crm.Campaign', a table of the remote store such as 'campaigns'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model whose rows are the records. In its short form, its label alone."""

    model: Annotated[str, ReadBy(read_model)] = ""
    """The model, such as "crm.Campaign"."""
    by: Annotated[str, Bounds(at_least=1)] = "pk"
    """The column that a key names behind its prefix; its values are unique."""
    fields: tuple[str, ...] = ()
    """Columns that a record, a dict, has. Left out, all of them."""
    record: Annotated[Callable[[Any], Any] | str | None, ReadBy(read_record)] = None
    """A callable, or its dotted path, that makes a record of an instance, in place of `fields`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSource:
    """A table of the remote store whose rows are the records, dicts. In its short form, its name alone."""

    table: Annotated[str, ReadBy(read_table)] = ""
    """The table, such as "campaigns", or "sales.campaigns" where it is in another schema than `public`."""
    by: Annotated[str, ReadBy(read_column)] = "id"
    """The column that a key names behind its prefix; its values are unique, and it has an index."""
    fields: Annotated[tuple[str, ...], ReadBy(read_columns)] = ()
    """Columns that a record has. Left out, all of them."""
    on_change: Literal["delete", "refetch"] = "delete"
    """What the loop does with entries of rows that changed: "delete" them, or "refetch" those there are."""
    changed_at: Annotated[str | None, ReadBy(read_optional_column)] = None
    """The column that says when a row last changed: the loop polls it, where the table can have no triggers.
    Left out, the loop reads the feed that `callcache_attach` makes."""
    overlap: Amount = 120.0
    """Seconds before the latest change seen that a poll looks at again: longer than the longest transaction
    that writes the table, else what ends late is missed."""

    @property
    def schema(self) -> str:
        """Where the table is."""
        return self.table.rpartition(".")[0] or "public"

    @property
    def name(self) -> str:
        """The table without its schema."""
        return self.table.rpartition(".")[2]

    @property
    def full_name(self) -> str:
        """The table with its schema, as the feed names it."""
        return f"{self.schema}.{self.name}"
