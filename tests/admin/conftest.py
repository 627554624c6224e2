"""People, rows and a reader of pages."""

from __future__ import annotations

import datetime
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import caches
from django.utils import timezone

from django_callcache.models import CacheHour, CacheStat

DEFAULT = {
    "BACKEND": "django_callcache.cache.CallCache",
    "KEY_PREFIX": "admintest",
    "OPTIONS": {"CALLCACHE": {"RULES": {"call:": {"ttl": 60}}}},
}


@pytest.fixture
def make_user(db):
    def make(*codenames, staff=True):
        user = User.objects.create(username=f"user{User.objects.count()}", is_staff=staff)
        user.user_permissions.set(
            Permission.objects.filter(content_type__app_label="django_callcache", codename__in=codenames)
        )
        return user

    return make


@pytest.fixture
def boss(db):
    return User.objects.create(username="boss", is_staff=True, is_superuser=True)


@pytest.fixture(autouse=True)
def two_caches(settings, redis_url, redis_client):
    """The default cache has its own prefix; beside it stands one of another backend."""
    settings.CACHES = {
        "default": {**DEFAULT, "LOCATION": redis_url},
        "memory": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    yield
    for pattern in ("admintest:*", "callcache@admintest:*"):
        for key in redis_client.scan_iter(pattern):
            redis_client.unlink(key)


@pytest.fixture
def cache(two_caches):
    return caches["default"]


@pytest.fixture
def stats(db):
    """A day and a bit of rows of two prefixes, one of them hostile, and their sums by hour."""
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    rows = [
        CacheStat(
            alias="default",
            prefix=prefix,
            hour=hour - datetime.timedelta(hours=back),
            hits=60,
            near_hits=20,
            misses=20,
            sets=20,
            read_latency=[0] * 8 + [100] + [0] * 15,
            write_latency=[0] * 24,
            hot_keys=[["<img src=x onerror=alert(1)>", 9], ["user:password", 1]],
        )
        for back in range(30)
        for prefix in ("call:", '"><script>alert(1)</script>:')
    ]
    CacheHour.objects.bulk_create(
        CacheHour(
            alias="default",
            hour=hour - datetime.timedelta(hours=back),
            hits=120,
            near_hits=40,
            misses=40,
            sets=40,
            read_latency=[0] * 8 + [200] + [0] * 15,
        )
        for back in range(30)
    )
    return CacheStat.objects.bulk_create(rows)


class Page(HTMLParser):
    """What a browser with a strict policy would refuse, and what a test wants to know."""

    def __init__(self, response):
        super().__init__()
        self.refused = []
        self.tags = []
        self.inputs = {}
        self._script = False
        self.text = response.content.decode()
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.refused += [(tag, name) for name in attributes if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in attributes):
            self.refused.append((tag, attributes))
        for name in ("href", "src", "action"):
            target = attributes.get(name) or ""
            if target.startswith(("http:", "https:", "//", "javascript:")):
                self.refused.append((tag, target))
        if tag == "input" and "name" in attributes:
            self.inputs[attributes["name"]] = attributes.get("value", "")

    def classes(self):
        return {name for _, attributes in self.tags for name in (attributes.get("class") or "").split()}


@pytest.fixture
def page():
    return Page
