"""The audit: what people did to a cache."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_callcache.models.history import HistoryQuerySet

PATTERN_LENGTH = 500
"""Characters of a pattern that the audit can hold, and so the longest one that is taken."""


class CacheOperationQuerySet(HistoryQuerySet):
    """Questions to the audit."""

    time_field = "started_at"


class CacheOperation(models.Model):
    """Something a person did to a cache: one row an attempt, whatever came of it.

    The row is written before the work begins, so that a process which dies in the middle leaves a trace.
    """

    class Kind(models.TextChoices):
        """What was done."""

        CLEAR = "clear", _("clear")
        VIEW = "view", _("look at a value")
        TTL = "ttl", _("change a time to live")
        ALERT = "alert", _("handle an alert")
        SYNC = "sync", _("run or decide a sync")

    class Scope(models.TextChoices):
        """How much it concerned."""

        KEY = "key", _("one key")
        PREFIX = "prefix", _("keys with a prefix")
        PATTERN = "pattern", _("keys of a pattern")
        ALIAS = "alias", _("the whole cache")

    class Outcome(models.TextChoices):
        """How it ended."""

        RUNNING = "running", _("begun")
        OK = "ok", _("done")
        PARTIAL = "partial", _("partly done")
        FAILED = "failed", _("failed")
        REFUSED = "refused", _("refused")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    username = models.CharField(
        _("user name"), max_length=254, blank=True, help_text=_("Stays when the user is deleted.")
    )
    started_at = models.DateTimeField(_("started at"), default=timezone.now)
    duration_seconds = models.FloatField(_("duration in seconds"), default=0.0)
    kind = models.CharField(_("operation"), max_length=20, choices=Kind)
    scope = models.CharField(_("scope"), max_length=20, choices=Scope)
    alias = models.CharField(_("cache alias"), max_length=100)
    pattern = models.CharField(_("pattern"), max_length=PATTERN_LENGTH, blank=True)
    expected = models.PositiveBigIntegerField(
        _("keys expected"), null=True, blank=True, help_text=_("As the preview counted them.")
    )
    deleted = models.PositiveBigIntegerField(_("keys deleted"), default=0)
    outcome = models.CharField(_("outcome"), max_length=10, choices=Outcome, default=Outcome.RUNNING)
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    error_class = models.CharField(_("kind of error"), max_length=200, blank=True)
    error = models.TextField(_("error"), blank=True)

    objects = CacheOperationQuerySet.as_manager()

    class Meta:
        verbose_name = _("operation")
        verbose_name_plural = _("operations")
        ordering = ("-started_at",)
        default_permissions = ()
        constraints = (
            models.CheckConstraint(
                condition=models.Q(duration_seconds__gte=0), name="callcache_operation_duration"
            ),
        )
        indexes = (
            models.Index(fields=("alias", "started_at"), name="callcache_operation_period"),
            models.Index(fields=("started_at",), name="callcache_operation_age"),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.alias} {self.pattern}".strip()

    def finish(
        self,
        outcome: CacheOperation.Outcome,
        *,
        deleted: int = 0,
        duration_seconds: float = 0.0,
        error_class: str = "",
        error: str = "",
    ) -> None:
        """Record how it ended."""
        self.outcome = outcome
        self.deleted = deleted
        self.duration_seconds = duration_seconds
        self.error_class = error_class[:200]
        self.error = error
        self.save(update_fields=("outcome", "deleted", "duration_seconds", "error_class", "error"))
