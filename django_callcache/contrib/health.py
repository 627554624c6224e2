"""Checks for django-health-check: whether Redis answers, and whether the loop lives.

path("health/", HealthCheckView.as_view(checks=[
    "django_callcache.contrib.health.CallCacheRedis",
    "django_callcache.contrib.health.CallCacheLoop",
]))
"""

from __future__ import annotations

import dataclasses
import time

from asgiref.sync import sync_to_async
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from django_callcache.live import LiveFacts, look
from django_callcache.maintenance import cache_of


@dataclasses.dataclass
class CallCacheRedis(HealthCheck):
    """Whether Redis answers a cache. What it says of a failure is in the log, not on the page."""

    alias: str = "default"

    async def run(self) -> None:
        """Ask it.

        Raises:
            ServiceUnavailable: It does not answer in time, or refuses.
        """
        await sync_to_async(_live, thread_sensitive=False)(self.alias)


@dataclasses.dataclass
class CallCacheLoop(HealthCheck):
    """Whether the loop behind a cache gave a sign of life lately."""

    alias: str = "default"
    max_age_seconds: float = 60.0

    async def run(self) -> None:
        """Look for it.

        Raises:
            ServiceUnavailable: There is none, or only an old one.
        """
        live = await sync_to_async(_live, thread_sensitive=False)(self.alias)
        if live.heartbeat is None:
            raise ServiceUnavailable("The loop behind the cache has given no sign of life.")
        age = time.time() - live.heartbeat.alive_at
        if age > self.max_age_seconds:
            raise ServiceUnavailable(f"The loop's last sign of life is {age:.0f} s old.")


def _live(alias: str) -> LiveFacts:
    live = look(cache_of(alias), synced=False)
    if not live.is_reachable:
        raise ServiceUnavailable("Redis does not answer the cache.")
    return live
