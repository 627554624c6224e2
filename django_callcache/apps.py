"""The app itself. Starting it opens no connection, asks no database and starts no thread."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from django_callcache.checks import register_checks
from django_callcache.orm.receivers import read_rules
from django_callcache.orm.sources import register_sources
from django_callcache.tables.loader import register_tables


class CallCacheConfig(AppConfig):
    """Configuration of django_callcache."""

    name = "django_callcache"
    label = "django_callcache"
    verbose_name = _("Cache")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register checks and loaders, listen to models with rules; join django-prometheus where it is."""
        register_checks()
        register_sources()
        register_tables()
        read_rules()
        if apps.is_installed("django_prometheus"):
            import_string("django_callcache.metrics.join_django_prometheus")()
