"""What a pass reports, and the tables of what waits for a person."""

# ruff: noqa: RUF012 (the form of Django's migrations)

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_callcache", "0003_key_operations"),
    ]

    operations = [
        migrations.AddField(
            model_name="syncrun",
            name="backlog_bytes",
            field=models.PositiveBigIntegerField(default=0, verbose_name="bytes of the backlog"),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="forgotten",
            field=models.PositiveBigIntegerField(
                default=0,
                help_text="Keys that the remote store does not have any more.",
                verbose_name="forgotten",
            ),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="kept_local",
            field=models.PositiveBigIntegerField(default=0, verbose_name="local side won"),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="merged",
            field=models.PositiveBigIntegerField(default=0, verbose_name="merged"),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="oldest_seconds",
            field=models.FloatField(
                default=0.0,
                help_text="Seconds that its oldest entry had waited.",
                verbose_name="age of the backlog",
            ),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="parked",
            field=models.PositiveBigIntegerField(
                default=0, help_text="Conflicts that wait for a decision.", verbose_name="left to a person"
            ),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="pulled",
            field=models.PositiveBigIntegerField(
                default=0,
                help_text="Rows taken from the remote store, deletions included.",
                verbose_name="pulled",
            ),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="refused",
            field=models.PositiveBigIntegerField(
                default=0,
                help_text="Remote rows of keys that this cache does not sync.",
                verbose_name="refused",
            ),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="remarked",
            field=models.PositiveBigIntegerField(
                default=0, help_text="Keys that the remote store had lost.", verbose_name="pushed again"
            ),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="resets",
            field=models.PositiveBigIntegerField(
                default=0, help_text="How often everything was pulled anew.", verbose_name="resets"
            ),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="took_remote",
            field=models.PositiveBigIntegerField(default=0, verbose_name="remote side won"),
        ),
        migrations.AddField(
            model_name="syncrun",
            name="unreadable",
            field=models.PositiveBigIntegerField(
                default=0, help_text="Remote values that this cache cannot read.", verbose_name="unreadable"
            ),
        ),
        migrations.AlterField(
            model_name="syncrun",
            name="conflicts",
            field=models.PositiveBigIntegerField(
                default=0, help_text="Keys written on both sides.", verbose_name="conflicts"
            ),
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
    ]
