"""A Redis that comes back without its data: nothing of the remote store is lost by what is written then."""

from __future__ import annotations

import logging
import time

import pytest
from django.core.cache import caches
from django.core.management import call_command

from django_callcache.doctor import diagnose, examine
from django_callcache.exceptions import RedisEmptied, RemoteUnavailable
from django_callcache.live import look
from django_callcache.maintenance import run_once
from django_callcache.models import SyncedRedis, SyncRun
from django_callcache.sync.memory import MemoryStore
from django_callcache.sync.remote import RemoteRow
from tests.sync.test_remote import refetch

pytestmark = pytest.mark.django_db

NAMESPACE = "tests"


class Pausing(MemoryStore):
    """A store that can be out of reach for reading."""

    is_down = False

    def pull(self, *arguments):
        if self.is_down:
            raise RemoteUnavailable("down")
        return super().pull(*arguments)


@pytest.fixture
def cache(settings):
    settings.CALLCACHE = {"SYNC": {"NAMESPACE": NAMESPACE}}
    return caches["default"]


@pytest.fixture
def remote(cache):
    """A store that has what the cache pushed: ten calls, and a count of a thousand."""
    store = Pausing()
    cache.set_many({f"call:{number}": number for number in range(10)})
    cache.set("call:count", 1000)
    assert run_once("default", remote=store).sync.pushed == 11
    return store


@pytest.fixture
def emptied(cache, remote, redis_client):
    """Redis has lost everything; applications go on by its misses."""
    redis_client.flushall()
    cache._runtime.near and cache._runtime.near.clear()
    assert cache.incr("call:count", 1, ignore_key_check=True) == 1
    cache.delete("call:3")
    cache.set("call:new", "never there before")
    return remote


def value(store, key):
    row = refetch(store, f"1:{key}", NAMESPACE)
    return None if row.deleted else row.value


class TestNothingWritten:
    def test_restored(self, cache, remote, redis_client, caplog):
        """Where nothing was written meanwhile, everything comes back and pushes go on by themselves."""
        redis_client.flushall()
        with caplog.at_level(logging.WARNING, "django_callcache.replication.losses"):
            report = run_once("default", remote=remote)
        assert (report.outcome, report.is_paused) == ("ok", False)
        assert {cache.get(f"call:{number}") for number in range(10)} == set(range(10))
        assert [line.split()[0] for line in caplog.messages] == ["emptied", "restored"]
        assert [run.pulled for run in SyncRun.objects.order_by("pk")] == [0, 11, 0]

    def test_new_key(self, cache, remote, redis_client):
        """A key that the remote store does not have is nothing to be careful of: it is pushed."""
        redis_client.flushall()
        cache.set("call:new", 1)
        report = run_once("default", remote=remote)
        assert (report.sync.pushed, report.sync.backlog) == (1, 0)
        assert value(remote, "call:new") == 1

    def test_written_after_restore(self, cache, remote, redis_client):
        """What is written once everything is back builds on it, and is pushed as ever."""
        redis_client.flushall()
        run_once("default", remote=remote)
        cache.incr("call:count")
        cache.delete("call:3")
        run_once("default", remote=remote)
        assert (value(remote, "call:count"), value(remote, "call:3")) == (1001, None)


class TestPaused:
    def test_nothing_pushed(self, cache, emptied):
        """Where keys were written by misses, nothing goes up, nor is deleted there, and passes say why."""
        for _ in range(3):
            report = run_once("default", remote=emptied)
            assert [type(error) for error in report.errors] == [RedisEmptied]
            assert (report.sync.pushed, report.sync.deleted, report.is_paused) == (0, 0, True)
        assert (value(emptied, "call:count"), value(emptied, "call:3")) == (1000, 3)
        assert emptied.stored(NAMESPACE, "1:call:new") is None
        assert cache.get("call:7") == 7
        assert SyncedRedis.objects.get().held == 2
        assert SyncRun.objects.latest_of("default").error_class == "RedisEmptied"

    def test_told(self, cache, emptied):
        """The state is in the totals that metrics and alerts go by, and the doctor says what to do."""
        run_once("default", remote=emptied)
        assert look(cache).is_paused
        (found,) = (each for each in diagnose(examine(cache)) if each.name == "redis-emptied")
        assert "--after-loss restore" in found.cure
        run_once("default", remote=emptied, after_loss="go-on")
        assert not look(cache).is_paused

    def test_remote_down(self, cache, emptied):
        """Nothing is pushed either while the remote store cannot be read, nor by a process that is new."""
        emptied.is_down = True
        report = run_once("default", remote=emptied)
        assert ([type(error) for error in report.errors], report.is_paused) == ([RemoteUnavailable], True)
        assert value(emptied, "call:count") == 1000
        emptied.is_down = False
        assert run_once("default", remote=emptied).is_paused

    def test_stopped_in_the_middle(self, cache, remote, redis_client):
        """A pull that ends early resumes nothing; the next one goes on."""
        redis_client.flushall()
        cache.set("call:new", 1)
        assert run_once("default", remote=remote, may_go_on=lambda: False).is_paused
        assert remote.stored(NAMESPACE, "1:call:new") is None
        assert run_once("default", remote=remote).outcome == "ok"
        assert value(remote, "call:new") == 1


class TestDecision:
    def test_restore(self, cache, emptied):
        """The remote rows replace what was written by misses; new keys and later writes are pushed."""
        run_once("default", remote=emptied)
        cache.set("call:7", "after the pull")
        report = run_once("default", remote=emptied, after_loss="restore")
        assert (report.outcome, report.is_paused) == ("ok", False)
        assert (cache.get("call:count"), cache.get("call:3")) == (1000, 3)
        assert (value(emptied, "call:count"), value(emptied, "call:3")) == (1000, 3)
        assert value(emptied, "call:new") == "never there before"
        assert value(emptied, "call:7") == "after the pull"

    def test_restore__at_once(self, cache, emptied):
        """It can be decided before any pass has met the loss."""
        run_once("default", remote=emptied, after_loss="restore")
        assert value(emptied, "call:count") == cache.get("call:count") == 1000

    def test_go_on(self, cache, emptied):
        """The strategies decide: here the later write."""
        run_once("default", remote=emptied)
        report = run_once("default", remote=emptied, after_loss="go-on")
        assert (report.outcome, report.is_paused) == ("ok", False)
        assert (value(emptied, "call:count"), value(emptied, "call:3")) == (1, None)
        assert run_once("default", remote=emptied).outcome == "ok"

    def test_command(self, cache, emptied, settings):
        """The command takes the decision."""
        settings.CALLCACHE = {"SYNC": {"NAMESPACE": NAMESPACE, "REMOTE": "tests.sync.test_losses.shared"}}
        shared.store = emptied
        call_command("runcachesync", once=True, after_loss="restore", verbosity=0)
        assert value(emptied, "call:count") == 1000


class TestMark:
    def test_same_data_elsewhere(self, cache, remote):
        """A server that was moved with its data, or is met by another database, is no empty one."""
        SyncedRedis.objects.all().delete()
        cache.set("call:count", 1001)
        assert run_once("default", remote=remote).sync.pushed == 1

    def test_mark_evicted(self, cache, remote, redis_client):
        """Where only the mark is gone, everything is pulled all the same: more may be."""
        redis_client.delete(cache.redis_keys.epoch(), cache.redis_key("call:5"))
        newer = RemoteRow(key="1:call:5", version=int(time.time() * 1e6), value="newer", base=1)
        remote.push(NAMESPACE, "elsewhere", [newer])
        assert run_once("default", remote=remote).outcome == "ok"
        assert cache.get("call:5") == "newer"

    def test_address(self, cache):
        """A server is remembered without its password."""
        assert "@" not in cache.address
        assert cache.address.endswith("/0") or cache.address[-1].isdigit()


class shared:  # noqa: N801
    """The store of the test that runs the command."""

    store: MemoryStore

    @classmethod
    def from_settings(cls, settings):
        return cls.store
