"""Rules with their models found, and which of them hold for a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from types import NoneType
from typing import Any
from uuid import UUID

from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db.models import BinaryField, FileField, JSONField, Model

from django_callcache.conf import InvalidationRule
from django_callcache.conf.parsing import did_you_mean
from django_callcache.key_templates import KeyTemplate
from django_callcache.orm.publication import KINDS, Stale

Row = Mapping[str, Any]
"""Values of a row's columns, by the names of their attributes."""


@dataclass(frozen=True)
class ModelRule:
    """A rule whose model and fields are there."""

    rule: InvalidationRule
    model: type[Model]

    @cached_property
    def attributes(self) -> Mapping[str, str]:
        """The attribute that holds each field of the rule's texts: ``client_id`` for ``client``."""
        fields = (field for template in self.rule.templates for field in template.fields)
        return {field: column(self.model, field).attname for field in fields}

    def stale(self, row: Row) -> Iterator[Stale]:
        """What a change of this row makes stale. Texts with the key of a row that has none are left out."""
        for kind in KINDS:
            for template in getattr(self.rule, kind):
                if not self._lacks_key(template, row):
                    text = template.render(lambda field: row[self.attributes[field]])
                    yield Stale(self.rule.alias, kind, text)

    def _lacks_key(self, template: KeyTemplate, row: Row) -> bool:
        key = column(self.model, "pk").attname
        return any(self.attributes[field] == key and row[key] is None for field in template.fields)


_UNKNOWN = object()
_OF_ONE_FORM = (int, str, UUID, NoneType)
"""What a database returns as it was stored: not so ``1.5`` for ``1.50``, or a time in another zone."""

KEYS_IN_A_QUERY = 500


class Rules:
    """The rules that hold now: those of the settings, and those that code has registered."""

    def __init__(self) -> None:
        self._stated: tuple[ModelRule, ...] = ()
        self._registered: list[ModelRule] = []
        self._of: dict[type[Model], ModelRules] = {}

    def state(self, rules: Iterable[ModelRule]) -> None:
        """Take the place of the rules of the settings."""
        self._stated = tuple(rules)
        self._of.clear()

    def register(self, rule: ModelRule) -> None:
        """Add one rule of code's own."""
        self._registered.append(rule)
        self._of.clear()

    def __bool__(self) -> bool:
        return bool(self._stated or self._registered)

    def of(self, model: type[Model]) -> ModelRules:
        """The rules of a model: its own, and those of the models that it inherits from."""
        known = self._of.get(model)
        if known is None:
            everyone = (*self._stated, *self._registered)
            known = ModelRules(model, tuple(rule for rule in everyone if issubclass(model, rule.model)))
            self._of[model] = known
        return known


class ModelRules:
    """All rules of one model."""

    def __init__(self, model: type[Model], rules: tuple[ModelRule, ...]) -> None:
        self.model = model
        self._rules = rules
        self.key = column(model, "pk").attname if rules else ""
        named = (attribute for rule in rules for attribute in rule.attributes.values())
        self.attributes = tuple(dict.fromkeys((self.key, *named)))
        """What must be known of a row, its primary key first."""
        keys = {column(rule.model, "pk").attname for rule in rules} | {self.key}
        self.changeable = frozenset(self.attributes) - keys
        """Those that may have been different before a row was saved."""

    def __bool__(self) -> bool:
        return bool(self._rules)

    def stale(self, rows: Iterable[Row]) -> set[Stale]:
        """What changes of these rows make stale."""
        return {one for row in rows for rule in self._rules for one in rule.stale(row)}

    def row_of(self, instance: Model) -> Row | None:
        """What must be known of an instance; None where only the database can tell.

        It alone knows what is not loaded and what it computes, and in which of their forms it
        keeps numbers and times that have several.
        """
        loaded = vars(instance)
        row = {}
        for attribute in self.attributes:
            value = loaded.get(attribute, _UNKNOWN)
            if value is _UNKNOWN or hasattr(value, "resolve_expression"):
                return None
            field = column(self.model, attribute)
            row[attribute] = field.to_python(value)
            if getattr(field, "generated", False) or not isinstance(row[attribute], _OF_ONE_FORM):
                return None
        return row

    def read(self, using: str, **conditions: Any) -> list[Row]:
        """What must be known of rows in the database."""
        found = self.model._base_manager.using(using).filter(**conditions)
        return list(found.order_by().values(*self.attributes))

    def rows_of(self, using: str, keys: Iterable[Any]) -> list[Row]:
        """What must be known of rows, by their primary keys; those alone need no query."""
        if not self.changeable:
            return [dict.fromkeys(self.attributes, key) for key in keys]
        return [row for chunk in _chunks(keys) for row in self.read(using, pk__in=chunk)]


def find_model(label: str) -> type[Model]:
    """The model of a label; a proxy's is the one whose rows they are.

    Raises:
        ImproperlyConfigured: There is none.
    """
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        hint = did_you_mean(label, [each._meta.label for each in apps.get_models()])
        raise ImproperlyConfigured(f"There is no model {label!r}.{hint}") from None
    return model._meta.concrete_model or model


def column(model: type[Model], name: str) -> Any:
    """The column of a model that a field's name, or its attribute's, stands for.

    Raises:
        ImproperlyConfigured: There is none.
    """
    if name == "pk":
        return model._meta.pk
    field: Any
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        field = next((each for each in model._meta.concrete_fields if each.attname == name), None)
    if field is None or not field.concrete or field.many_to_many:
        known = ["pk", *(each.attname for each in model._meta.concrete_fields)]
        known += [each.name for each in model._meta.concrete_fields if each.name not in known]
        label = model._meta.label
        raise ImproperlyConfigured(f"{label} has no column {name!r}.{did_you_mean(name, known)}")
    return field


def require_cache(alias: str) -> None:
    """Make sure that an alias is there.

    Raises:
        ImproperlyConfigured: It is not.
    """
    if alias not in django_settings.CACHES:
        raise ImproperlyConfigured(
            f"There is no cache {alias!r} in CACHES.{did_you_mean(alias, django_settings.CACHES)}"
        )


def require_columns(model: type[Model], rule: InvalidationRule) -> None:
    """Make sure that a rule's fields are columns of its model.

    Raises:
        ImproperlyConfigured: One is not, or can stand in no key.
    """
    for template in rule.templates:
        for name in template.fields:
            if isinstance(column(model, name), BinaryField | FileField | JSONField):
                raise ImproperlyConfigured(f"{rule.model}.{name} has no text that could stand in a key.")


def found(rule: InvalidationRule) -> ModelRule:
    """A rule with its model.

    Raises:
        ImproperlyConfigured: The model, a field or the cache is not there.
    """
    require_cache(rule.alias)
    model = find_model(rule.model)
    require_columns(model, rule)
    return ModelRule(rule, model)


def _chunks(keys: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(keys)
    while chunk := list(islice(remaining, KEYS_IN_A_QUERY)):
        yield chunk


rules = Rules()
"""Of this process."""
