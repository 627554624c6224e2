"""Reports of sync passes, and what waits for a person: rejected entries and conflicts."""

from __future__ import annotations

import datetime
from typing import Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_callcache.models.history import PRUNE_BATCH, HistoryQuerySet

KEY_LENGTH = 600
"""Characters of a key that are stored; longer ones are cut, and told apart by their digests."""


class SyncRunQuerySet(HistoryQuerySet):
    """Questions to the reports of sync passes."""

    time_field = "started_at"

    def latest_of(self, alias: str) -> SyncRun | None:
        """The report of an alias's last pass."""
        return self.for_alias(alias).order_by("-started_at", "-pk").first()


class SyncRun(models.Model):
    """The report of one sync pass."""

    class Outcome(models.TextChoices):
        """How a pass ended."""

        OK = "ok", _("done")
        PARTIAL = "partial", _("partly done")
        FAILED = "failed", _("failed")

    alias = models.CharField(_("cache alias"), max_length=100)
    started_at = models.DateTimeField(_("started at"), default=timezone.now)
    duration_seconds = models.FloatField(_("duration in seconds"), default=0.0)
    outcome = models.CharField(_("outcome"), max_length=10, choices=Outcome, default=Outcome.OK)
    pushed = models.PositiveBigIntegerField(_("pushed"), default=0)
    deleted = models.PositiveBigIntegerField(_("deleted"), default=0, help_text=_("Deletions pushed."))
    pulled = models.PositiveBigIntegerField(
        _("pulled"), default=0, help_text=_("Rows taken from the remote store, deletions included.")
    )
    conflicts = models.PositiveBigIntegerField(
        _("conflicts"), default=0, help_text=_("Keys written on both sides.")
    )
    kept_local = models.PositiveBigIntegerField(_("local side won"), default=0)
    took_remote = models.PositiveBigIntegerField(_("remote side won"), default=0)
    merged = models.PositiveBigIntegerField(_("merged"), default=0)
    parked = models.PositiveBigIntegerField(
        _("left to a person"), default=0, help_text=_("Conflicts that wait for a decision.")
    )
    rejected = models.PositiveBigIntegerField(
        _("rejected"), default=0, help_text=_("Entries that the remote store refused for their data.")
    )
    refused = models.PositiveBigIntegerField(
        _("refused"), default=0, help_text=_("Remote rows of keys that this cache does not sync.")
    )
    unreadable = models.PositiveBigIntegerField(
        _("unreadable"), default=0, help_text=_("Remote values that this cache cannot read.")
    )
    remarked = models.PositiveBigIntegerField(
        _("pushed again"), default=0, help_text=_("Keys that the remote store had lost.")
    )
    forgotten = models.PositiveBigIntegerField(
        _("forgotten"), default=0, help_text=_("Keys that the remote store does not have any more.")
    )
    resets = models.PositiveBigIntegerField(
        _("resets"), default=0, help_text=_("How often everything was pulled anew.")
    )
    backlog = models.PositiveBigIntegerField(
        _("backlog"), default=0, help_text=_("Entries that still waited when the pass ended.")
    )
    backlog_bytes = models.PositiveBigIntegerField(_("bytes of the backlog"), default=0)
    oldest_seconds = models.FloatField(
        _("age of the backlog"), default=0.0, help_text=_("Seconds that its oldest entry had waited.")
    )
    error_class = models.CharField(_("kind of error"), max_length=200, blank=True)
    error = models.TextField(_("error"), blank=True)

    objects = SyncRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("sync pass")
        verbose_name_plural = _("sync passes")
        ordering = ("-started_at",)
        default_permissions = ()
        constraints = (
            models.CheckConstraint(
                condition=models.Q(duration_seconds__gte=0), name="callcache_run_duration"
            ),
            models.CheckConstraint(
                condition=models.Q(outcome__in=("ok", "partial", "failed")), name="callcache_run_outcome"
            ),
        )
        indexes = (
            models.Index(fields=("alias", "started_at"), name="callcache_run_period"),
            models.Index(fields=("started_at",), name="callcache_run_age"),
        )

    def __str__(self) -> str:
        return f"{self.alias} {self.started_at:%Y-%m-%d %H:%M:%S}"

    @property
    def rate(self) -> float:
        """Entries and rows a second."""
        return (self.pushed + self.pulled) / self.duration_seconds if self.duration_seconds else 0.0


class SyncRejectionQuerySet(HistoryQuerySet):
    """Questions to the entries that the remote store refused."""

    time_field = "rejected_at"


class SyncRejection(models.Model):
    """An entry that the remote store refuses for its data: out of the outbox, until a person decides.

    There is one row a key, of its latest refusal.
    """

    alias = models.CharField(_("cache alias"), max_length=100)
    key = models.CharField(
        _("key"), max_length=KEY_LENGTH, help_text=_("With its version, as the remote store names it.")
    )
    digest = models.CharField(max_length=64, editable=False)
    redis_key = models.BinaryField(_("Redis key"))
    version = models.BigIntegerField(_("order of the write"), help_text=_("Microseconds since the epoch."))
    remote_version = models.BigIntegerField(
        _("remote version"), help_text=_("Of the row that the write builds on; 0 for none.")
    )
    deleted = models.BooleanField(_("is a deletion"), default=False)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    payload = models.BinaryField(_("value"), help_text=_("Sealed, as the cache holds it."))
    reason = models.TextField(_("reason"))
    rejected_at = models.DateTimeField(_("rejected at"), default=timezone.now)

    objects = SyncRejectionQuerySet.as_manager()

    class Meta:
        verbose_name = _("rejected entry")
        verbose_name_plural = _("rejected entries")
        ordering = ("-rejected_at",)
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("alias", "digest"), name="callcache_rejection_unique"),
        )
        indexes = (models.Index(fields=("rejected_at",), name="callcache_rejection_age"),)

    def __str__(self) -> str:
        return f"{self.alias} {self.key}"


class SyncConflictQuerySet(HistoryQuerySet):
    """Questions to the conflicts that a person decides."""

    time_field = "found_at"

    def open(self) -> Self:
        """Conflicts that wait for a decision."""
        return self.filter(decision="")

    def prune(self, days: float, *, now: datetime.datetime | None = None, batch: int = PRUNE_BATCH) -> int:
        """Delete the decided ones that are older than some days."""
        return super(SyncConflictQuerySet, self.exclude(decision="")).prune(days, now=now, batch=batch)


class SyncConflict(models.Model):
    """A key written on both sides, under a rule that leaves the decision to a person. Both sides are kept.

    A key has one open conflict at most; what either side writes meanwhile is kept in it.
    """

    class Decision(models.TextChoices):
        """Which side stayed."""

        LOCAL = "local", _("local")
        REMOTE = "remote", _("remote")
        VALUE = "value", _("another value")

    alias = models.CharField(_("cache alias"), max_length=100)
    key = models.CharField(
        _("key"), max_length=KEY_LENGTH, help_text=_("With its version, as the remote store names it.")
    )
    digest = models.CharField(max_length=64, editable=False)
    redis_key = models.BinaryField(_("Redis key"))
    found_at = models.DateTimeField(_("found at"), default=timezone.now)
    local_version = models.BigIntegerField(_("order of the local write"))
    local_deleted = models.BooleanField(_("deleted here"), default=False)
    local_expires_at = models.DateTimeField(_("expires here at"), null=True, blank=True)
    local_payload = models.BinaryField(_("local value"), help_text=_("Sealed, as the cache holds it."))
    remote_version = models.BigIntegerField(_("remote version"))
    remote_order = models.BigIntegerField(_("order of the remote write"))
    remote_origin = models.CharField(_("origin of the remote write"), max_length=250)
    remote_deleted = models.BooleanField(_("deleted there"), default=False)
    remote_expires_at = models.DateTimeField(_("expires there at"), null=True, blank=True)
    remote_payload = models.BinaryField(
        _("remote value"),
        null=True,
        help_text=_("As this cache would hold it; none where it cannot be read."),
    )
    reason = models.TextField(
        _("reason"),
        blank=True,
        help_text=_("Why it could not be merged; empty where the rule asks a person."),
    )
    decision = models.CharField(_("decision"), max_length=10, choices=Decision, blank=True)
    decided_at = models.DateTimeField(_("decided at"), null=True, blank=True)
    decided_by = models.CharField(_("decided by"), max_length=254, blank=True)

    objects = SyncConflictQuerySet.as_manager()

    class Meta:
        verbose_name = _("conflict")
        verbose_name_plural = _("conflicts")
        ordering = ("-found_at",)
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(
                fields=("alias", "digest"), condition=models.Q(decision=""), name="callcache_conflict_open"
            ),
        )
        indexes = (
            models.Index(fields=("alias", "found_at"), name="callcache_conflict_period"),
            models.Index(fields=("found_at",), name="callcache_conflict_age"),
        )

    def __str__(self) -> str:
        return f"{self.alias} {self.key}"
