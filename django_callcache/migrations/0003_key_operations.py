"""Operations on one key."""

# ruff: noqa: RUF012 (the form of Django's migrations)

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_callcache", "0002_compression_dictionary"),
    ]

    operations = [
        migrations.AlterField(
            model_name="cacheoperation",
            name="kind",
            field=models.CharField(
                choices=[("clear", "clear"), ("view", "look at a value"), ("ttl", "change a time to live")],
                max_length=20,
                verbose_name="operation",
            ),
        ),
        migrations.AlterField(
            model_name="cacheoperation",
            name="scope",
            field=models.CharField(
                choices=[
                    ("key", "one key"),
                    ("prefix", "keys with a prefix"),
                    ("pattern", "keys of a pattern"),
                    ("alias", "the whole cache"),
                ],
                max_length=20,
                verbose_name="scope",
            ),
        ),
    ]
