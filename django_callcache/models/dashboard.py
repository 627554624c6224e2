"""The place in the admin where the pages hang, and the permissions they ask for."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


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
