"""Operations on alerts and sync."""

# ruff: noqa: RUF012 (the form of Django's migrations)

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_callcache", "0005_alerts"),
    ]

    operations = [
        migrations.AlterField(
            model_name="cacheoperation",
            name="kind",
            field=models.CharField(
                choices=[
                    ("clear", "clear"),
                    ("view", "look at a value"),
                    ("ttl", "change a time to live"),
                    ("alert", "handle an alert"),
                    ("sync", "run or decide a sync"),
                ],
                max_length=20,
                verbose_name="operation",
            ),
        ),
    ]
