"""The admin page of sync, with real loops behind it and servers in every state."""

from __future__ import annotations

import json
import time

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.cache import caches
from django.core.management import CommandError, call_command

from django_callcache.conf import get_settings
from django_callcache.loop import Loop
from django_callcache.management.turns import Turns
from django_callcache.models import CacheOperation, SyncRun
from django_callcache.replication.remotes import open_remote
from django_callcache.sync.leader import SILENT_SECONDS, Heartbeat
from tests.sync.test_supabase import KEY, impostor

pytestmark = pytest.mark.django_db

SYNC = "/admin/django_callcache/dashboard/sync/"
NAMESPACE = "states"


@pytest.fixture
def cache(db):
    return caches["default"]


@pytest.fixture
def shown(client, cache):
    """Open the page as somebody who may do everything; return its text and its context."""
    client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))

    def get():
        response = client.get(SYNC)
        assert response.status_code == 200
        return response.content.decode(), response.context

    return get


@pytest.fixture
def supabase_at(settings):
    """Let the settings name a Supabase project."""

    def point(url):
        settings.CALLCACHE = {
            "SYNC": {"REMOTE": "supabase", "NAMESPACE": NAMESPACE, "SUPABASE_URL": url, "SUPABASE_KEY": KEY}
        }

    return point


class Glance:
    """What a loop waits on: after a beat somebody looks, and the loop ends."""

    def __init__(self, look):
        self.look = look
        self.loop = None
        self.seen = None
        self.waits = 0

    def wait(self, timeout):
        self.waits += 1
        if self.waits > 1:
            self.seen = self.look()
            self.loop.stop()
        return self.waits > 1

    def set(self):
        """Nobody else waits."""

    def clear(self):
        """There is nothing to be forgotten."""


def look_in_pause(look):
    """Run the loop as the command does; look at the page in its first pause."""
    remote = open_remote(get_settings().sync)
    turns = Turns(["default"], remote)
    glance = Glance(look)
    glance.loop = Loop(turns, interval_seconds=300, beat=turns.beat, plan=turns.plan, event=glance)
    try:
        glance.loop.run()
    finally:
        turns.end()
        remote.close()
    return glance.seen


class TestStanding:
    @pytest.mark.parametrize("status", [401, 403])
    def test_refused(self, shown, supabase_at, status):
        """Refused credentials are told apart from a store that does not answer, with what to look at."""
        with impostor(status=status, body=b'{"message": "Invalid API key"}') as server:
            supabase_at(server.url)
            text, context = look_in_pause(shown)
        assert context["standing"].kind == "refused"
        assert "refuses our credentials" in text
        assert "SUPABASE_KEY" in text
        assert KEY not in text

    def test_limited(self, shown, supabase_at):
        """A store that wants fewer requests gets them, and the page says until when."""
        with impostor(status=429, headers={"Retry-After": "77"}) as server:
            supabase_at(server.url)
            text, context = look_in_pause(shown)
        assert context["standing"].kind == "limited"
        assert context["next_at"].timestamp() > time.time() + 30
        assert "wants fewer requests" in text
        assert "The loop tries again at" in text

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, [{"schema_version": 99}]),
            (404, {"code": "PGRST205", "message": "no such table", "details": None, "hint": None}),
        ],
    )
    def test_schema(self, shown, supabase_at, status, body):
        """Tables of another release, or none, are told with the command that makes them."""
        headers = {"Content-Type": "application/json"}
        with impostor(status=status, headers=headers, body=json.dumps(body).encode()) as server:
            supabase_at(server.url)
            text, context = look_in_pause(shown)
        assert context["standing"].kind == "schema"
        assert "manage.py callcache_sql" in text

    def test_unreachable(self, shown, supabase_at):
        """Nobody at the address is an outage: what is written waits."""
        supabase_at("http://127.0.0.1:1")
        text, context = look_in_pause(shown)
        assert context["standing"].kind == "unreachable"
        assert "does not answer" in text

    def test_since(self, shown, supabase_at, cache):
        """A state is told with its beginning, however often it is found, and ends with the next good pass."""
        supabase_at("http://127.0.0.1:1")
        first = look_in_pause(shown)[1]["standing"]
        again = look_in_pause(shown)[1]["standing"]
        assert (again.since, again.at > first.at) == (first.since, True)
        with impostor(status=401) as server:
            supabase_at(server.url)
            assert look_in_pause(shown)[1]["standing"].since > first.since

    def test_after_passes(self, shown, settings, cache, remote_alias, remote_sql):
        """A pass that fails in its middle tells the same, and one that goes well ends it."""
        sync = {"REMOTE": "postgres", "NAMESPACE": NAMESPACE, "DATABASE": remote_alias}
        settings.CALLCACHE = {"SYNC": sync}
        cache.set("call:7", 1)
        remote_sql.execute("alter function public.callcache_push rename to hidden")
        try:
            with pytest.raises(CommandError):
                call_command("runcachesync", "--once")
        finally:
            remote_sql.execute("alter function public.hidden rename to callcache_push")
        text, context = shown()
        assert (context["standing"].kind, SyncRun.objects.get().outcome) == ("schema", "failed")
        call_command("runcachesync", "--once")
        text, context = shown()
        assert context["standing"].kind == "ok"
        assert "nothing is pushed or pulled" not in text

    def test_not_configured(self, shown, settings):
        """Without a remote store the page says which settings name one, and no secret."""
        settings.CALLCACHE = {"SYNC": {"SUPABASE_KEY": KEY}}
        text, _ = shown()
        assert "SUPABASE_URL" in text
        assert KEY not in text


class TestLoops:
    def test_two(self, shown, cache):
        """Two loops are named, each with its beginning; one that ends is not."""
        first, second = (Turns(["default"], None) for _ in range(2))
        first.beat()
        second.beat()
        text, context = shown()
        started = [loop.started_at for _, loop in context["loops"]]
        assert len(set(started)) == 2
        assert started == sorted(started)
        assert "2 loops run" in text
        second.end()
        text, context = shown()
        assert len(context["loops"]) == 1
        assert "loops run" not in text

    def test_two__one_passes(self, shown, cache):
        """A loop that stands by does not hide the passes of the one at work."""
        worker, idle = (Turns(["default"], None) for _ in range(2))
        worker()
        passed_at = shown()[1]["loop"]["heartbeat"].passed_at
        idle.beat()
        assert shown()[1]["loop"]["heartbeat"].passed_at == passed_at > 0

    def test_silent(self, shown, cache):
        """A loop without a sign of life is not said to run."""
        now = time.time()
        beat = Heartbeat(host="box", pid=7, started_at=now - 900, alive_at=now - 200, passed_at=now - 200)
        beat.write(cache.redis_client(), cache.redis_keys)
        text, context = shown()
        assert context["loop"]["level"] == "warning"
        assert "No sign of life" in text

    def test_ended(self, shown, cache):
        """Passes that a timer starts are no loop that has died."""
        turns = Turns(["default"], None)
        turns()
        turns.end()
        text, context = shown()
        assert context["loop"]["level"] == "ok"
        assert "None runs now" in text

    def test_many(self, cache):
        """Of loops that come and go only some are remembered."""
        client, keys, now = cache.redis_client(), cache.redis_keys, time.time()
        for number in range(100):
            moment = now - (100 - number) * SILENT_SECONDS
            Heartbeat(host="box", pid=number, started_at=moment, alive_at=moment).write(client, keys)
        assert client.hlen(keys.heartbeat()) < 40
        assert Heartbeat.read(client, keys).pid == 99


class TestTrial:
    def test_trial(self, client, shown, settings, cache, remote_alias, remote_sql):
        """What a pass would do is shown, and nothing is done on either side."""
        settings.CALLCACHE = {
            "SYNC": {"REMOTE": "postgres", "NAMESPACE": NAMESPACE, "DATABASE": remote_alias}
        }
        cache.set("call:7", 1)
        cache.delete("contact:7")
        response = client.post(SYNC, {"alias": "default", "act": "dry_run"})
        assert response.status_code == 200
        trial = response.context["trial"]
        assert (trial.push, trial.delete, trial.is_complete) == (2, 1, True)
        assert "Nothing was changed on either side." in response.content.decode()
        assert remote_sql.execute("select count(*) from public.callcache_entries").fetchone() == (0,)
        assert not SyncRun.objects.exists()
        operation, entry = CacheOperation.objects.get(), LogEntry.objects.get()
        assert (operation.reason, operation.outcome) == ("dry_run", "ok")
        assert entry.object_id == str(operation.pk)

    def test_trial__no_answer(self, client, shown, supabase_at, cache):
        """A store that does not answer is said so, and the attempt is recorded."""
        supabase_at("http://127.0.0.1:1")
        response = client.post(SYNC, {"alias": "default", "act": "dry_run"}, follow=True)
        assert "Supabase does not answer" in response.content.decode()
        assert CacheOperation.objects.get().outcome == "failed"

    def test_trial__long(self, client, shown, settings, cache, remote_alias, remote_sql, monkeypatch):
        """A look that takes too long ends, and says that its numbers are the least."""
        monkeypatch.setattr("django_callcache.admin.sync_page.DRY_RUN_SECONDS", 0)
        settings.CALLCACHE = {
            "SYNC": {"REMOTE": "postgres", "NAMESPACE": NAMESPACE, "DATABASE": remote_alias}
        }
        cache.set("call:7", 1)
        response = client.post(SYNC, {"alias": "default", "act": "dry_run"})
        assert not response.context["trial"].is_complete
        assert "for want of time" in response.content.decode()


class TestRun:
    def test_no_loop(self, client, shown, cache):
        """Who asks for a pass that nobody will run is told."""
        sent = {"alias": "default", "act": "run"}
        assert "No loop was seen" in client.post(SYNC, sent, follow=True).content.decode()
        Turns(["default"], None).beat()
        assert "No loop was seen" not in client.post(SYNC, sent, follow=True).content.decode()

    def test_pause__reason(self, client, shown, cache):
        """The reason of a pause is shown to everybody, and kept with the operation."""
        client.post(SYNC, {"alias": "default", "act": "pause", "reason": "moving <b>house</b>"})
        text, context = shown()
        assert context["live"].held.reason == "moving <b>house</b>"
        assert "moving &lt;b&gt;house" in text
        assert CacheOperation.objects.get().reason == "pause: moving <b>house</b>"
