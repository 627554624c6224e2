"""Preload of the keys that are read most."""

from __future__ import annotations

import json
from datetime import date, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_callcache.cache.loading import register_loader, sources
from django_callcache.models import CacheStat
from django_callcache.warm import Warmed, hottest, warm
from testproject.crm.models import Campaign
from tests.cache.conftest import make_cache, make_caches

__all__ = ["make_cache", "make_caches"]

pytestmark = pytest.mark.django_db


def stat(hot_keys, prefix="campaign:", hours_ago=2, alias="default"):
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    CacheStat.objects.create(alias=alias, prefix=prefix, hour=hour, hot_keys=hot_keys)


@pytest.fixture
def cache(make_cache):
    """A cache whose campaigns come from their table."""
    return make_cache(RULES={"campaign:": {"source": "crm.Campaign", "ttl": 60}})


@pytest.fixture
def _rows():
    for number in range(1, 6):
        Campaign.objects.create(pk=number, name=f"May {number}", starts_on=date(2008, 5, 1))
    stat([["campaign:1", 5], ["campaign:2", 9]])
    stat([["campaign:1", 6], ["campaign:9", 1], ["campaign:3", 1]], hours_ago=3)
    stat([["campaign:4", 99]], hours_ago=24 * 8)
    stat([["campaign:5", 99]], alias="other")
    stat([["call:1", 99]], prefix="call:")


def run(*arguments):
    out = StringIO()
    call_command("callcache_warm", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


@pytest.mark.usefixtures("_rows")
class TestHottest:
    def since(self, days):
        return timezone.now() - timedelta(days=days)

    def test_hottest(self):
        """Reads of a key add up over the hours; keys of other prefixes, aliases and days do not count."""
        found = hottest("default", ["campaign:"], 10, self.since(7))
        assert found == ["campaign:1", "campaign:2", "campaign:3", "campaign:9"]
        assert hottest("default", ["campaign:"], 1, self.since(7)) == ["campaign:1"]
        assert hottest("default", ["campaign:"], 1, self.since(9)) == ["campaign:4"]
        assert hottest("default", ["contact:"], 10, self.since(7)) == []


class TestWarm:
    def test_warm__chunks(self):
        """Keys are loaded chunk by chunk; one that fails does not keep the others from being loaded."""
        asked, seen = [], []

        class Cache:
            def load_many(self, keys):
                asked.append(list(keys))
                if "c" in keys:
                    raise OSError("away")
                return dict.fromkeys(keys)

        done = warm(Cache(), ["a", "b", "c", "d", "e"], 2, seen.append)
        assert asked == [["a", "b"], ["c", "d"], ["e"]]
        assert done == seen[-1] == Warmed(asked=5, records=3, failed=2)
        assert [each.asked for each in seen] == [2, 4, 5]


@pytest.mark.usefixtures("_rows")
class TestCommand:
    def test_command(self, cache, django_assert_num_queries):
        """The hottest keys are in the cache afterwards; what was there stays."""
        cache.set("campaign:2", "newer")
        facts = json.loads(run("--json"))
        assert {name: facts[name] for name in ("alias", "keys", "records", "failed")} == {
            "alias": "default",
            "keys": 4,
            "records": 3,
            "failed": 0,
        }
        assert cache.get("campaign:2") == "newer"
        assert cache.get("campaign:1")["name"] == "May 1"
        assert "campaign:4" not in cache
        with django_assert_num_queries(0):
            assert cache.load("campaign:3")["name"] == "May 3"

    def test_command__options(self, cache):
        """Fewer keys, by a narrower prefix, or a list alone."""
        assert run("--top=2", "--dry-run") == "campaign:1\ncampaign:2\n"
        assert json.loads(run("--prefix=campaign:9", "--dry-run", "--json")) == ["campaign:9"]
        assert "campaign:1" not in cache
        assert "1 hot keys of default: 1 have a record, 0 failed" in run("--top=1", "--chunk=1")
        assert "campaign:1" in cache

    def test_command__loader_fails(self, cache):
        """A loader that fails is said so, with its exit code."""

        def away(names):
            raise OSError("away")

        register_loader("campaign:", away)
        with pytest.raises(CommandError, match="A loader failed") as raised:
            run()
        assert raised.value.returncode == 1

    def test_command__no_loader(self, make_cache):
        """Without any loader, or none for a prefix, nothing can be loaded."""
        make_cache()
        with pytest.raises(CommandError, match="No prefix of the cache 'default' has a source") as raised:
            run()
        assert raised.value.returncode == 2
        sources.add("default", "campaign:", dict)
        try:
            with pytest.raises(CommandError, match="No loader knows 'call:'"):
                run("--prefix=call:")
        finally:
            sources.remove("default", "campaign:")

    @pytest.mark.parametrize("wrong", [["--top=0"], ["--chunk=x"], ["--alias=nobody"]])
    def test_command__wrong_usage(self, cache, wrong):
        """Wrong usage is refused."""
        with pytest.raises(CommandError):
            run(*wrong)
