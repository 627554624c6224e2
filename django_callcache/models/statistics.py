"""The hourly statistics."""

from __future__ import annotations

from typing import Any, ClassVar, Self, cast

from django.db import models
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from django_callcache.models.history import HistoryQuerySet

COUNTERS = (
    *("hits", "near_hits", "misses", "sets", "deletes", "errors", "undecodable"),
    *("checked", "stale"),
)
"""What is counted, as the buckets in Redis name it."""

PREFIX_LENGTH = 250
"""Characters of a prefix that are stored; longer ones are cut."""


class CacheStatQuerySet(HistoryQuerySet):
    """Questions to the hourly statistics."""

    time_field = "hour"

    def by_hour(self) -> models.QuerySet[Any, dict[str, Any]]:
        """Sums over all prefixes: one dict an hour, oldest first."""
        return self._sums("hour")

    def by_prefix(self) -> models.QuerySet[Any, dict[str, Any]]:
        """Sums over all hours: one dict a prefix, alphabetically by its ``name``."""
        # By an expression: SQLite, once analyzed, would read the whole history in the order of another index.
        named: Self = self.annotate(name=Coalesce("prefix", models.Value("")))
        return named._sums("name")

    def _sums(self, group: str) -> models.QuerySet[Any, dict[str, Any]]:
        sums = {f"total_{name}": models.Sum(name) for name in CacheStat.COUNTERS}
        return cast(
            "models.QuerySet[Any, dict[str, Any]]", self.order_by(group).values(group).annotate(**sums)
        )


class CacheStat(models.Model):
    """What happened to one prefix in one hour.

    A get is a hit in Redis, a near hit or a miss. Latency lists have 24 slots: slot i counts
    calls faster than ``2**(10 + i)`` nanoseconds that no earlier slot counts.
    """

    COUNTERS: ClassVar = COUNTERS

    alias = models.CharField(_("cache alias"), max_length=100)
    prefix = models.CharField(
        _("prefix"), max_length=PREFIX_LENGTH, blank=True, help_text=_("Beginning of the keys counted here.")
    )
    hour = models.DateTimeField(_("hour"), help_text=_("Start of the hour."))
    hits = models.PositiveBigIntegerField(_("hits in Redis"), default=0)
    near_hits = models.PositiveBigIntegerField(
        _("near hits"), default=0, help_text=_("Answered from the memory of a process.")
    )
    misses = models.PositiveBigIntegerField(_("misses"), default=0)
    sets = models.PositiveBigIntegerField(_("sets"), default=0)
    deletes = models.PositiveBigIntegerField(_("deletes"), default=0)
    errors = models.PositiveBigIntegerField(
        _("errors"), default=0, help_text=_("Calls that Redis did not answer in time or refused.")
    )
    undecodable = models.PositiveBigIntegerField(
        _("undecodable values"),
        default=0,
        help_text=_("Values that could not be verified or decoded: misses."),
    )
    checked = models.PositiveBigIntegerField(
        _("hits checked"), default=0, help_text=_("Hits that were compared with their origin.")
    )
    stale = models.PositiveBigIntegerField(
        _("found stale"), default=0, help_text=_("Checked hits whose origin had changed.")
    )
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
            models.Index(fields=("alias", "hour", "prefix", *COUNTERS), name="callcache_stat_period"),
            models.Index(fields=("hour",), name="callcache_stat_age"),
        )

    def __str__(self) -> str:
        return f"{self.alias} {self.prefix or '*'} {self.hour:%Y-%m-%d %H:%M}"

    @property
    def gets(self) -> int:
        """Reads of any outcome."""
        return self.hits + self.near_hits + self.misses
