"""What is known of a cache as a whole, hour by hour: the sums of all its prefixes, and samples."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_callcache.models.counted import Counted
from django_callcache.models.history import HistoryQuerySet


class CacheHourQuerySet(HistoryQuerySet):
    """Questions to the hours."""

    time_field = "hour"


class CacheHour(Counted):
    """One hour of one cache, all prefixes together.

    The collector writes counts and lists, the sums of those of `CacheStat`, so that a page reads one row an
    hour however many prefixes there are; the loop notes the highest of what it sees whenever it looks, about
    twice a minute.
    """

    SAMPLES: ClassVar = ("backlog", "oldest_seconds", "used_memory", "keys")

    alias = models.CharField(_("cache alias"), max_length=100)
    hour = models.DateTimeField(_("hour"), help_text=_("Start of the hour."))
    read_latency = models.JSONField(_("read latency"), default=list, blank=True)
    write_latency = models.JSONField(_("write latency"), default=list, blank=True)
    ttl_bands = models.JSONField(
        _("times to live"), default=list, blank=True, help_text=_("Writes by how long their entries live.")
    )
    backlog = models.PositiveBigIntegerField(
        _("backlog"), null=True, blank=True, help_text=_("Most entries seen waiting for the remote store.")
    )
    oldest_seconds = models.FloatField(
        _("age of the backlog"), null=True, blank=True, help_text=_("Longest wait seen, in seconds.")
    )
    used_memory = models.PositiveBigIntegerField(
        _("memory"), null=True, blank=True, help_text=_("Most bytes that Redis was seen to use.")
    )
    keys = models.PositiveBigIntegerField(
        _("keys"), null=True, blank=True, help_text=_("Most keys seen in the Redis database.")
    )

    objects = CacheHourQuerySet.as_manager()

    class Meta:
        verbose_name = _("hour of a cache")
        verbose_name_plural = _("hours of caches")
        ordering = ("-hour", "alias")
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=("alias", "hour"), name="callcache_hour_unique"),)
        indexes = (models.Index(fields=("hour",), name="callcache_hour_age"),)

    def __str__(self) -> str:
        return f"{self.alias} {self.hour:%Y-%m-%d %H:%M}"
