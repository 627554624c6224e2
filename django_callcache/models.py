"""What the cold side keeps in the database: statistics, reports of sync passes, the audit, dictionaries.

Questions live on the QuerySets. Rows leave by ``prune``, in bounded batches.
"""

from __future__ import annotations

import datetime
from typing import Any, ClassVar, Self, cast

from django.conf import settings
from django.db import models, router
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

COUNTERS = ("hits", "near_hits", "misses", "sets", "deletes", "errors", "undecodable")
"""What is counted, as the buckets in Redis name it."""

PREFIX_LENGTH = 250
"""Characters of a prefix that are stored; longer ones are cut."""

PATTERN_LENGTH = 500
"""Characters of a pattern that the audit can hold, and so the longest one that is taken."""

KEY_LENGTH = 600
"""Characters of a key that are stored; longer ones are cut, and told apart by their digests."""

PRUNE_BATCH = 1000
"""Rows deleted by one statement of ``prune``: short enough never to hold up a writer."""


class HistoryQuerySet(models.QuerySet[Any]):
    """Rows of cache aliases that grow old by ``time_field``."""

    time_field: ClassVar[str]

    def for_alias(self, alias: str) -> Self:
        """Rows of one cache alias."""
        return self.filter(alias=alias)

    def since(self, moment: datetime.datetime) -> Self:
        """Rows from a moment on, that moment included."""
        return self.filter(**{f"{self.time_field}__gte": moment})

    def until(self, moment: datetime.datetime) -> Self:
        """Rows before a moment."""
        return self.filter(**{f"{self.time_field}__lt": moment})

    def prune(self, days: float, *, now: datetime.datetime | None = None, batch: int = PRUNE_BATCH) -> int:
        """Delete the rows of this set that are older than some days, a batch at a time.

        Returns:
            How many rows were deleted.
        """
        database = router.db_for_write(self.model)
        limit = (now or timezone.now()) - datetime.timedelta(days=days)
        old = self.using(database).until(limit).order_by(self.time_field).values_list("pk", flat=True)
        deleted = 0
        # Keys first: neither DELETE with LIMIT nor LIMIT in its subquery is portable.
        while keys := list(old[:batch]):
            deleted += self.model._default_manager.using(database).filter(pk__in=keys).delete()[0]
        return deleted


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
    distinct_keys = models.PositiveBigIntegerField(
        _("distinct keys"), default=0, help_text=_("Different keys read in the hour, estimated within 1 %.")
    )
    read_latency = models.JSONField(_("read latency"), default=list, blank=True)
    write_latency = models.JSONField(_("write latency"), default=list, blank=True)
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

    QUIET_SECONDS: ClassVar = 300
    """An alert that fires again so soon after it was told of is not told of anew."""

    alias = models.CharField(_("cache alias"), max_length=100)
    rule = models.CharField(_("rule"), max_length=100)
    severity = models.CharField(_("severity"), max_length=10)
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

    def delivered(self, left: list[str]) -> None:
        """Note which channels are still to be told, unless something newer is to be told by now."""
        mine = type(self).objects.filter(pk=self.pk, deliver_at=self.deliver_at)
        mine.update(undelivered=left, deliver_at=self.deliver_at if left else None)
        self.undelivered = left

    def _handled(
        self, state: CacheAlert.State, username: str, note: str, until: datetime.datetime | None
    ) -> None:
        self.state, self.handled_by, self.note, self.silenced_until = state, username[:254], note[:500], until
        self.save(update_fields=("state", "handled_by", "note", "silenced_until"))


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


class Dashboard(models.Model):
    """No table: the place in the admin where the pages hang, and the permissions they ask for."""

    class Meta:
        managed = False
        verbose_name = _("cache overview")
        verbose_name_plural = _("cache overview")
        default_permissions = ()
        permissions = (
            ("view_dashboard", "Can see cache statistics"),
            ("view_keys", "Can see the names of cache keys"),
            ("view_values", "Can see cached values"),
            ("delete_keys", "Can delete cache keys and prefixes"),
            ("clear_cache", "Can clear a whole cache"),
            ("change_ttl", "Can change the TTL of cache keys and prefixes"),
            ("run_sync", "Can run and pause sync, requeue or discard rejected entries"),
            ("manage_alerts", "Can acknowledge, silence and change cache alerts"),
        )

    def __str__(self) -> str:
        return str(self._meta.verbose_name)
