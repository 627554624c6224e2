"""Preload of synced keys from the remote store, and at the start of the loop."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from django_callcache.cache.loading import sources
from django_callcache.exceptions import WrongEnvironment
from django_callcache.maintenance import run_once
from django_callcache.management.turns import Turns
from django_callcache.models import CacheStat
from django_callcache.replication.preload import Preload, preload
from django_callcache.sync.memory import MemoryStore
from tests.cache.conftest import make_cache, make_caches
from tests.sync.test_remote import row

__all__ = ["make_cache", "make_caches"]

pytestmark = pytest.mark.django_db

RULES = {"call:": {"sync": "lww", "ttl": 600}, "campaign:": {"ttl": 600}}
KEYS = [f"call:{number}" for number in range(1, 6)]


class TestEveryStore:
    def test_fetch(self, remote):
        """Rows come by their keys, those that are there, of their namespace alone."""
        remote.push("crm", "a", [row("1:a", value={"x": [1]}), row("1:b", value=2), row('1:"c,{', value=3)])
        remote.push("other", "a", [row("1:d", value=4)])
        found = {held.key: held.value for held in remote.fetch("crm", ["1:a", '1:"c,{', "1:d", "1:e"])}
        assert found == {"1:a": {"x": [1]}, '1:"c,{': 3}
        assert list(remote.fetch("crm", [])) == []


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def cache(make_cache):
    return make_cache(RULES=RULES, app=app())


def app(**preload):
    return {"SYNC": {"NAMESPACE": "tests"}, "STATS": {"FLUSH_INTERVAL": 3600}, "PRELOAD": preload}


@pytest.fixture
def pushed(cache, store):
    """Five synced keys that this cache and the remote store have; the first is read most."""
    cache.set_many({key: {"key": key} for key in KEYS})
    run_once("default", remote=store)
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    hot = [[key, 9 - at] for at, key in enumerate(KEYS)]
    CacheStat.objects.create(alias="default", prefix="call:", hour=hour, hot_keys=hot)
    return store


class TestPreload:
    def test_load_many(self, cache, pushed):
        """Values that are gone here come back, and are no changes of this side."""
        cache.clear()
        found = Preload(cache, pushed).load_many([*KEYS, "call:none"])
        assert set(found) == set(KEYS)
        assert cache.get_many(KEYS) == {key: {"key": key} for key in KEYS}
        assert 0 < cache.ttl("call:1") <= 600
        report = run_once("default", remote=pushed)
        assert (report.sync.pushed, report.sync.pulled) == (0, 0)

    def test_load_many__newer_here(self, cache, pushed):
        """What was written, deleted or pushed here since is not written over."""
        cache.set("call:1", "newer")
        cache.delete("call:2")
        Preload(cache, pushed).load_many(KEYS)
        assert (cache.get("call:1"), cache.get("call:2")) == ("newer", None)
        stale = MemoryStore()
        stale.restore("tests", {f"1:{key}": pushed.stored("tests", f"1:{key}") for key in KEYS})
        run_once("default", remote=pushed)
        cache.clear()
        Preload(cache, stale).load_many(KEYS)
        assert cache.get_many(KEYS[:2]) == {}
        assert cache.get("call:3") == {"key": "call:3"}

    def test_load_many__deleted_there(self, cache, pushed):
        """What others deleted, or what has ended there, is no record."""
        base = pushed.stored("tests", "1:call:1")
        version = base.row.version
        pushed.push("tests", "b", [row("1:call:1", version=version + 1, base=1, deleted=True)])
        pushed.push("tests", "b", [row("1:call:2", version=version + 1, base=1, value=1, ttl_ms=-5)])
        cache.clear()
        assert set(Preload(cache, pushed).load_many(KEYS)) == set(KEYS[2:])

    def test_load_many__another_environment(self, cache, pushed, settings):
        """Nothing comes from a namespace of somebody else."""
        cache.clear()
        settings.CALLCACHE = {**settings.CALLCACHE, "SECRETS": ["another"]}
        cache.redis_client().delete(cache.redis_keys.environment())
        with pytest.raises(WrongEnvironment):
            Preload(cache, pushed).load_many(KEYS)
        assert cache.get_many(KEYS) == {}

    def test_load_many__loaders(self, cache, pushed):
        """Keys with a loader come from it, the others from the remote store; unknown ones from nowhere."""
        cache.clear()
        sources.state("tests", [("default", "campaign:", lambda names: dict.fromkeys(names, "loaded"))])
        try:
            work = Preload(cache, pushed)
            assert work.prefixes == ("campaign:", "call:")
            assert Preload(cache, None).prefixes == ("campaign:",)
            assert set(work.load_many(["campaign:1", "call:1", "x:1"])) == {"campaign:1", "call:1"}
        finally:
            sources.state("tests", [])

    def test_preload(self, cache, pushed, settings):
        """As many keys as the settings say are loaded, in chunks between which it may be stopped."""
        cache.clear()
        assert preload(cache, pushed) is None
        settings.CALLCACHE = app(TOP=3, CHUNK=2)
        assert preload(cache, pushed, lambda: False).asked == 0
        assert preload(cache, pushed).records == 3
        assert set(cache.get_many(KEYS)) == set(KEYS[:3])


class TestLoop:
    def test_turns(self, cache, pushed, settings, caplog):
        """A loop loads the hot keys once, when it starts."""
        settings.CALLCACHE = app(TOP=2)
        cache.clear()
        turns = Turns(["default"], pushed, preloads=True)
        with caplog.at_level("INFO"):
            turns()
            assert set(cache.get_many(KEYS)) == set(KEYS[:2])
            cache.clear()
            turns()
        assert cache.get_many(KEYS) == {}
        assert caplog.text.count("preloaded=2 preload_failed=0") == 1


class Shelf(MemoryStore):
    """A store that the settings can name."""

    shared = None

    @classmethod
    def from_settings(cls, settings):
        return cls.shared


def test_callcache_warm(cache, pushed, settings, monkeypatch):
    """The command loads synced keys from the remote store too."""
    monkeypatch.setattr(Shelf, "shared", pushed)
    settings.CALLCACHE = {"SYNC": {"NAMESPACE": "tests", "REMOTE": f"{__name__}.Shelf"}}
    cache.clear()
    out = io.StringIO()
    call_command("callcache_warm", "--top=4", "--chunk=3", stdout=out, stderr=io.StringIO())
    assert out.getvalue().startswith("4 hot keys of default: 4 have a record, 0 failed")
    assert set(cache.get_many(KEYS)) == set(KEYS[:4])
