from __future__ import annotations

import os
import signal

import pytest
from django.db import connections, transaction

from django_callcache.conf import SyncSettings
from django_callcache.exceptions import RemoteRefused, RemoteUnavailable
from django_callcache.sync.postgres import PostgresStore
from tests.sync.test_remote import NAMESPACE, row


class TestPostgresStore:
    def test_other_database(self, django_db_blocker):
        """An alias that is no PostgreSQL is refused."""
        with pytest.raises(RemoteRefused, match="'default' is not a PostgreSQL"):
            PostgresStore("default").push(NAMESPACE, "a", [row()])

    def test_schema_missing(self, alias_of, postgres_url):
        """A database without the schema is refused with the command that prints it."""
        store = PostgresStore(alias_of(postgres_url))
        for call in (store.check_schema, lambda: store.push(NAMESPACE, "a", [row()])):
            with pytest.raises(RemoteRefused, match="callcache_sql"):
                call()

    def test_nobody_there(self, alias_of):
        """A closed port is an outage."""
        store = PostgresStore(alias_of("postgresql://postgres@127.0.0.1:1/none"))
        with pytest.raises(RemoteUnavailable):
            store.push(NAMESPACE, "a", [row()])

    @pytest.mark.parametrize(("old", "new"), [("postgres:", "nobody:"), ("callcache", "missing")])
    def test_not_let_in(self, alias_of, postgres_url, old, new):
        """A wrong account, and a database that is not there, are for a person to mend."""
        store = PostgresStore(
            alias_of(postgres_url.replace(f"//{old}", f"//{new}").replace(f"/{old}", f"/{new}"))
        )
        with pytest.raises(RemoteRefused):
            store.push(NAMESPACE, "a", [row()])

    def test_statement_takes_too_long(self, remote_sql, remote_alias):
        """A batch that another writer's lock holds up is given up in time, and can be pushed later."""
        store = PostgresStore(remote_alias, timeout_seconds=0.2)
        with remote_sql.transaction():
            remote_sql.execute("lock table public.callcache_entries in exclusive mode")
            with pytest.raises(RemoteUnavailable):
                store.push(NAMESPACE, "a", [row()])
        assert store.push(NAMESPACE, "a", [row()]).applied

    def test_connection_cut(self, remote_sql, remote_alias, postgres_store):
        """A connection that the server ended is an outage once, and replaced."""
        postgres_store.push(NAMESPACE, "a", [row("1:a")])
        pid = connections[remote_alias].connection.info.backend_pid
        remote_sql.execute("select pg_terminate_backend(%s)", (pid,))
        with pytest.raises(RemoteUnavailable):
            postgres_store.push(NAMESPACE, "a", [row("1:b")])
        assert postgres_store.push(NAMESPACE, "a", [row("1:b")]).applied

    def test_server_hangs(self, remote_alias, remote_sql):
        """A server that hangs, so that its own time limit is none, is given up in time."""
        store = PostgresStore(remote_alias, timeout_seconds=0.1)
        store.push(NAMESPACE, "a", [row("1:a")])
        pid = connections[remote_alias].connection.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(RemoteUnavailable):
                store.push(NAMESPACE, "a", [row("1:b")])
        finally:
            os.kill(pid, signal.SIGCONT)
        assert store.push(NAMESPACE, "a", [row("1:b")]).applied

    def test_inside_a_transaction(self, postgres_store, remote_alias):
        """In somebody's transaction nothing could be acknowledged: the commit is not ours."""
        with transaction.atomic(remote_alias), pytest.raises(RuntimeError, match="durable"):
            postgres_store.push(NAMESPACE, "a", [row()])

    def test_error__no_values(self, remote_sql, postgres_store):
        """What goes wrong is told without the values at hand."""
        remote_sql.execute(
            "alter table public.callcache_entries add constraint picky check (key <> '1:call:7')"
        )
        try:
            with pytest.raises(Exception, match="23514") as caught:
                postgres_store.push(NAMESPACE, "a", [row(value="hidden")])
        finally:
            remote_sql.execute("alter table public.callcache_entries drop constraint picky")
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert "hidden" not in repr(caught.value)

    def test_from_settings(self):
        """The settings name the alias."""
        assert repr(PostgresStore.from_settings(SyncSettings(database="crm"))) == "<PostgresStore 'crm'>"
