"""Where the records of a prefix come from: what a rule's ``source`` may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from django_callcache.conf.parsing import Bounds, ReadBy, parse, wrong


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


def read_source(value: object, where: str) -> ModelSource | None:
    """Read a model, or a dict with more about it."""
    if value is None:
        return None
    return parse(ModelSource, {"model": value} if isinstance(value, str) else value, where)


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

    @classmethod
    def left_out(cls, stated: dict[str, Any]) -> dict[str, Any]:
        """The model has no default."""
        if "model" not in stated:
            raise wrong("source", stated, "its model too, such as {'model': 'crm.Campaign'}")
        return {}
