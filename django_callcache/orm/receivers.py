"""Hears of rows that change, by Django's signals, and says what that makes stale.

Signals are connected for models with rules and no others: a model that something listens to is
deleted row by row, which costs more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db.models import Model, signals
from django.dispatch import receiver

from django_callcache.conf import SOURCES, InvalidationRule, ModelSource, get_settings, stated_sources
from django_callcache.conf.invalidation_rules import make_rule
from django_callcache.orm.publication import publish_on_commit
from django_callcache.orm.rules import ModelRule, Row, found, rules
from django_callcache.orm.sources import register_sources, stale_by

logger = logging.getLogger(__name__)

BEFORE = "_callcache_before"
"""Where an instance keeps its row between the signals before and after a change."""


def invalidates(model: type[Model], **stated: Any) -> None:
    """Say what a change of a model's row makes stale: what `CALLCACHE["INVALIDATE"]` says, in code.

    To be called when the app is ready: in `AppConfig.ready`.

    Args:
        model: The model.
        stated: ``keys``, ``prefixes`` and ``alias``, as in the settings.

    Raises:
        ImproperlyConfigured: A name is unknown, or a field or the cache is not there.
    """
    label = model._meta.label
    rules.register(found(make_rule(label, stated, f"invalidates({label})")))
    connect()


def read_rules() -> None:
    """Let the rules of the settings hold. A wrong one is logged and left out; a system check reports it."""
    rules.state(_usable(_stated_rules()))
    connect()


def _stated_rules() -> Iterator[InvalidationRule]:
    try:
        yield from get_settings().invalidate
    except ImproperlyConfigured as error:
        logger.error("no rules of INVALIDATE: %s", error)
    yield from (stale_by(each.prefix, each.source, each.alias) for each in stated_sources(ModelSource))


def _usable(stated: Iterable[InvalidationRule]) -> Iterator[ModelRule]:
    for rule in stated:
        try:
            yield found(rule)
        except ImproperlyConfigured as error:
            logger.error("invalidate=%s left out: %s", rule.model, error)


def connect() -> None:
    """Listen to the models that have rules, and to no others."""
    if not apps.models_ready:
        return
    for model in apps.get_models(include_auto_created=True):
        listen_to(model)
    if rules:
        signals.m2m_changed.connect(around_m2m_change, dispatch_uid=__name__)
    else:
        signals.m2m_changed.disconnect(dispatch_uid=__name__)


def listen_to(model: type[Model]) -> None:
    """Listen to a model, or cease to, as it has rules or none."""
    has_rules = bool(rules.of(model))
    for signal, receive in RECEIVERS:
        uid = f"{__name__}.{model._meta.label}"
        if has_rules:
            signal.connect(receive, sender=model, dispatch_uid=uid)
        else:
            signal.disconnect(receive, sender=model, dispatch_uid=uid)


@receiver(signals.class_prepared, dispatch_uid=__name__)
def _listen_to_new(sender: type[Model], **kwargs: Any) -> None:
    if apps.models_ready:
        listen_to(sender)


@receiver(setting_changed, dispatch_uid=__name__)
def _read_again(*, setting: str, **kwargs: Any) -> None:
    if setting in SOURCES:
        register_sources()
        read_rules()


def before_save(sender: type[Model], instance: Model, using: str, **kwargs: Any) -> None:
    """Keep what the row was: what other entries it was part of."""
    known = rules.of(sender)
    vars(instance).pop(BEFORE, None)
    is_inserted = instance._state.adding and sender._meta.pk.has_default()
    if known.changeable and instance.pk is not None and not is_inserted:
        vars(instance)[BEFORE] = known.read(using, pk=instance.pk)


def after_save(sender: type[Model], instance: Model, using: str, **kwargs: Any) -> None:
    """Publish what the row was part of and what it is part of now."""
    known = rules.of(sender)
    before: list[Row] = vars(instance).pop(BEFORE, [])
    row = known.row_of(instance)
    after = known.read(using, pk=instance.pk) if row is None else [row]
    publish_on_commit(known.stale([*before, *after]), using)


def before_delete(
    sender: type[Model], instance: Model, using: str, origin: object = None, **kwargs: Any
) -> None:
    """Keep what the row was. Those that Django has collected itself are fresh."""
    known = rules.of(sender)
    vars(instance).pop(BEFORE, None)
    if known.changeable and (origin is instance or known.row_of(instance) is None):
        vars(instance)[BEFORE] = known.read(using, pk=instance.pk)


def after_delete(sender: type[Model], instance: Model, using: str, **kwargs: Any) -> None:
    """Publish what the row was part of."""
    known = rules.of(sender)
    before: list[Row] = vars(instance).pop(BEFORE, [])
    row = known.row_of(instance)
    publish_on_commit(known.stale([*before, *([] if row is None else [row])]), using)


def around_m2m_change(
    sender: type[Model],
    instance: Model,
    action: str,
    reverse: bool,
    model: type[Model],
    pk_set: set[Any] | None,
    using: str,
    **kwargs: Any,
) -> None:
    """Publish what the rows at both ends of a relation are part of."""
    own, others = rules.of(type(instance)), rules.of(model)
    if action == "pre_clear" and others:
        keys = _related_keys(sender, instance, reverse, model, using)
        vars(instance)[BEFORE] = others.rows_of(using, keys)
    if action.startswith("post_"):
        before: list[Row] = vars(instance).pop(BEFORE, [])
        rows = [*before, *(others.rows_of(using, pk_set or ()) if others else ())]
        stale = others.stale(rows) if others else set()
        if own:
            stale |= own.stale(own.rows_of(using, [instance.pk]))
        publish_on_commit(stale, using)


def _related_keys(
    through: type[Model], instance: Model, reverse: bool, model: type[Model], using: str
) -> list[Any]:
    """Primary keys of the rows that a relation leads to from an instance."""
    owner = model if reverse else type(instance)
    fields = (each for each in owner._meta.many_to_many if each.remote_field.through is through)
    field: Any = next(fields)
    names = field.m2m_field_name(), field.m2m_reverse_field_name()
    here, there = reversed(names) if reverse else names
    links = through._base_manager.using(using).filter(**{here: instance.pk})
    return list(links.values_list(there, flat=True))


RECEIVERS = (
    (signals.pre_save, before_save),
    (signals.post_save, after_save),
    (signals.pre_delete, before_delete),
    (signals.post_delete, after_delete),
)
