from __future__ import annotations

import io
import json
import time

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command

from django_callcache.maintenance import Report
from django_callcache.management.turns import facts_of
from django_callcache.models import SyncRun
from django_callcache.sync.leader import Heartbeat, LoopLease

NAMESPACE = "command"


@pytest.fixture
def command(transactional_db, settings, remote_alias, remote_sql):
    """Calls the command with the remote store at hand; returns what it printed."""
    settings.CALLCACHE = {
        "SYNC": {"REMOTE": "postgres", "NAMESPACE": NAMESPACE, "DATABASE": remote_alias, "INTERVAL": 0.01}
    }

    def call(*arguments):
        output = io.StringIO()
        call_command("runcachesync", *arguments, stdout=output)
        return output.getvalue()

    return call


@pytest.fixture
def cache(command):
    return caches["default"]


class TestRunCacheSync:
    def test_once(self, command, cache, remote_sql, caplog):
        """One pass pushes what waits, tells it in one line at INFO, and leaves a sign of life."""
        caplog.set_level("INFO", "django_callcache")
        cache.set("call:7", {"agent": "Ana"})
        assert command("--once") == ""
        query = "select value from public.callcache_entries where namespace = %s and key = '1:call:7'"
        assert remote_sql.execute(query, (NAMESPACE,)).fetchone() == ({"agent": "Ana"},)
        lines = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
        assert len(lines) == 1
        assert "alias=default outcome=ok pushed=1" in lines[0]
        beat = Heartbeat.read(cache.redis_client(), cache.redis_keys)
        assert beat.outcome == "ok"
        assert beat.started_at <= beat.passed_at <= beat.alive_at

    def test_json(self, command, cache):
        """Each pass is a line of JSON."""
        cache.set("call:7", 1)
        lines = command("--max-passes", "2", "--json", "--interval", "0.001").splitlines()
        assert [json.loads(line)["pushed"] for line in lines] == [1, 0]
        assert json.loads(lines[0])["alias"] == "default"
        assert SyncRun.objects.count() == 2

    def test_prefix(self, command, cache):
        """With --prefix only its keys are pushed, and the others wait."""
        cache.set("call:7", 1)
        cache.set("contact:7", 1)
        lines = command("--once", "--json", "--prefix", "call:").splitlines()
        assert json.loads(lines[0])["pushed"] == 1
        assert json.loads(lines[0])["backlog"] == 1
        assert json.loads(command("--once", "--json").splitlines()[0])["pushed"] == 1

    def test_dry_run(self, command, cache, remote_sql):
        """With --dry-run both sides are looked at and nothing moves."""
        cache.set("call:7", 1)
        cache.delete("contact:7")
        row = {"k": "1:call:8", "v": 8, "h": f"{int(time.time() * 1e6):016x}"}
        foreign = {**row, "k": "1:session:8"}
        push = "select public.callcache_push(%s, 'elsewhere', %s::jsonb)"
        remote_sql.execute(push, (NAMESPACE, json.dumps([row, foreign])))
        facts = json.loads(command("--once", "--dry-run", "--json"))
        assert (facts["push"], facts["delete"], facts["pull"], facts["refuse"]) == (2, 1, 1, 1)
        assert facts["by_prefix"] == {"call:": 1, "contact:": 1}
        assert "push=1 " in command("--once", "--dry-run", "--prefix", "call:")
        assert cache.get("call:8") is None
        assert not SyncRun.objects.exists()
        assert json.loads(command("--once", "--json").splitlines()[0])["pulled"] == 1

    def test_verify(self, command, cache, remote_sql):
        """With --verify what the remote store has lost is pushed again."""
        cache.set("call:7", 1)
        command("--once")
        remote_sql.execute("delete from public.callcache_entries where namespace = %s", (NAMESPACE,))
        assert json.loads(command("--once", "--json").splitlines()[0])["pushed"] == 0
        facts = json.loads(command("--once", "--json", "--verify").splitlines()[0])
        assert (facts["remarked"], facts["pushed"]) == (1, 1)

    def test_take_over(self, command, cache):
        """A Redis of another environment is refused with exit code 1, until a person takes it over."""
        cache.redis_client().set(cache.redis_keys.environment(), "mark other-namespace")
        with pytest.raises(CommandError):
            command("--once")
        assert SyncRun.objects.get().error_class == "WrongEnvironment"
        command("--once", "--take-over")

    @pytest.mark.parametrize("option", ["--prefix=a", "--dry-run", "--verify", "--take-over"])
    def test_only_once(self, command, option):
        """What is meant for one pass does not go with the loop."""
        with pytest.raises(CommandError, match="--once") as caught:
            command(option)
        assert caught.value.returncode == 2

    def test_failed(self, command, cache, remote_sql):
        """A pass that failed is exit code 1, and the row of the run says why."""
        cache.set("call:7", 1)
        remote_sql.execute("alter function public.callcache_push rename to hidden")
        try:
            with pytest.raises(CommandError) as caught:
                command("--once")
        finally:
            remote_sql.execute("alter function public.hidden rename to callcache_push")
        assert caught.value.returncode == 1
        assert SyncRun.objects.get().error_class == "RemoteRefused"
        command("--once")
        assert SyncRun.objects.latest_of("default").pushed == 1

    def test_schema_of_another_release(self, command, cache, remote_sql, caplog):
        """A remote schema that this release does not know is touched by no push."""
        cache.set("call:7", 1)
        remote_sql.execute("update public.callcache_meta set schema_version = 99 where id")
        try:
            with pytest.raises(CommandError):
                command("--once")
        finally:
            remote_sql.execute("update public.callcache_meta set schema_version = 1 where id")
        assert "schema version 99" in caplog.text
        run = SyncRun.objects.get()
        assert (run.outcome, run.pushed, run.pulled, run.backlog) == ("failed", 0, 0, 1)

    def test_busy(self, command, cache):
        """While another loop is at work there is nothing to do, and that is no failure."""
        cache.set("call:7", 1)
        LoopLease(cache.redis_client(), cache.redis_keys, 30).take()
        assert command("--once", "--json") == ""
        assert not SyncRun.objects.exists()

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--interval", "0"], ["--interval", "nan"], ["--interval", "inf"], ["--interval", "often"],
            ["--max-passes", "0"], ["--max-passes", "1.5"],
        ],
    )  # fmt: skip
    def test_wrong_arguments(self, command, arguments):
        """An interval or a number that cannot be is refused before anything runs."""
        with pytest.raises(CommandError, match="is not a"):
            command(*arguments)

    @pytest.mark.parametrize("alias", ["missing", "foreign"])
    def test_wrong_alias(self, command, settings, alias):
        """An alias that is not there, or not of this backend, is exit code 2."""
        settings.CACHES = {
            **settings.CACHES, "foreign": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
        }  # fmt: skip
        with pytest.raises(CommandError) as caught:
            command("--once", "--alias", alias)
        assert caught.value.returncode == 2

    def test_wrong_settings(self, command, settings):
        """Settings that cannot be are exit code 2."""
        settings.CALLCACHE = {"SYNC": {"REMOTE": "postgres"}}
        with pytest.raises(CommandError, match="NAMESPACE") as caught:
            command("--once", "--skip-checks")
        assert caught.value.returncode == 2

    def test_aliases(self, command, settings, remote_sql):
        """Every alias of this backend is served, each under its own namespace."""
        settings.CACHES = {**settings.CACHES, "other": {**settings.CACHES["default"], "KEY_PREFIX": "other"}}
        caches["default"].set("call:7", 1)
        caches["other"].set("call:7", 2)
        lines = command("--once", "--json").splitlines()
        assert {json.loads(line)["alias"] for line in lines} == {"default", "other"}
        found = remote_sql.execute("select namespace, value from public.callcache_entries")
        assert dict(found.fetchall()) == {NAMESPACE: 1, f"{NAMESPACE}/other": 2}


class TestFacts:
    def test_error(self):
        """A run that failed names the kind of error, not its words."""
        assert facts_of(Report("default", errors=[OSError("secret")]))["error"] == "OSError"
