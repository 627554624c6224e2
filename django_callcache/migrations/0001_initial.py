"""The tables of the app, and the permissions of its pages."""

# ruff: noqa: RUF012 (the form of Django's migrations)

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Dashboard",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
            ],
            options={
                "verbose_name": "cache overview",
                "verbose_name_plural": "cache overview",
                "permissions": (
                    ("view_dashboard", "Can see cache statistics"),
                    ("view_keys", "Can see the names of cache keys"),
                    ("view_values", "Can see cached values"),
                    ("delete_keys", "Can delete cache keys and prefixes"),
                    ("clear_cache", "Can clear a whole cache"),
                    ("change_ttl", "Can change the TTL of cache keys and prefixes"),
                    ("run_sync", "Can run and pause sync, requeue or discard rejected entries"),
                    ("manage_alerts", "Can acknowledge, silence and change cache alerts"),
                ),
                "managed": False,
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="CacheAlert",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("alias", models.CharField(max_length=100, verbose_name="cache alias")),
                ("rule", models.CharField(max_length=100, verbose_name="rule")),
                (
                    "severity",
                    models.CharField(
                        choices=[("info", "info"), ("warning", "warning"), ("critical", "critical")],
                        max_length=10,
                        verbose_name="severity",
                    ),
                ),
                ("summary", models.CharField(blank=True, max_length=300, verbose_name="summary")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "not yet for long enough"),
                            ("firing", "firing"),
                            ("acknowledged", "acknowledged"),
                            ("silenced", "silenced"),
                            ("resolved", "resolved"),
                        ],
                        default="pending",
                        max_length=12,
                        verbose_name="state",
                    ),
                ),
                (
                    "value",
                    models.FloatField(
                        blank=True, help_text="When it fired.", null=True, verbose_name="value"
                    ),
                ),
                ("threshold", models.FloatField(default=0.0, verbose_name="threshold")),
                (
                    "began_at",
                    models.DateTimeField(
                        help_text="When the condition began to hold.", verbose_name="began at"
                    ),
                ),
                ("fired_at", models.DateTimeField(blank=True, null=True, verbose_name="fired at")),
                ("good_since", models.DateTimeField(blank=True, null=True, verbose_name="well since")),
                ("resolved_at", models.DateTimeField(blank=True, null=True, verbose_name="resolved at")),
                (
                    "flaps",
                    models.PositiveIntegerField(
                        default=0,
                        help_text="How often it had fired and ended shortly before.",
                        verbose_name="came and went",
                    ),
                ),
                ("handled_by", models.CharField(blank=True, max_length=254, verbose_name="handled by")),
                ("note", models.CharField(blank=True, max_length=500, verbose_name="note")),
                (
                    "silenced_until",
                    models.DateTimeField(blank=True, null=True, verbose_name="silenced until"),
                ),
                (
                    "told_at",
                    models.DateTimeField(
                        blank=True, help_text="That it fires.", null=True, verbose_name="told at"
                    ),
                ),
                (
                    "undelivered",
                    models.JSONField(blank=True, default=list, verbose_name="channels to be told"),
                ),
                ("deliver_at", models.DateTimeField(blank=True, null=True, verbose_name="next try")),
                ("tries", models.PositiveSmallIntegerField(default=0, verbose_name="tries")),
                (
                    "faults",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="Why each did not take the last notice.",
                        verbose_name="channels that failed",
                    ),
                ),
            ],
            options={
                "verbose_name": "alert",
                "verbose_name_plural": "alerts",
                "ordering": ("-began_at",),
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["alias", "state"], name="callcache_alert_state"),
                    models.Index(fields=["resolved_at"], name="callcache_alert_age"),
                    models.Index(fields=["deliver_at"], name="callcache_alert_delivery"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "resolved"), _negated=True),
                        fields=("alias", "rule"),
                        name="callcache_alert_open",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="CacheHour",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("hits", models.PositiveBigIntegerField(default=0, verbose_name="hits in Redis")),
                (
                    "near_hits",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Answered from the memory of a process.",
                        verbose_name="near hits",
                    ),
                ),
                ("misses", models.PositiveBigIntegerField(default=0, verbose_name="misses")),
                ("sets", models.PositiveBigIntegerField(default=0, verbose_name="sets")),
                ("deletes", models.PositiveBigIntegerField(default=0, verbose_name="deletes")),
                (
                    "errors",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Calls that Redis did not answer in time or refused.",
                        verbose_name="errors",
                    ),
                ),
                (
                    "undecodable",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Values that could not be verified or decoded: misses.",
                        verbose_name="undecodable values",
                    ),
                ),
                (
                    "checked",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Hits that were compared with their origin.",
                        verbose_name="hits checked",
                    ),
                ),
                (
                    "stale",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Checked hits whose origin had changed.",
                        verbose_name="found stale",
                    ),
                ),
                ("alias", models.CharField(max_length=100, verbose_name="cache alias")),
                ("hour", models.DateTimeField(help_text="Start of the hour.", verbose_name="hour")),
                ("read_latency", models.JSONField(blank=True, default=list, verbose_name="read latency")),
                ("write_latency", models.JSONField(blank=True, default=list, verbose_name="write latency")),
                (
                    "ttl_bands",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Writes by how long their entries live.",
                        verbose_name="times to live",
                    ),
                ),
                (
                    "backlog",
                    models.PositiveBigIntegerField(
                        blank=True,
                        help_text="Most entries seen waiting for the remote store.",
                        null=True,
                        verbose_name="backlog",
                    ),
                ),
                (
                    "oldest_seconds",
                    models.FloatField(
                        blank=True,
                        help_text="Longest wait seen, in seconds.",
                        null=True,
                        verbose_name="age of the backlog",
                    ),
                ),
                (
                    "used_memory",
                    models.PositiveBigIntegerField(
                        blank=True,
                        help_text="Most bytes that Redis was seen to use.",
                        null=True,
                        verbose_name="memory",
                    ),
                ),
                (
                    "keys",
                    models.PositiveBigIntegerField(
                        blank=True,
                        help_text="Most keys seen in the Redis database.",
                        null=True,
                        verbose_name="keys",
                    ),
                ),
            ],
            options={
                "verbose_name": "hour of a cache",
                "verbose_name_plural": "hours of caches",
                "ordering": ("-hour", "alias"),
                "default_permissions": (),
                "indexes": [models.Index(fields=["hour"], name="callcache_hour_age")],
                "constraints": [
                    models.UniqueConstraint(fields=("alias", "hour"), name="callcache_hour_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="CacheStat",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("hits", models.PositiveBigIntegerField(default=0, verbose_name="hits in Redis")),
                (
                    "near_hits",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Answered from the memory of a process.",
                        verbose_name="near hits",
                    ),
                ),
                ("misses", models.PositiveBigIntegerField(default=0, verbose_name="misses")),
                ("sets", models.PositiveBigIntegerField(default=0, verbose_name="sets")),
                ("deletes", models.PositiveBigIntegerField(default=0, verbose_name="deletes")),
                (
                    "errors",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Calls that Redis did not answer in time or refused.",
                        verbose_name="errors",
                    ),
                ),
                (
                    "undecodable",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Values that could not be verified or decoded: misses.",
                        verbose_name="undecodable values",
                    ),
                ),
                (
                    "checked",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Hits that were compared with their origin.",
                        verbose_name="hits checked",
                    ),
                ),
                (
                    "stale",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Checked hits whose origin had changed.",
                        verbose_name="found stale",
                    ),
                ),
                ("alias", models.CharField(max_length=100, verbose_name="cache alias")),
                (
                    "prefix",
                    models.CharField(
                        blank=True,
                        help_text="Beginning of the keys counted here.",
                        max_length=250,
                        verbose_name="prefix",
                    ),
                ),
                ("hour", models.DateTimeField(help_text="Start of the hour.", verbose_name="hour")),
                (
                    "distinct_keys",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Different keys read in the hour, estimated within 1 %.",
                        verbose_name="distinct keys",
                    ),
                ),
                ("read_latency", models.JSONField(blank=True, default=list, verbose_name="read latency")),
                ("write_latency", models.JSONField(blank=True, default=list, verbose_name="write latency")),
                (
                    "ttl_bands",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Writes by how long their entries live.",
                        verbose_name="times to live",
                    ),
                ),
                (
                    "hot_keys",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="The most read keys with their reads.",
                        verbose_name="hot keys",
                    ),
                ),
            ],
            options={
                "verbose_name": "hour of statistics",
                "verbose_name_plural": "hourly statistics",
                "ordering": ("-hour", "alias", "prefix"),
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        fields=["alias", "hour", "prefix", "hits", "near_hits", "misses", "sets", "errors"],
                        name="callcache_stat_period",
                    ),
                    models.Index(fields=["hour"], name="callcache_stat_age"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("alias", "prefix", "hour"), name="callcache_stat_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="CompressionDictionary",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("alias", models.CharField(max_length=100, verbose_name="cache alias")),
                ("prefix", models.CharField(max_length=250, verbose_name="prefix")),
                (
                    "dictionary_id",
                    models.CharField(
                        help_text="As the values name it that were compressed with it.",
                        max_length=8,
                        verbose_name="dictionary",
                    ),
                ),
                ("record", models.BinaryField(help_text="Sealed, as Redis holds it.", verbose_name="record")),
                ("size", models.PositiveIntegerField(verbose_name="bytes")),
                (
                    "samples",
                    models.PositiveIntegerField(
                        help_text="Values it was trained on.", verbose_name="samples"
                    ),
                ),
                (
                    "bytes_before",
                    models.PositiveBigIntegerField(
                        help_text="Of the values held back from training, as stored without it.",
                        verbose_name="bytes without",
                    ),
                ),
                (
                    "bytes_after",
                    models.PositiveBigIntegerField(
                        help_text="Of the same values with it.", verbose_name="bytes with"
                    ),
                ),
                (
                    "trained_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="trained at"),
                ),
                (
                    "is_current",
                    models.BooleanField(
                        default=True,
                        help_text="Whether new values of the prefix are compressed with it.",
                        verbose_name="in use",
                    ),
                ),
                ("retired_at", models.DateTimeField(blank=True, null=True, verbose_name="replaced at")),
            ],
            options={
                "verbose_name": "compression dictionary",
                "verbose_name_plural": "compression dictionaries",
                "ordering": ("alias", "prefix", "-trained_at"),
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("alias", "prefix", "dictionary_id"), name="callcache_dictionary_unique"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("is_current", True)),
                        fields=("alias", "prefix"),
                        name="callcache_dictionary_current",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SyncConflict",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("alias", models.CharField(max_length=100, verbose_name="cache alias")),
                (
                    "key",
                    models.CharField(
                        help_text="With its version, as the remote store names it.",
                        max_length=600,
                        verbose_name="key",
                    ),
                ),
                ("digest", models.CharField(editable=False, max_length=64)),
                ("redis_key", models.BinaryField(verbose_name="Redis key")),
                (
                    "found_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="found at"),
                ),
                ("local_version", models.BigIntegerField(verbose_name="order of the local write")),
                ("local_deleted", models.BooleanField(default=False, verbose_name="deleted here")),
                (
                    "local_expires_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="expires here at"),
                ),
                (
                    "local_payload",
                    models.BinaryField(
                        help_text="Sealed, as the cache holds it.", verbose_name="local value"
                    ),
                ),
                ("remote_version", models.BigIntegerField(verbose_name="remote version")),
                ("remote_order", models.BigIntegerField(verbose_name="order of the remote write")),
                (
                    "remote_origin",
                    models.CharField(max_length=250, verbose_name="origin of the remote write"),
                ),
                ("remote_deleted", models.BooleanField(default=False, verbose_name="deleted there")),
                (
                    "remote_expires_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="expires there at"),
                ),
                (
                    "remote_payload",
                    models.BinaryField(
                        help_text="As this cache would hold it; none where it cannot be read.",
                        null=True,
                        verbose_name="remote value",
                    ),
                ),
                (
                    "reason",
                    models.TextField(
                        blank=True,
                        help_text="Why it could not be merged; empty where the rule asks a person.",
                        verbose_name="reason",
                    ),
                ),
                (
                    "decision",
                    models.CharField(
                        blank=True,
                        choices=[("local", "local"), ("remote", "remote"), ("value", "another value")],
                        max_length=10,
                        verbose_name="decision",
                    ),
                ),
                ("decided_at", models.DateTimeField(blank=True, null=True, verbose_name="decided at")),
                ("decided_by", models.CharField(blank=True, max_length=254, verbose_name="decided by")),
            ],
            options={
                "verbose_name": "conflict",
                "verbose_name_plural": "conflicts",
                "ordering": ("-found_at",),
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["alias", "found_at"], name="callcache_conflict_period"),
                    models.Index(fields=["found_at"], name="callcache_conflict_age"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("decision", "")),
                        fields=("alias", "digest"),
                        name="callcache_conflict_open",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SyncedRedis",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("alias", models.CharField(max_length=100, verbose_name="cache alias")),
                (
                    "server",
                    models.CharField(
                        help_text="Address and database.", max_length=300, verbose_name="server"
                    ),
                ),
                (
                    "epoch",
                    models.CharField(help_text="As it stands in Redis.", max_length=32, verbose_name="mark"),
                ),
                (
                    "marked_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="marked at"),
                ),
                (
                    "emptied_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="Since when pushes pause.",
                        null=True,
                        verbose_name="found empty at",
                    ),
                ),
                (
                    "held",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Remote rows that met a key written since.",
                        verbose_name="rows held back",
                    ),
                ),
            ],
            options={
                "verbose_name": "synced Redis",
                "verbose_name_plural": "synced Redis servers",
                "ordering": ("alias", "server"),
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("alias", "server"), name="callcache_redis_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="SyncRejection",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("alias", models.CharField(max_length=100, verbose_name="cache alias")),
                (
                    "key",
                    models.CharField(
                        help_text="With its version, as the remote store names it.",
                        max_length=600,
                        verbose_name="key",
                    ),
                ),
                ("digest", models.CharField(editable=False, max_length=64)),
                ("redis_key", models.BinaryField(verbose_name="Redis key")),
                (
                    "version",
                    models.BigIntegerField(
                        help_text="Microseconds since the epoch.", verbose_name="order of the write"
                    ),
                ),
                (
                    "remote_version",
                    models.BigIntegerField(
                        help_text="Of the row that the write builds on; 0 for none.",
                        verbose_name="remote version",
                    ),
                ),
                ("deleted", models.BooleanField(default=False, verbose_name="is a deletion")),
                ("expires_at", models.DateTimeField(blank=True, null=True, verbose_name="expires at")),
                (
                    "payload",
                    models.BinaryField(help_text="Sealed, as the cache holds it.", verbose_name="value"),
                ),
                ("reason", models.TextField(verbose_name="reason")),
                (
                    "rejected_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="rejected at"),
                ),
            ],
            options={
                "verbose_name": "rejected entry",
                "verbose_name_plural": "rejected entries",
                "ordering": ("-rejected_at",),
                "default_permissions": (),
                "indexes": [models.Index(fields=["rejected_at"], name="callcache_rejection_age")],
                "constraints": [
                    models.UniqueConstraint(fields=("alias", "digest"), name="callcache_rejection_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="SyncRun",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("alias", models.CharField(max_length=100, verbose_name="cache alias")),
                (
                    "started_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="started at"),
                ),
                ("duration_seconds", models.FloatField(default=0.0, verbose_name="duration in seconds")),
                (
                    "outcome",
                    models.CharField(
                        choices=[("ok", "done"), ("partial", "partly done"), ("failed", "failed")],
                        default="ok",
                        max_length=10,
                        verbose_name="outcome",
                    ),
                ),
                ("pushed", models.PositiveBigIntegerField(default=0, verbose_name="pushed")),
                (
                    "deleted",
                    models.PositiveBigIntegerField(
                        default=0, help_text="Deletions pushed.", verbose_name="deleted"
                    ),
                ),
                (
                    "pulled",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Rows taken from the remote store, deletions included.",
                        verbose_name="pulled",
                    ),
                ),
                (
                    "conflicts",
                    models.PositiveBigIntegerField(
                        default=0, help_text="Keys written on both sides.", verbose_name="conflicts"
                    ),
                ),
                ("kept_local", models.PositiveBigIntegerField(default=0, verbose_name="local side won")),
                ("took_remote", models.PositiveBigIntegerField(default=0, verbose_name="remote side won")),
                ("merged", models.PositiveBigIntegerField(default=0, verbose_name="merged")),
                (
                    "parked",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Conflicts that wait for a decision.",
                        verbose_name="left to a person",
                    ),
                ),
                (
                    "rejected",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Entries that the remote store refused for their data.",
                        verbose_name="rejected",
                    ),
                ),
                (
                    "refused",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Remote rows of keys that this cache does not sync.",
                        verbose_name="refused",
                    ),
                ),
                (
                    "unreadable",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Remote values that this cache cannot read.",
                        verbose_name="unreadable",
                    ),
                ),
                (
                    "remarked",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Keys that the remote store had lost.",
                        verbose_name="pushed again",
                    ),
                ),
                (
                    "forgotten",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Keys that the remote store does not have any more.",
                        verbose_name="forgotten",
                    ),
                ),
                (
                    "resets",
                    models.PositiveBigIntegerField(
                        default=0, help_text="How often everything was pulled anew.", verbose_name="resets"
                    ),
                ),
                (
                    "backlog",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Entries that still waited when the pass ended.",
                        verbose_name="backlog",
                    ),
                ),
                (
                    "backlog_bytes",
                    models.PositiveBigIntegerField(default=0, verbose_name="bytes of the backlog"),
                ),
                (
                    "oldest_seconds",
                    models.FloatField(
                        default=0.0,
                        help_text="Seconds that its oldest entry had waited.",
                        verbose_name="age of the backlog",
                    ),
                ),
                ("error_class", models.CharField(blank=True, max_length=200, verbose_name="kind of error")),
                ("error", models.TextField(blank=True, verbose_name="error")),
            ],
            options={
                "verbose_name": "sync pass",
                "verbose_name_plural": "sync passes",
                "ordering": ("-started_at",),
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["alias", "started_at"], name="callcache_run_period"),
                    models.Index(fields=["started_at"], name="callcache_run_age"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("duration_seconds__gte", 0)), name="callcache_run_duration"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("outcome__in", ("ok", "partial", "failed"))),
                        name="callcache_run_outcome",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="CacheOperation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "username",
                    models.CharField(
                        blank=True,
                        help_text="Stays when the user is deleted.",
                        max_length=254,
                        verbose_name="user name",
                    ),
                ),
                (
                    "started_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="started at"),
                ),
                ("duration_seconds", models.FloatField(default=0.0, verbose_name="duration in seconds")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("clear", "clear"),
                            ("view", "look at a value"),
                            ("ttl", "change a time to live"),
                            ("pin", "pin a time to live"),
                            ("unpin", "take a pin away"),
                            ("pause_ttl", "pause adaptive times to live"),
                            ("resume_ttl", "end a pause of times to live"),
                            ("alert", "handle an alert"),
                            ("sync", "run or decide a sync"),
                            ("stop", "stop a clearing"),
                            ("resume", "go on with a clearing"),
                        ],
                        max_length=20,
                        verbose_name="operation",
                    ),
                ),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("key", "one key"),
                            ("keys", "chosen keys"),
                            ("prefix", "keys with a prefix"),
                            ("pattern", "keys of a pattern"),
                            ("alias", "the whole cache"),
                        ],
                        max_length=20,
                        verbose_name="scope",
                    ),
                ),
                ("alias", models.CharField(max_length=100, verbose_name="cache alias")),
                ("pattern", models.CharField(blank=True, max_length=500, verbose_name="pattern")),
                (
                    "expected",
                    models.PositiveBigIntegerField(
                        blank=True,
                        help_text="As the preview counted them.",
                        null=True,
                        verbose_name="keys expected",
                    ),
                ),
                ("deleted", models.PositiveBigIntegerField(default=0, verbose_name="keys deleted")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("waiting", "waits for the loop"),
                            ("running", "begun"),
                            ("ok", "done"),
                            ("partial", "partly done"),
                            ("stopped", "stopped"),
                            ("failed", "failed"),
                            ("refused", "refused"),
                        ],
                        default="running",
                        max_length=10,
                        verbose_name="outcome",
                    ),
                ),
                (
                    "limit",
                    models.PositiveBigIntegerField(
                        blank=True,
                        help_text="After which it ends, whatever is left.",
                        null=True,
                        verbose_name="keys at most",
                    ),
                ),
                (
                    "looked_at",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="In its present walk over the database.",
                        verbose_name="keys looked at",
                    ),
                ),
                ("total", models.PositiveBigIntegerField(default=0, verbose_name="keys in the database")),
                ("is_stop_asked", models.BooleanField(default=False, verbose_name="is to stop")),
                ("worker", models.CharField(blank=True, max_length=200, verbose_name="worker")),
                ("alive_at", models.DateTimeField(blank=True, null=True, verbose_name="last sign of life")),
                ("reason", models.CharField(blank=True, max_length=500, verbose_name="reason")),
                ("error_class", models.CharField(blank=True, max_length=200, verbose_name="kind of error")),
                ("error", models.TextField(blank=True, verbose_name="error")),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "operation",
                "verbose_name_plural": "operations",
                "ordering": ("-started_at",),
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["alias", "started_at"], name="callcache_operation_period"),
                    models.Index(fields=["started_at"], name="callcache_operation_age"),
                    models.Index(fields=["outcome"], name="callcache_operation_outcome"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("duration_seconds__gte", 0)), name="callcache_operation_duration"
                    )
                ],
            },
        ),
    ]
