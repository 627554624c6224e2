"""The table of copies of compression dictionaries."""

# ruff: noqa: RUF012 (the form of Django's migrations)

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_callcache", "0001_initial"),
    ]

    operations = [
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
    ]
