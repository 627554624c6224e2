"""The loop, and its commands, where rules have tables as sources."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from django_callcache.conf import get_settings
from django_callcache.exceptions import RemoteRefused
from django_callcache.maintenance import run_once
from django_callcache.management.turns import Turns
from django_callcache.replication.findings import findings
from django_callcache.replication.remotes import open_remote
from django_callcache.sync.postgres import PostgresStore
from tests.tables.conftest import ALIAS, SYNC, add_campaigns
from tests.tables.test_following import FED, POLLED, attach

pytestmark = pytest.mark.django_db


def call(*arguments):
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


class TestRunOnce:
    def test_run_once(self, cache_of, business):
        """A pass follows the tables, beside all else."""
        cache = cache_of(call={"sync": "lww"}, **FED)
        attach(business)
        run_once("default")
        add_campaigns(business, 1)
        cache.set("campaign:1", "old")
        cache.set("call:1", 1)
        report = run_once("default")
        assert report.errors == []
        assert (report.sync.pushed, report.followed.changes) == (1, 1)
        assert not cache.has_key("campaign:1")

    def test_run_once__only_polls(self, cache_of, business):
        """Tables that are polled are followed in a database where nothing of ours is."""
        cache_of(**POLLED)
        business.execute("alter table public.callcache_meta rename to away")
        try:
            Turns(["default"], open_remote(get_settings().sync))()
            report = run_once("default")
        finally:
            business.execute("alter table public.away rename to callcache_meta")
        assert report.errors == []
        assert report.sync is None
        assert report.followed.resets == 0

    def test_run_once__errors(self, cache_of, business):
        """A table that cannot be polled is an error of the pass."""
        cache_of(campaign={"source": {"table": "campaigns", "changed_at": "nothing"}})
        (error,) = run_once("default").errors
        assert isinstance(error, RemoteRefused)


class TestTurns:
    @pytest.fixture
    def turns(self, cache_of, business, settings, business_alias):
        cache_of(**FED)
        settings.CALLCACHE = {"SYNC": {**SYNC, "FOLLOW_INTERVAL": 0.001}}
        return Turns(["default"], PostgresStore(business_alias))

    def test_watch(self, turns, business, cache, caplog):
        """Between two passes changes of tables are followed every few seconds."""
        attach(business)
        turns.watch()
        add_campaigns(business, 1)
        cache.set("campaign:1", "old")
        with caplog.at_level("INFO"):
            turns.watch()
        assert not cache.has_key("campaign:1")
        assert "followed alias=default changes=1 deleted=1" in caplog.text

    def test_watch__down(self, turns, monkeypatch, caplog, business):
        """A failure is told and tried again later."""
        business.execute("alter table public.callcache_changes rename to away")
        try:
            turns.watch()
        finally:
            business.execute("alter table public.away rename to callcache_changes")
        assert "late alias=default step=follow error=RemoteRefused" in caplog.text


class TestFindings:
    def found(self, cache, remote):
        return {one.subject: one for one in findings(cache, remote)}

    def test_findings(self, cache_of, business, business_alias):
        """A table that tells of no changes is an error, with what helps."""
        cache = cache_of(**FED)
        store = PostgresStore(business_alias)
        silent = self.found(cache, store)["tables"]
        assert silent.level == "error"
        assert "public.campaigns.id tells of no changes" in silent.text
        attach(business)
        assert self.found(cache, store)["tables"].level == "ok"

    def test_findings__only_polls(self, cache_of, business, business_alias):
        """Where tables are polled only, nothing of ours is asked for."""
        found = self.found(cache_of(**POLLED), PostgresStore(business_alias))
        assert not {"schema", "exposure", "tables"} & found.keys()


class TestCallcacheSql:
    def test_attach(self, cache_of, business):
        """The tables that rules name are told to report the columns that keys are made of."""
        cache_of(
            campaign={"source": "campaigns"},
            code={"source": {"table": "campaigns", "by": "code"}},
            contact={"source": {"table": "public.contacts"}},
            offer={"source": {"table": "sales.offers", "changed_at": "updated_at"}},
        )
        assert call("callcache_sql", "--attach").splitlines()[2:] == [
            """select public.callcache_attach('"public"."campaigns"', 'code', 'id');""",
            """select public.callcache_attach('"public"."contacts"', 'id');""",
        ]
        assert call("callcache_sql", "--attach", "--apply") == f"Applied to {ALIAS}\n"
        assert business.execute("select public.callcache_attached()").fetchone()[0] == [
            ["public.campaigns", "code"],
            ["public.campaigns", "id"],
            ["public.contacts", "id"],
        ]

    def test_attach__migration(self, cache_of, tmp_path):
        """It can be written to a migration of its own."""
        cache_of(**FED)
        call("callcache_sql", "--attach", "--supabase-migration", str(tmp_path))
        (file,) = tmp_path.iterdir()
        assert file.name.endswith("_callcache_attach.sql")

    def test_attach__nothing(self, cache_of):
        """Without such a rule there is nothing to attach."""
        cache_of(**POLLED)
        with pytest.raises(CommandError, match="No rule has a table as source"):
            call("callcache_sql", "--attach")

    def test_apply(self, cache_of, business):
        """The whole schema can be applied, again and again."""
        cache_of(**FED)
        before = business.execute("select epoch from public.callcache_meta").fetchone()
        assert call("callcache_sql", "--apply", ALIAS) == f"Applied to {ALIAS}\n"
        assert business.execute("select epoch from public.callcache_meta").fetchone() == before

    @pytest.mark.parametrize(
        ("database", "words"),
        [("nowhere", "DATABASES has no 'nowhere'"), ("default", "is no PostgreSQL but sqlite")],
    )
    def test_apply__elsewhere(self, cache_of, database, words):
        """It needs a PostgreSQL."""
        cache_of(**FED)
        with pytest.raises(CommandError, match=words) as raised:
            call("callcache_sql", f"--apply={database}")
        assert raised.value.returncode == 2

    def test_apply__refused(self, cache_of, business):
        """What the database refuses is told, and nothing is done."""
        cache_of(campaign={"source": "campaigns"}, nothing={"source": "nothing"})
        with pytest.raises(CommandError, match="refuses") as raised:
            call("callcache_sql", "--attach", "--apply")
        assert raised.value.returncode == 1
        assert business.execute("select public.callcache_attached()").fetchone() == ([],)
