"""What is remembered of a Redis outside of it, so that its return without data is noticed."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class SyncedRedisQuerySet(models.QuerySet[Any]):
    """Questions to the servers."""

    def for_alias(self, alias: str) -> Self:
        """Servers of one cache alias."""
        return self.filter(alias=alias)

    def of(self, alias: str, server: str) -> SyncedRedis | None:
        """The server of an alias at an address; None where it was never synced."""
        return self.for_alias(alias).filter(server=server).first()


class SyncedRedis(models.Model):
    """A Redis whose entries a loop that uses this database has synced."""

    alias = models.CharField(_("cache alias"), max_length=100)
    server = models.CharField(_("server"), max_length=300, help_text=_("Address and database."))
    epoch = models.CharField(_("mark"), max_length=32, help_text=_("As it stands in Redis."))
    marked_at = models.DateTimeField(_("marked at"), default=timezone.now)
    emptied_at = models.DateTimeField(
        _("found empty at"), null=True, blank=True, help_text=_("Since when pushes pause.")
    )
    held = models.PositiveBigIntegerField(
        _("rows held back"), default=0, help_text=_("Remote rows that met a key written since.")
    )

    objects = SyncedRedisQuerySet.as_manager()

    class Meta:
        verbose_name = _("synced Redis")
        verbose_name_plural = _("synced Redis servers")
        ordering = ("alias", "server")
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=("alias", "server"), name="callcache_redis_unique"),)

    def __str__(self) -> str:
        return f"{self.alias} {self.server}"

    def mark_emptied(self) -> None:
        """Record that it was found without its mark."""
        self.emptied_at, self.held = timezone.now(), 0
        self.save(update_fields=("emptied_at", "held"))

    def hold(self, rows: int) -> None:
        """Add rows that wait for a decision."""
        self.held += rows
        self.save(update_fields=("held",))
