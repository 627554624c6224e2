"""Settings of the sample project for workers that a Prometheus scrapes."""

from __future__ import annotations

from testproject import settings
from testproject.settings import *  # noqa: F403

CALLCACHE = {**settings.CALLCACHE, "STATS": {"FLUSH_INTERVAL": 0.3}, "METRICS": {"TOKEN": "scrape me"}}
settings.CACHES["default"]["OPTIONS"]["CALLCACHE"]["DEADLINE"] = 10
