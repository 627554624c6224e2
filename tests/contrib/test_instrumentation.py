"""Tools that wrap the cache from outside go on to see its calls, each once, with the right outcome."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

SETTINGS = """
import json, sys, django
from django.conf import settings
settings.configure(
    SECRET_KEY="x", DEBUG=True, ROOT_URLCONF="none", ALLOWED_HOSTS=["*"], USE_TZ=True, STATIC_URL="static/",
    INSTALLED_APPS=APPS,
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    CACHES={"default": {"BACKEND": "django_callcache.cache.CallCache", "LOCATION": sys.argv[1],
                        "KEY_PREFIX": "t", "OPTIONS": {"CALLCACHE": {"DEADLINE": 10}}}},
    CALLCACHE={"STATS": {"FLUSH_INTERVAL": 3600}},
)
"""

CALLS = """
from django.core.cache import cache
cache.set("p:1", None)
assert cache.get("p:1", 5) is None
assert cache.get("p:2", 5) == 5
assert cache.get_many(["p:1", "p:2"]) == {"p:1": None}
cache.delete("p:1")
"""

SENTRY = (
    """
APPS = []
"""
    + SETTINGS
    + """
import sentry_sdk
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.transport import Transport

kept = []
class Keep(Transport):
    def capture_envelope(self, envelope):
        kept.append(envelope)

django.setup()
sentry_sdk.init(
    dsn="http://key@127.0.0.1:1/1", traces_sample_rate=1.0, transport=Keep,
    integrations=[DjangoIntegration(cache_spans=True)], auto_enabling_integrations=False,
)
with sentry_sdk.start_transaction(name="test"):
"""
    + "".join(f"    {line}\n" for line in CALLS.strip().splitlines())
    + """
sentry_sdk.flush()
spans = [span for envelope in kept for span in envelope.get_transaction_event()["spans"]]
found = [[span["op"], span["data"].get("cache.hit")] for span in spans if span["op"].startswith("cache")]
print(json.dumps(found))
"""
)

TOOLBAR = (
    """
APPS = ["django.contrib.staticfiles", "debug_toolbar"]
"""
    + SETTINGS
    + """
django.setup()
from debug_toolbar.panels.cache import CachePanel
from debug_toolbar.toolbar import DebugToolbar
from django.test import RequestFactory

toolbar = DebugToolbar(RequestFactory().get("/"), lambda request: None)
panel = CachePanel(toolbar, lambda request: None)
panel.enable_instrumentation()
"""
    + CALLS
    + """
panel.disable_instrumentation()
print(json.dumps([call["name"] for call in panel.calls]))
"""
)


def run(program, redis_url):
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, redis_url], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


class TestSentry:
    def test_spans(self, redis_url):
        """Sentry has a span for each call, and knows what was found."""
        if find_spec("sentry_sdk") is None:
            pytest.skip("sentry-sdk is missing. Install it with: pip install sentry-sdk")
        assert run(SENTRY, redis_url) == [
            ["cache.put", None],
            ["cache.get", True],
            ["cache.get", False],
            ["cache.get", True],
        ]


class TestDebugToolbar:
    def test_panel(self, redis_url):
        """The toolbar's panel lists each call once."""
        if find_spec("debug_toolbar") is None:
            pytest.skip("django-debug-toolbar is missing. Install it with: pip install django-debug-toolbar")
        assert run(TOOLBAR, redis_url) == ["set", "get", "get", "get_many", "delete"]
