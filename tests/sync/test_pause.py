"""A pause of sync: obeyed by the loop, told on the page, ended by whoever may."""

from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command

from django_callcache.live import look
from django_callcache.maintenance import run_once
from django_callcache.models import CacheOperation, SyncRun
from django_callcache.sync.memory import MemoryStore
from django_callcache.sync.pause import Pause, pause, resume
from tests.cache.conftest import make_cache, make_caches, start_redis

__all__ = ["make_cache", "make_caches", "start_redis"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def cache(make_cache, settings):
    """A synced cache."""
    settings.CALLCACHE = {"SYNC": {"NAMESPACE": "pausetest"}}
    cache = make_cache(RULES={"call:": {"sync": "lww"}}, STATS=True)
    cache.set("call:1", 1)
    return cache


@pytest.fixture
def where(cache):
    return cache.redis_client(), cache.redis_keys


class TestPause:
    def test_pause__obeyed(self, cache, where):
        """While it is paused nothing is pushed and statistics are collected; afterwards what waited goes."""
        remote = MemoryStore()
        cache.flush_stats()
        assert pause(*where, by="boss", reason="the remote is moved")
        report = run_once("default", remote=remote)
        assert (report.outcome, report.sync) == ("paused", None)
        assert report.collected is not None
        assert not SyncRun.objects.exists()
        assert look(cache).backlog == 1
        assert "passes_paused" not in look(cache).totals
        assert resume(*where)
        assert run_once("default", remote=remote).sync.pushed == 1
        assert look(cache).backlog == 0

    def test_pause__first_one_stays(self, where):
        """Who paused first is told; another's word does not take their place."""
        assert pause(*where, by="boss", reason="r")
        assert not pause(*where, by="other")
        held = Pause.read(*where)
        assert (held.by, held.reason) == ("boss", "r")
        assert held.since > 1.7e9
        assert resume(*where)
        assert not resume(*where)
        assert Pause.read(*where) is None

    def test_pause__torn(self, where):
        """A pause that was written by half is one all the same."""
        client, names = where
        client.hset(names.pause(), "by", "x")
        assert Pause.read(*where) == Pause(by="x", since=0.0)


class TestCommand:
    def test_command(self, cache, where, capsys):
        """It pauses, tells and resumes, and leaves a row each."""
        call_command("callcache_sync", "pause", reason="moving")
        assert "moving" in capsys.readouterr().out
        assert Pause.read(*where).reason == "moving"
        call_command("callcache_sync", "status", as_json=True)
        facts = json.loads(capsys.readouterr().out)
        assert (facts["paused"], facts["backlog"], facts["loop"]) == (True, 1, "never seen")
        call_command("callcache_sync", "resume")
        call_command("callcache_sync", "resume")
        assert Pause.read(*where) is None
        rows = list(CacheOperation.objects.order_by("pk").values_list("kind", "outcome", "reason"))
        assert rows == [
            ("sync", "ok", "pause moving"),
            ("sync", "ok", "resume"),
            ("sync", "failed", "resume"),
        ]

    def test_command__down(self, make_cache, start_redis):
        """With Redis down it says so, with code 1, and the attempt is recorded."""
        server = start_redis()
        make_cache(server.url)
        server.stop()
        with pytest.raises(CommandError, match="Redis failed") as caught:
            call_command("callcache_sync", "pause")
        assert caught.value.returncode == 1
        assert CacheOperation.objects.get().outcome == "failed"

    def test_command__no_such_alias(self):
        """A cache that is none of ours is refused, with code 2."""
        with pytest.raises(CommandError) as caught:
            call_command("callcache_sync", "status", alias="nowhere")
        assert caught.value.returncode == 2
