"""Tables of statistics, sync reports and audit, and the permissions of the pages."""

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
            name="CacheStat",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
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
                        fields=[
                            "alias",
                            "hour",
                            "prefix",
                            "hits",
                            "near_hits",
                            "misses",
                            "sets",
                            "deletes",
                            "errors",
                            "undecodable",
                        ],
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
                ("conflicts", models.PositiveBigIntegerField(default=0, verbose_name="conflicts")),
                (
                    "rejected",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Entries that the remote store refused for their data.",
                        verbose_name="rejected",
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
                    models.CharField(choices=[("clear", "clear")], max_length=20, verbose_name="operation"),
                ),
                (
                    "scope",
                    models.CharField(
                        choices=[
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
                            ("running", "begun"),
                            ("ok", "done"),
                            ("partial", "partly done"),
                            ("failed", "failed"),
                            ("refused", "refused"),
                        ],
                        default="running",
                        max_length=10,
                        verbose_name="outcome",
                    ),
                ),
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
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("duration_seconds__gte", 0)), name="callcache_operation_duration"
                    )
                ],
            },
        ),
    ]
