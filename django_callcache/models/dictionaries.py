"""Copies of compression dictionaries."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_callcache.models.statistics import PREFIX_LENGTH


class CompressionDictionaryQuerySet(models.QuerySet[Any]):
    """Questions to the copies of dictionaries."""

    def for_alias(self, alias: str) -> Self:
        """Dictionaries of one cache alias."""
        return self.filter(alias=alias)

    def current(self) -> Self:
        """Dictionaries that new values are compressed with."""
        return self.filter(is_current=True)


class CompressionDictionary(models.Model):
    """The copy of a zstd dictionary, from which the loop restores what Redis has lost."""

    alias = models.CharField(_("cache alias"), max_length=100)
    prefix = models.CharField(_("prefix"), max_length=PREFIX_LENGTH)
    dictionary_id = models.CharField(
        _("dictionary"), max_length=8, help_text=_("As the values name it that were compressed with it.")
    )
    record = models.BinaryField(_("record"), help_text=_("Sealed, as Redis holds it."))
    size = models.PositiveIntegerField(_("bytes"))
    samples = models.PositiveIntegerField(_("samples"), help_text=_("Values it was trained on."))
    bytes_before = models.PositiveBigIntegerField(
        _("bytes without"), help_text=_("Of the values held back from training, as stored without it.")
    )
    bytes_after = models.PositiveBigIntegerField(_("bytes with"), help_text=_("Of the same values with it."))
    trained_at = models.DateTimeField(_("trained at"), default=timezone.now)
    is_current = models.BooleanField(
        _("in use"), default=True, help_text=_("Whether new values of the prefix are compressed with it.")
    )
    retired_at = models.DateTimeField(_("replaced at"), null=True, blank=True)

    objects = CompressionDictionaryQuerySet.as_manager()

    class Meta:
        verbose_name = _("compression dictionary")
        verbose_name_plural = _("compression dictionaries")
        ordering = ("alias", "prefix", "-trained_at")
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(
                fields=("alias", "prefix", "dictionary_id"), name="callcache_dictionary_unique"
            ),
            models.UniqueConstraint(
                fields=("alias", "prefix"),
                condition=models.Q(is_current=True),
                name="callcache_dictionary_current",
            ),
        )

    def __str__(self) -> str:
        return f"{self.alias} {self.prefix} {self.dictionary_id}"

    @property
    def saved(self) -> float:
        """The part of the bytes that it saved of the values held back from training."""
        return 1 - self.bytes_after / self.bytes_before
