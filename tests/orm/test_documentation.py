"""The samples in the documentation."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.cache import caches

from django_callcache.cache.loading import sources
from django_callcache.checks import CHECKS
from testproject.crm.models import Call, Campaign, Contact

DOCS = Path(__file__).parents[2] / "docs"


def sample(page, beginning):
    """The first block of Python on a page that begins so."""
    found = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return next(block for block in found if block.startswith(beginning)).strip()


def problems():
    return [
        message.msg
        for check in CHECKS
        for message in check(app_configs=None)
        if message.id in {f"callcache.E{number:03}" for number in (1, 2, *range(20, 26))}
    ]


@pytest.mark.django_db(transaction=True)
class TestPages:
    def test_invalidation(self, cache, settings, kept):
        """The rules of the page are in order, and do what it says."""
        stated = {}
        exec(sample("invalidation.md", "CALLCACHE"), stated)  # noqa: S102
        settings.CALLCACHE = stated["CALLCACHE"]
        assert problems() == []
        campaign = Campaign.objects.create(pk=1, name="May", starts_on=date(2008, 5, 1))
        assert kept() == {"campaign:1"}
        cache.set_many({"calls:1": 1, "report:1:week": 1, "report:10:week": 1})
        cache.set("tagged", 1, tags=["campaign-1"])
        contact = Contact.objects.create(pk=2, age=30)
        Call.objects.create(
            campaign=campaign, contact=contact, started_at="2008-05-05T09:00Z", duration_seconds=1
        )
        left = [key for key in ("calls:1", "report:1:week", "report:10:week", "tagged") if key in cache]
        assert left == ["report:10:week"]

    def test_loading(self, make_caches, redis_url):
        """The sources of the page are in order, and its loader answers."""
        rules = eval(f"{{{sample('loading.md', chr(34) + 'RULES')}}}")["RULES"]  # noqa: S307
        rules["call:"]["source"]["record"] = "testproject." + rules["call:"]["source"]["record"]
        options = {"OPTIONS": {"CALLCACHE": {"RULES": rules, "DEADLINE": 10}}}
        make_caches({"default": {"LOCATION": redis_url, "KEY_PREFIX": "t", **options}})
        assert problems() == []

        def offers(ids):
            return [{"id": name} for name in ids if name != "9"]

        known = {"billing": SimpleNamespace(offers=offers)}
        exec(sample("loading.md", "from django_callcache.cache.loading"), known)  # noqa: S102
        try:
            found = caches["default"].load_many(["offer:7", "offer:9"])
        finally:
            sources.remove("default", "offer:")
        assert found == {"offer:7": {"id": "7"}}
