"""The audit: what people did to a cache."""

from __future__ import annotations

import datetime
from typing import Self

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_callcache.models.history import HistoryQuerySet

PATTERN_LENGTH = 500
"""Characters of a pattern that the audit can hold, and so the longest one that is taken."""


DESERTED_SECONDS = 30.0
"""After so long without a sign of life from its worker, an operation may be taken by another."""

RESUMED_SECONDS = 86_400
"""How long a deletion that ended early can be gone on with; later it takes a new preview."""

LIMIT_REACHED = "LimitReached"
"""Kind of error of a deletion that ended because it may remove no more."""


class CacheOperationQuerySet(HistoryQuerySet):
    """Questions to the audit."""

    time_field = "started_at"

    def clearings(self) -> Self:
        """Those that clear."""
        return self.filter(kind=CacheOperation.Kind.CLEAR)

    def unfinished(self) -> Self:
        """Those that wait for a worker, or have one."""
        return self.filter(outcome__in=(CacheOperation.Outcome.WAITING, CacheOperation.Outcome.RUNNING))

    def free(self, *, now: datetime.datetime | None = None) -> Self:
        """Those that a worker may take: they wait, or whoever had them shows no sign of life.

        One that never had a worker was begun by a request, which may have died before all was checked.
        """
        deserted = (now or timezone.now()) - datetime.timedelta(seconds=DESERTED_SECONDS)
        waits = models.Q(outcome=CacheOperation.Outcome.WAITING)
        return self.filter(waits | models.Q(outcome=CacheOperation.Outcome.RUNNING, alive_at__lt=deserted))


class CacheOperation(models.Model):
    """Something a person did to a cache: one row an attempt, whatever came of it.

    The row is written before the work begins, so that a process which dies in the middle leaves a trace.
    A long deletion is worked on by its row: whoever claims it notes how far it came, and can be told to stop.
    """

    class Kind(models.TextChoices):
        """What was done."""

        CLEAR = "clear", _("clear")
        VIEW = "view", _("look at a value")
        TTL = "ttl", _("change a time to live")
        PIN = "pin", _("pin a time to live")
        UNPIN = "unpin", _("take a pin away")
        PAUSE_TTL = "pause_ttl", _("pause adaptive times to live")
        RESUME_TTL = "resume_ttl", _("end a pause of times to live")
        ALERT = "alert", _("handle an alert")
        SYNC = "sync", _("run or decide a sync")
        STOP = "stop", _("stop a clearing")
        RESUME = "resume", _("go on with a clearing")

    class Scope(models.TextChoices):
        """How much it concerned."""

        KEY = "key", _("one key")
        KEYS = "keys", _("chosen keys")
        PREFIX = "prefix", _("keys with a prefix")
        PATTERN = "pattern", _("keys of a pattern")
        ALIAS = "alias", _("the whole cache")

    class Outcome(models.TextChoices):
        """How it ended."""

        WAITING = "waiting", _("waits for the loop")
        RUNNING = "running", _("begun")
        OK = "ok", _("done")
        PARTIAL = "partial", _("partly done")
        STOPPED = "stopped", _("stopped")
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
    limit = models.PositiveBigIntegerField(
        _("keys at most"), null=True, blank=True, help_text=_("After which it ends, whatever is left.")
    )
    looked_at = models.PositiveBigIntegerField(
        _("keys looked at"), default=0, help_text=_("In its present walk over the database.")
    )
    total = models.PositiveBigIntegerField(_("keys in the database"), default=0)
    is_stop_asked = models.BooleanField(_("is to stop"), default=False)
    worker = models.CharField(_("worker"), max_length=200, blank=True)
    alive_at = models.DateTimeField(_("last sign of life"), null=True, blank=True)
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
            models.Index(fields=("outcome",), name="callcache_operation_outcome"),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.alias} {self.pattern}".strip()

    @property
    def is_finished(self) -> bool:
        """Whether nobody works on it any more, nor is to."""
        return self.outcome not in (self.Outcome.WAITING, self.Outcome.RUNNING)

    @property
    def is_deserted(self) -> bool:
        """Whether somebody began it and shows no sign of life any more."""
        if self.outcome != self.Outcome.RUNNING or self.alive_at is None:
            return False
        return timezone.now() - self.alive_at > datetime.timedelta(seconds=DESERTED_SECONDS)

    @property
    def is_free(self) -> bool:
        """Whether nobody works on it, though somebody should."""
        return self.outcome == self.Outcome.WAITING or self.is_deserted

    @property
    def can_be_stopped(self) -> bool:
        """Whether it waits, or somebody works on it in steps."""
        is_stepwise = self.alive_at is not None or self.outcome == self.Outcome.WAITING
        return not self.is_finished and is_stepwise and not self.is_stop_asked

    @property
    def can_be_resumed(self) -> bool:
        """Whether it was checked and begun not long ago, and ended before its time."""
        ended_early = self.outcome in (self.Outcome.STOPPED, self.Outcome.PARTIAL, self.Outcome.FAILED)
        is_recent = timezone.now() - self.started_at < datetime.timedelta(seconds=RESUMED_SECONDS)
        was_begun = self.kind == self.Kind.CLEAR and self.alive_at is not None
        is_open = (ended_early and self.error_class != LIMIT_REACHED) or self.is_deserted
        return was_begun and is_recent and is_open

    @property
    def share(self) -> float | None:
        """Part of the database that its present walk has passed; None before it begins."""
        return min(self.looked_at / self.total, 1.0) if self.total else None

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
