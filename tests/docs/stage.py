"""What the samples of a page presuppose: names that a reader's project would have."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

from django.contrib.admin import AdminSite
from django.core.cache import cache, caches
from django.db import models
from django.test import override_settings
from django.test.utils import isolate_apps
from django.urls import include, path
from django.utils import timezone

from django_callcache.cache.loading import register_loader, sources
from django_callcache.service import CacheService
from django_callcache.signals import cache_miss
from testproject.crm.models import Campaign

QUIET = {"STATS": False, "DEADLINE": 10}


@contextmanager
def plain(redis_url: str) -> Iterator[dict[str, Any]]:
    """A project with one cache, the usual imports, and an environment."""
    alias = {"BACKEND": "django_callcache.cache.CallCache", "LOCATION": redis_url, "KEY_PREFIX": "crm"}
    with override_settings(
        CACHES={"default": {**alias, "TIMEOUT": 300, "OPTIONS": {"CALLCACHE": QUIET}}}, CALLCACHE={}
    ):
        yield {
            "__name__": "crm.samples",
            "os": os,
            "env": lambda name: f"https://example.com/{name}",
            "date": date,
            "datetime": datetime,
            "timedelta": timedelta,
            "timezone": timezone,
            "path": path,
            "include": include,
            "models": models,
            "cache": cache,
            "caches": caches,
            "cache_service": CacheService(),
            "CacheService": CacheService,
            "INSTALLED_APPS": [],
            "CACHES": {"default": {**alias}},
        }


@contextmanager
def admin(redis_url: str) -> Iterator[dict[str, Any]]:
    """A second admin site."""
    with plain(redis_url) as names:
        yield {**names, "my_site": AdminSite(name="mine")}


@contextmanager
def loading(redis_url: str) -> Iterator[dict[str, Any]]:
    """Campaigns that can be loaded."""
    register_loader("campaign:", lambda names: {name: {"id": name} for name in names})
    try:
        with plain(redis_url) as names:
            yield names
    finally:
        for prefix in ("campaign:", "offer:"):
            sources.remove("default", prefix)


@contextmanager
def computing(redis_url: str) -> Iterator[dict[str, Any]]:
    """Functions that are slow enough to be cached."""

    async def fetch_campaign(campaign_id: int) -> dict[str, int]:
        return {"id": campaign_id}

    with plain(redis_url) as names:
        yield {
            **names,
            "campaign_id": 7,
            "make_report": lambda: "of today",
            "load_campaign": lambda campaign_id: {"id": campaign_id},
            "fetch_campaign": fetch_campaign,
        }


@contextmanager
def invalidation(redis_url: str) -> Iterator[dict[str, Any]]:
    """The models of the sample project, where another of the same name may be made."""
    with plain(redis_url) as names, isolate_apps("testproject.crm"):
        yield {**names, "__name__": "testproject.crm.models", "Campaign": Campaign}


@contextmanager
def values(redis_url: str) -> Iterator[dict[str, Any]]:
    """Values, and a list that a receiver fills."""
    with plain(redis_url) as names:
        names |= {"report": "r", "rows": {"a": 1}, "text": "t", "name": "call:[7]", "missed": []}
        yield names
        cache_miss.disconnect(names.get("note"), sender="default")


STAGES = defaultdict(
    lambda: plain,
    {
        "admin.md": admin,
        "loading.md": loading,
        "stampede.md": computing,
        "invalidation.md": invalidation,
        "signals.md": values,
        "tags.md": values,
    },
)
