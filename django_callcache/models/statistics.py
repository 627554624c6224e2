"""The hourly statistics."""

from __future__ import annotations

from typing import Any, Self, cast

from django.db import models
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from django_callcache.models.counted import Counted
from django_callcache.models.history import HistoryQuerySet

PREFIX_LENGTH = 250
"""Characters of a prefix that are stored; longer ones are cut."""

BY_PREFIX = ("hits", "near_hits", "misses", "sets", "errors")
"""What is added up by prefix: the columns that tables of prefixes have."""


class CacheStatQuerySet(HistoryQuerySet):
    """Questions to the hourly statistics."""

    time_field = "hour"

    def by_prefix(self) -> models.QuerySet[Any, dict[str, Any]]:
        """Sums of `BY_PREFIX` over all hours: one dict a prefix, alphabetically by its ``name``."""
        sums = {f"total_{name}": models.Sum(name) for name in BY_PREFIX}
        # By an expression: SQLite, once analyzed, would read the whole history in the order of another index.
        named: Self = self.annotate(name=Coalesce("prefix", models.Value("")))
        return cast(
            "models.QuerySet[Any, dict[str, Any]]", named.order_by("name").values("name").annotate(**sums)
        )


class CacheStat(Counted):
    """What happened to one prefix in one hour.

    Latency lists have 24 slots: slot i counts calls faster than ``2**(10 + i)`` nanoseconds that no
    earlier slot counts.
    """

    alias = models.CharField(_("cache alias"), max_length=100)
    prefix = models.CharField(
        _("prefix"), max_length=PREFIX_LENGTH, blank=True, help_text=_("Beginning of the keys counted here.")
    )
    hour = models.DateTimeField(_("hour"), help_text=_("Start of the hour."))
    distinct_keys = models.PositiveBigIntegerField(
        _("distinct keys"), default=0, help_text=_("Different keys read in the hour, estimated within 1 %.")
    )
    read_latency = models.JSONField(_("read latency"), default=list, blank=True)
    write_latency = models.JSONField(_("write latency"), default=list, blank=True)
    ttl_bands = models.JSONField(
        _("times to live"), default=list, blank=True, help_text=_("Writes by how long their entries live.")
    )
    hot_keys = models.JSONField(
        _("hot keys"), default=list, blank=True, help_text=_("The most read keys with their reads.")
    )

    objects = CacheStatQuerySet.as_manager()

    class Meta:
        verbose_name = _("hour of statistics")
        verbose_name_plural = _("hourly statistics")
        ordering = ("-hour", "alias", "prefix")
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("alias", "prefix", "hour"), name="callcache_stat_unique"),
        )
        indexes = (
            # Sums over a period are read from this index alone; the rows beside it are ten times as large.
            models.Index(fields=("alias", "hour", "prefix", *BY_PREFIX), name="callcache_stat_period"),
            models.Index(fields=("hour",), name="callcache_stat_age"),
        )

    def __str__(self) -> str:
        return f"{self.alias} {self.prefix or '*'} {self.hour:%Y-%m-%d %H:%M}"
