"""Counts of calls, as rows of several models have them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

COUNTERS = (
    *("hits", "near_hits", "misses", "sets", "deletes", "errors", "undecodable"),
    *("checked", "stale"),
)
"""What is counted, as the buckets in Redis name it."""


class Counted(models.Model):
    """What happened to some keys in some time. A get is a hit in Redis, a near hit or a miss."""

    COUNTERS: ClassVar = COUNTERS

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

    class Meta:
        abstract = True

    @property
    def gets(self) -> int:
        """Reads of any outcome."""
        return self.hits + self.near_hits + self.misses
