"""Rules of ``CALLCACHE["INVALIDATE"]``: which entries a change of a model's row makes stale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from django.core.exceptions import ImproperlyConfigured

from django_callcache.conf.parsing import DERIVED, ReadBy, item, read_fields, read_texts, wrong
from django_callcache.key_templates import KeyTemplate


def read_templates(value: object, where: str) -> tuple[KeyTemplate, ...]:
    """Read texts with fields in braces."""
    return tuple(_template(text, where) for text in read_texts(value, where))


def read_prefixes(value: object, where: str) -> tuple[KeyTemplate, ...]:
    """Read texts that keys begin with, none of which could mean more keys than it says."""
    templates = read_templates(value, where)
    for template in templates:
        if not template.literal:
            raise wrong(where, template.text, "a prefix that begins with a text, not with a field")
        if template.parts[-1][1]:
            expected = "what follows the field too, such as ':', or 7 would mean the keys of 70"
            raise wrong(where, template.text, expected)
    return templates


def read_invalidation_rules(value: object, where: str) -> tuple[InvalidationRule, ...]:
    """Read the table of models."""
    if not isinstance(value, Mapping):
        raise wrong(where, value, "a dict of models, such as {'crm.Campaign': {'keys': ['campaign:{pk}']}}")
    return tuple(_rule(model, stated, item(where, str(model))) for model, stated in value.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidationRule:
    """What a change of a row makes stale. Texts take fields of the row in braces, such as {pk}."""

    model: Annotated[str, DERIVED]
    """Label of the model. It is the key of the table."""
    keys: Annotated[tuple[KeyTemplate, ...], ReadBy(read_templates)] = ()
    """Keys that are deleted."""
    tags: Annotated[tuple[KeyTemplate, ...], ReadBy(read_templates)] = ()
    """Tags whose entries are dropped, one cost for any number of them."""
    prefixes: Annotated[tuple[KeyTemplate, ...], ReadBy(read_prefixes)] = ()
    """Prefixes whose keys are deleted; slow where Redis holds many keys."""
    alias: str = "default"
    """The cache."""

    @property
    def templates(self) -> tuple[KeyTemplate, ...]:
        """Every text of the rule."""
        return (*self.keys, *self.tags, *self.prefixes)


def make_rule(model: str, stated: Mapping[str, object], where: str) -> InvalidationRule:
    """Read what is stated for a model.

    Raises:
        ImproperlyConfigured: For an unknown name or a value that cannot be.
    """
    rule = InvalidationRule(model=model, **read_fields(InvalidationRule, stated, where))
    if not rule.templates:
        raise ImproperlyConfigured(f"{where} names nothing that becomes stale: give keys, tags or prefixes.")
    return rule


def _rule(model: object, stated: object, where: str) -> InvalidationRule:
    if not isinstance(model, str) or model.count(".") != 1:
        raise ImproperlyConfigured(f"{where}: give the model as its app and name, such as 'crm.Campaign'.")
    if isinstance(stated, list | tuple):
        stated = {"keys": stated}
    if not isinstance(stated, Mapping):
        raise wrong(where, stated, "a list of keys, or a dict such as {'keys': ['campaign:{pk}']}")
    return make_rule(model, stated, where)


def _template(text: str, where: str) -> KeyTemplate:
    try:
        template = KeyTemplate(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"{where}: {error}") from error
    if any("." in field for field in template.fields):
        raise wrong(where, text, "fields of the row itself; what they lead to is not read")
    return template
