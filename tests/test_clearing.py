"""Deletions in steps: how far they are, stopped, resumed, taken over from who has died."""

from __future__ import annotations

import datetime

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from django_callcache.clearing import Target, claim, next_of, queue, run_now, stop
from django_callcache.exceptions import RedisFault
from django_callcache.management.turns import Turns
from django_callcache.models import CacheOperation
from django_callcache.signals import cache_invalidated
from tests.cache.conftest import make_cache, make_caches, start_redis

__all__ = ["make_cache", "make_caches", "start_redis"]

pytestmark = pytest.mark.django_db

KEYS = 3000


@pytest.fixture
def cache(make_cache):
    """Three thousand calls and one page."""
    cache = make_cache()
    cache.set_many({f"call:{number}": number for number in range(KEYS)}, 600)
    cache.set("page:1", 1)
    return cache


@pytest.fixture
def operation(db):
    """A deletion of all calls that somebody has confirmed."""
    boss = User.objects.create(username="boss")
    facts = {"kind": "clear", "scope": "prefix", "alias": "default", "pattern": "call:"}
    return CacheOperation.objects.create(user=boss, username="boss", outcome="waiting", **facts)


def in_steps(claimed):
    """Runs of one step each, until the end."""
    while not claimed.run(seconds=0):
        yield claimed.operation


class TestDeleteStep:
    def test_delete_step__to_the_end(self, cache):
        """Step by step all that match are deleted, and nothing else."""
        cursor, removed, steps = 0, 0, 0
        while True:
            cursor, number = cache.delete_step("call:*", cursor)
            removed, steps = removed + number, steps + 1
            if not cursor:
                break
        assert (removed, cache.count()) == (KEYS, 1)
        assert steps > 3

    async def test_adelete_step(self, cache):
        """Callers with an event loop have the same."""
        cursor, removed = 0, 0
        while True:
            cursor, number = await cache.adelete_step(None, cursor)
            removed += number
            if not cursor:
                break
        assert removed == KEYS + 1

    @pytest.mark.parametrize("on_error", ["degrade", "raise"])
    def test_delete_step__down(self, make_cache, start_redis, on_error):
        """A step that did not happen raises, whatever ON_ERROR says."""
        server = start_redis()
        cache = make_cache(server.url, ON_ERROR=on_error)
        server.stop()
        with pytest.raises(RedisFault):
            cache.delete_step("call:*")

    def test_delete_step__told_once(self, cache):
        """Who listens hears of the deletion once, with its last step."""
        heard = []
        receiver = lambda **told: heard.append((told["kind"], told["names"]))  # noqa: E731
        cache_invalidated.connect(receiver)
        try:
            cursor = 0
            while (cursor := cache.delete_step("call:*", cursor)[0]) != 0:
                assert heard == []
        finally:
            cache_invalidated.disconnect(receiver)
        assert heard == [("pattern", ("call:*",))]

    def test_delete_step__stale_fill(self, cache):
        """What was computed before the first step is not stored after the last."""

        def load():
            cursor = 0
            while (cursor := cache.delete_step("call:*", cursor)[0]) != 0:
                pass
            return "old"

        assert cache.get_or_set("call:new", load) == "old"
        assert cache.get("call:new") is None


class TestClearing:
    def test_run__whole(self, cache, operation):
        """One run deletes all, and leaves row and log entry."""
        claimed = claim(operation.pk, cache)
        assert claimed.run()
        operation.refresh_from_db()
        assert (operation.outcome, operation.deleted, cache.count()) == ("ok", KEYS, 1)
        assert operation.looked_at == operation.total >= KEYS
        assert LogEntry.objects.get().object_id == str(operation.pk)

    def test_run__progress(self, cache, operation):
        """Each slice notes how far it came; the counts only grow."""
        noted = []
        for row in in_steps(claim(operation.pk, cache)):
            row.refresh_from_db()
            noted.append((row.deleted, row.share))
        assert len(noted) > 3
        assert noted == sorted(noted)
        assert all(0 < share < 1 for _, share in noted)

    def test_run__stopped(self, cache, operation):
        """Somebody's word ends it within a step or a second; the rest stays, and can be gone on with."""
        claimed = claim(operation.pk, cache)
        assert not claimed.run(seconds=0)
        assert stop(CacheOperation.objects.get(pk=operation.pk))
        assert claimed.run(seconds=0)
        operation.refresh_from_db()
        assert operation.outcome == "stopped"
        assert cache.count("call:*") == KEYS - operation.deleted > 0
        assert operation.can_be_resumed
        queue(cache, operation)
        assert next_of("default", cache).run()
        operation.refresh_from_db()
        assert (operation.outcome, operation.deleted, cache.count("call:*")) == ("ok", KEYS, 0)

    def test_stop__waiting(self, cache, operation):
        """What nobody works on ends at once, with its trace."""
        assert stop(operation)
        assert operation.outcome == "stopped"
        assert LogEntry.objects.count() == 1
        assert claim(operation.pk, cache) is None
        assert not stop(operation)

    def test_claim__one_at_a_time(self, cache, operation):
        """Only one worker has it."""
        assert claim(operation.pk, cache) is not None
        assert claim(operation.pk, cache) is None
        assert next_of("default", cache) is None

    def test_claim__worker_died(self, cache, operation):
        """When its worker shows no sign of life another goes on; the first, should it live, keeps off."""
        first = claim(operation.pk, cache)
        assert not first.run(seconds=0)
        long_ago = timezone.now() - datetime.timedelta(seconds=31)
        CacheOperation.objects.update(alive_at=long_ago)
        operation.refresh_from_db()
        assert operation.is_deserted
        second = next_of("default", cache)
        assert second.operation.deleted == first.operation.deleted > 0
        assert first.run(seconds=0)
        operation.refresh_from_db()
        assert operation.outcome == "running"
        assert second.run()
        operation.refresh_from_db()
        assert operation.outcome == "ok"
        assert cache.count("call:*") == 0

    def test_claim__never_checked(self, cache, operation):
        """An attempt whose request died before all was checked is nobody's to carry out."""
        long_ago = timezone.now() - datetime.timedelta(hours=1)
        CacheOperation.objects.update(outcome="running", started_at=long_ago)
        assert next_of("default", cache) is None
        operation.refresh_from_db()
        assert not operation.can_be_resumed
        assert not operation.can_be_stopped

    def test_run__redis_lost(self, make_cache, start_redis, operation):
        """With Redis lost on the way the part is recorded, with the reason, and can be gone on with."""
        server = start_redis()
        cache = make_cache(server.url)
        cache.set_many({f"call:{number}": number for number in range(KEYS)}, 600)
        claimed = claim(operation.pk, cache)
        assert not claimed.run(seconds=0)
        server.stop()
        assert claimed.run()
        operation.refresh_from_db()
        assert operation.outcome == "partial"
        assert operation.error_class
        assert operation.can_be_resumed

    def test_run__handed_back(self, cache, operation):
        """A worker that has to go leaves the rest to the next."""
        claimed = claim(operation.pk, cache)
        assert claimed.run(may_go_on=lambda: False)
        operation.refresh_from_db()
        assert (operation.outcome, operation.deleted) == ("waiting", claimed.operation.deleted)
        assert next_of("default", cache).run()
        assert cache.count("call:*") == 0

    def test_run__whole_cache(self, cache, operation):
        """The whole cache goes in all versions."""
        cache.set("call:1", 1, version=7)
        CacheOperation.objects.update(scope="alias", pattern="")
        assert claim(operation.pk, cache).run()
        assert (cache.count(), cache.count(version=7)) == (0, 0)

    def test_run_now__keys(self, cache, operation):
        """Chosen keys are deleted one by one."""
        target = Target("default", "keys", "", ("call:1", "call:2", "call:none"))
        run_now(cache, operation, target)
        assert (operation.outcome, operation.deleted, cache.count()) == ("ok", 2, KEYS - 1)

    def test_run_now__keys_down(self, make_cache, start_redis, operation):
        """A cache that degrades is not taken for one that has deleted."""
        server = start_redis()
        cache = make_cache(server.url)
        server.stop()
        run_now(cache, operation, Target("default", "key", "call:1"))
        assert operation.outcome == "failed"
        assert operation.error_class == "RedisUnavailable"


class TestLoop:
    def test_watch__clears(self, cache, operation):
        """Between two turns the loop deletes what waits, and goes on until it is done."""
        turns = Turns(["default"], None)
        turns.watch()
        operation.refresh_from_db()
        assert operation.outcome == "waiting"  # nobody has told the loop
        queue(cache, operation)
        for _ in range(50):
            turns.watch()
            operation.refresh_from_db()
            if operation.is_finished:
                break
        assert (operation.outcome, cache.count()) == ("ok", 1)

    def test_turn__finds_what_waits(self, cache, operation):
        """A turn looks at the rows themselves; the last one of all leaves none."""
        turns = Turns(["default"], None)
        turns.is_last = True
        other = CacheOperation.objects.create(
            kind="clear", scope="key", alias="default", pattern="page:1", outcome="refused"
        )
        turns()
        operation.refresh_from_db()
        assert (operation.outcome, cache.count()) == ("ok", 1)
        other.refresh_from_db()
        assert other.outcome == "refused"

    def test_clear__database_away(self, cache, operation, monkeypatch, caplog):
        """A loop whose database does not answer goes on, and tells so."""

        queue(cache, operation)

        def away(*args):
            raise OperationalError("gone")

        monkeypatch.setattr("django_callcache.management.turns.next_of", away)
        Turns(["default"], None).watch()
        assert "step=clear error=OperationalError" in caplog.text


class TestCommand:
    def test_command__trace(self, cache, capsys):
        """The command leaves a row in the name of its account, and no entry in the admin's log."""
        call_command("callcache_clear", prefix="call:", yes=True, reason="stale prices")
        row = CacheOperation.objects.get()
        assert (row.outcome, row.deleted, row.expected, row.reason) == ("ok", KEYS, KEYS, "stale prices")
        assert row.username.endswith("manage.py") or row.username.endswith("(manage.py)")
        assert row.user is None
        assert not LogEntry.objects.exists()

    def test_command__operation(self, cache, operation, capsys):
        """It carries out what waits in the admin; the person who asked gets the entry."""
        call_command("callcache_clear", operation=operation.pk, yes=True)
        assert capsys.readouterr().out == f"Deleted {KEYS} keys.\n"
        assert LogEntry.objects.get().user == operation.user

    def test_command__operation_of_another(self, cache, operation):
        """What somebody works on is left alone."""
        claim(operation.pk, cache)
        with pytest.raises(CommandError, match="Somebody else works on operation") as caught:
            call_command("callcache_clear", operation=operation.pk, yes=True)
        assert caught.value.returncode == 1

    def test_command__no_such_operation(self, cache):
        """A number that is no deletion's is refused."""
        with pytest.raises(CommandError, match="no deletion with the number 999999") as caught:
            call_command("callcache_clear", operation=999999, yes=True)
        assert caught.value.returncode == 2
