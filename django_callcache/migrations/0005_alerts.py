"""The table of alerts."""

# ruff: noqa: RUF012 (the form of Django's migrations)

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_callcache", "0004_sync_decisions"),
    ]

    operations = [
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
                ("severity", models.CharField(max_length=10, verbose_name="severity")),
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
    ]
