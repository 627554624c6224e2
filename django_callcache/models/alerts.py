"""Alerts, open and past."""

from __future__ import annotations

import datetime
from typing import ClassVar, Self

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from django_callcache.models.history import HistoryQuerySet


class CacheAlertQuerySet(HistoryQuerySet):
    """Questions to the alerts. They grow old from the moment they were resolved."""

    time_field = "resolved_at"

    def open(self) -> Self:
        """Alerts that are not resolved, those included that wait for their condition to last."""
        return self.exclude(state=CacheAlert.State.RESOLVED)

    def active(self) -> Self:
        """Alerts that fire, whoever knows of it."""
        return self.open().exclude(state=CacheAlert.State.PENDING)

    def resolved_since(self, moment: datetime.datetime) -> Self:
        """Alerts that were resolved after a moment."""
        return self.filter(state=CacheAlert.State.RESOLVED, resolved_at__gt=moment)

    def undelivered(self, now: datetime.datetime) -> Self:
        """Alerts of which something is still to be told."""
        return self.filter(deliver_at__lte=now)


class CacheAlert(models.Model):
    """Something that was wrong for a while, and what became of it."""

    class State(models.TextChoices):
        """Where an alert stands."""

        PENDING = "pending", _("not yet for long enough")
        FIRING = "firing", _("firing")
        ACKNOWLEDGED = "acknowledged", _("acknowledged")
        SILENCED = "silenced", _("silenced")
        RESOLVED = "resolved", _("resolved")

    class Severity(models.TextChoices):
        """How bad it is."""

        INFO = "info", pgettext_lazy("severity", "info")
        WARNING = "warning", pgettext_lazy("severity", "warning")
        CRITICAL = "critical", pgettext_lazy("severity", "critical")

    QUIET_SECONDS: ClassVar = 300
    """An alert that fires again so soon after it was told of is not told of anew."""

    alias = models.CharField(_("cache alias"), max_length=100)
    rule = models.CharField(_("rule"), max_length=100)
    severity = models.CharField(_("severity"), max_length=10, choices=Severity)
    summary = models.CharField(_("summary"), max_length=300, blank=True)
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.PENDING)
    value = models.FloatField(_("value"), null=True, blank=True, help_text=_("When it fired."))
    threshold = models.FloatField(_("threshold"), default=0.0)
    began_at = models.DateTimeField(_("began at"), help_text=_("When the condition began to hold."))
    fired_at = models.DateTimeField(_("fired at"), null=True, blank=True)
    good_since = models.DateTimeField(_("well since"), null=True, blank=True)
    resolved_at = models.DateTimeField(_("resolved at"), null=True, blank=True)
    flaps = models.PositiveIntegerField(
        _("came and went"), default=0, help_text=_("How often it had fired and ended shortly before.")
    )
    handled_by = models.CharField(_("handled by"), max_length=254, blank=True)
    note = models.CharField(_("note"), max_length=500, blank=True)
    silenced_until = models.DateTimeField(_("silenced until"), null=True, blank=True)
    told_at = models.DateTimeField(_("told at"), null=True, blank=True, help_text=_("That it fires."))
    undelivered = models.JSONField(_("channels to be told"), default=list, blank=True)
    deliver_at = models.DateTimeField(_("next try"), null=True, blank=True)
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)
    faults = models.JSONField(
        _("channels that failed"),
        default=dict,
        blank=True,
        help_text=_("Why each did not take the last notice."),
    )

    objects = CacheAlertQuerySet.as_manager()

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        ordering = ("-began_at",)
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(
                fields=("alias", "rule"), condition=~models.Q(state="resolved"), name="callcache_alert_open"
            ),
        )
        indexes = (
            models.Index(fields=("alias", "state"), name="callcache_alert_state"),
            models.Index(fields=("resolved_at",), name="callcache_alert_age"),
            models.Index(fields=("deliver_at",), name="callcache_alert_delivery"),
        )

    def __str__(self) -> str:
        return f"{self.rule} {self.alias} {self.state}"

    def fire(
        self, value: float | None, threshold: float, severity: str, summary: str, now: datetime.datetime
    ) -> None:
        """Note that the condition has held for long enough."""
        self.value, self.threshold, self.severity, self.summary = value, threshold, severity, summary
        self.state, self.fired_at = self.State.FIRING, now
        self.save(update_fields=("value", "threshold", "severity", "summary", "state", "fired_at"))

    def close(self, now: datetime.datetime) -> None:
        """Note that all is well again."""
        self.state, self.resolved_at = self.State.RESOLVED, now
        self.save(update_fields=("state", "resolved_at"))

    def acknowledge(self, username: str, note: str = "") -> None:
        """Note that somebody knows of it."""
        self._handled(self.State.ACKNOWLEDGED, username, note, None)

    def silence(self, until: datetime.datetime, username: str, note: str = "") -> None:
        """Tell nothing more of it until a moment; it is told anew if it still fires then."""
        self._handled(self.State.SILENCED, username, note, until)

    def wakes(self, now: datetime.datetime) -> bool:
        """End a silence whose time is over; tell whether it did."""
        if self.state != self.State.SILENCED or self.silenced_until is None or self.silenced_until > now:
            return False
        self.state, self.silenced_until, self.told_at = self.State.FIRING, None, None
        self.save(update_fields=("state", "silenced_until", "told_at"))
        return True

    def plan(self, channels: list[str], now: datetime.datetime) -> None:
        """Note who is to be told of the present state: nobody while it is silenced, or flaps."""
        is_silenced = self.silenced_until is not None and self.silenced_until > now
        if self.state != self.State.RESOLVED:
            quiet_until = self.told_at and self.told_at + datetime.timedelta(seconds=self.QUIET_SECONDS)
            is_quiet = quiet_until is not None and quiet_until > now
            self.told_at = self.told_at if is_quiet else now
        else:
            # What was never told to begin is not told to end.
            is_quiet = self.told_at is None or self.fired_at is None or self.told_at < self.fired_at
        self.undelivered = [] if is_silenced or is_quiet else channels
        self.deliver_at = now if self.undelivered else None
        self.tries = 0
        self.save(update_fields=("told_at", "undelivered", "deliver_at", "tries"))

    def claim(self, until: datetime.datetime) -> bool:
        """Take the notice, for nobody else to send it before a moment; False where somebody has it."""
        mine = type(self).objects.filter(pk=self.pk, deliver_at=self.deliver_at)
        if not mine.update(deliver_at=until, tries=models.F("tries") + 1):
            return False
        self.deliver_at = until
        self.tries += 1
        return True

    def delivered(self, left: list[str], faults: dict[str, str]) -> None:
        """Note which channels are still to be told, and what each that failed said.

        Where something newer is to be told by now, that stays as it is.
        """
        mine = type(self).objects.filter(pk=self.pk, deliver_at=self.deliver_at)
        mine.update(undelivered=left, faults=faults, deliver_at=self.deliver_at if left else None)
        self.undelivered, self.faults = left, faults

    def _handled(
        self, state: CacheAlert.State, username: str, note: str, until: datetime.datetime | None
    ) -> None:
        self.state, self.handled_by, self.note, self.silenced_until = state, username[:254], note[:500], until
        self.save(update_fields=("state", "handled_by", "note", "silenced_until"))
