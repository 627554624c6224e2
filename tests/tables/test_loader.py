"""Tables of the remote store as sources of records."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction

from django_callcache.cache.loading import sources
from django_callcache.conf import TableSource
from django_callcache.exceptions import RemoteRefused, RemoteUnavailable
from django_callcache.sync.postgres import PostgresStore
from django_callcache.tables.loader import TableLoader
from tests.cache.waiting import wait_until
from tests.tables.conftest import ALIAS, add_campaigns


class Shelf:
    """Readers that count what they are asked."""

    def __init__(self, *rows):
        self.rows = rows
        self.error = None
        self.asked = []

    def ask(self, question):
        return question(self)

    def read_rows(self, source, names):
        self.asked.append(list(names))
        if self.error is not None:
            raise self.error
        return [row for row in self.rows if str(row[source.by]) in names]


class TestTableLoader:
    def test_call__several_rows(self):
        """A column that is not unique names no record."""
        shelf = Shelf({"name": "May", "id": 1}, {"name": "May", "id": 2})
        with pytest.raises(RemoteRefused, match=r"public\.campaigns\.name is not unique: 'May'"):
            TableLoader(TableSource(table="campaigns", by="name"), shelf)(["May"])

    def test_call__no_text(self):
        """What no text of the database can be is not asked for."""
        shelf = Shelf()
        assert TableLoader(TableSource(table="campaigns"), shelf)(["a\0b", "\ud800", "7"]) == {}
        assert shelf.asked == [["7"]]

    def test_call__other_rows(self):
        """Rows that were not asked for are left alone."""
        loader = TableLoader(TableSource(table="campaigns", by="code", fields=("name",)), Shelf())
        loader._readers.read_rows = lambda source, names: [{"code": "A", "name": 1}, {"code": "b", "name": 2}]
        assert loader(["a", "b"]) == {"b": {"name": 2}}


class TestRegistration:
    def test_register_tables(self, make_caches, redis_url):
        """A rule's table is known to the cache of its alias as long as the settings say so."""
        rules = {"campaign:": {"source": "campaigns"}, "model:": {"source": "crm.Campaign"}}
        options = {"OPTIONS": {"CALLCACHE": {"RULES": rules, "ALIAS": "main"}}}
        make_caches({"default": {"LOCATION": redis_url, "KEY_PREFIX": "t", **options}})
        assert sources.prefixes("main") == ("campaign:", "model:")
        assert isinstance(sources.of("main", "campaign:7").loader, TableLoader)
        make_caches({"default": {"LOCATION": redis_url, "KEY_PREFIX": "t"}})
        assert sources.prefixes("main") == ()

    @pytest.mark.parametrize(
        ("sync", "words"),
        [
            ({}, 'REMOTE"\\] is not set'),
            ({"REMOTE": "django_callcache.sync.memory.MemoryStore"}, "reads no tables"),
            ({"REMOTE": "nowhere.Store"}, "nowhere"),
        ],
    )
    def test_load__nothing_to_ask(self, make_cache, sync, words):
        """Without a remote store that has tables, loading says what is missing."""
        cache = make_cache(RULES={"campaign:": {"source": "campaigns"}}, app={"SYNC": sync})
        with pytest.raises(ImproperlyConfigured, match=words):
            cache.load("campaign:1")


class TestLoad:
    def test_load(self, cache_of, business):
        """A row is read once, and served from the cache afterwards; so is that there is none."""
        cache = cache_of(campaign={"source": {"table": "campaigns", "fields": ["name", "code"]}, "ttl": 60})
        add_campaigns(business, 1)
        assert cache.load("campaign:1") == {"name": "May 1", "code": "c1"}
        assert [cache.load("campaign:2"), cache.load("campaign:x"), cache.load("campaign:01")] == [None] * 3
        business.execute("update public.campaigns set name = 'June' where id = 1")
        add_campaigns(business, 2)
        assert cache.load("campaign:1")["name"] == "May 1"
        assert cache.load("campaign:2") is None
        cache.delete_many(["campaign:1", "campaign:2"])
        assert cache.load("campaign:1")["name"] == "June"
        assert cache.load("campaign:2")["name"] == "May 2"

    def test_load_many(self, cache_of, business):
        """Many records come at once; names that the column cannot hold keep no other from coming."""
        cache = cache_of(
            campaign={"source": "campaigns"}, code={"source": {"table": "campaigns", "by": "code"}}
        )
        add_campaigns(business, *range(1, 21))
        keys = [f"campaign:{name}" for name in (*range(1, 21), "x", "1.0", "99", "9" * 40)]
        assert set(cache.load_many(keys)) == {f"campaign:{number}" for number in range(1, 21)}
        assert cache.load_many(["code:c7", "code:7"])["code:c7"]["id"] == 7

    async def test_aload(self, cache_of, business):
        """Asynchronous callers wait in no thread of Django's."""
        cache = cache_of(campaign={"source": "campaigns"})
        await sync_to_async(add_campaigns)(business, 1, 2)
        records = await asyncio.gather(*(cache.aload(f"campaign:{number}") for number in (1, 2, 3)))
        assert [record and record["name"] for record in records] == ["May 1", "May 2", None]
        assert set(await cache.aload_many(["campaign:1", "campaign:2"])) == {"campaign:1", "campaign:2"}

    def test_load__at_once(self, cache_of, business, monkeypatch):
        """Threads that want one record at once have it read once."""
        cache = cache_of(campaign={"source": "campaigns"})
        add_campaigns(business, 1)
        everybody, found, asked = threading.Barrier(8), [], []
        read = PostgresStore.read_rows
        monkeypatch.setattr(
            PostgresStore, "read_rows", lambda *stated: asked.append(stated[2]) or read(*stated)
        )

        def ask():
            everybody.wait(30)
            found.append(cache.load("campaign:1")["name"])

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == ["May 1"] * 8
        assert asked == [["1"]]

    def test_load__in_a_transaction(self, cache_of, business, business_alias):
        """A transaction of the caller neither sees nor suffers from what is read beside it."""
        cache = cache_of(campaign={"source": "campaigns"})
        with transaction.atomic(ALIAS):
            with connections[ALIAS].cursor() as cursor:
                cursor.execute("insert into public.campaigns (id, name) values (1, 'not yet')")
            assert cache.load("campaign:1") is None
            assert cache.load("campaign:x") is None
        cache.delete("campaign:1")
        assert cache.load("campaign:1")["name"] == "not yet"

    def test_load__connection_lost(self, cache_of, business):
        """A connection that was cut costs the call that finds it cut, and no other."""
        cache = cache_of(campaign={"source": "campaigns"})
        add_campaigns(business, 1)
        cache.load("campaign:9")
        business.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        with pytest.raises(RemoteUnavailable):
            cache.load("campaign:1")
        assert cache.load("campaign:1")["name"] == "May 1"

    def test_load__stale_on_error(self, cache_of, business, caplog):
        """Within the rule's grace the old record is served where the table cannot be read."""
        cache = cache_of(campaign={"source": "campaigns", "ttl": 0.05, "grace": 60})
        add_campaigns(business, 1)
        assert cache.load("campaign:1")["name"] == "May 1"
        wait_until(lambda: not cache.has_key("campaign:1"))
        with caplog.at_level(logging.WARNING), renamed(business):
            assert cache.load("campaign:1")["name"] == "May 1"
            assert cache.load_many(["campaign:1"])["campaign:1"]["name"] == "May 1"
            with pytest.raises(RemoteRefused, match=r"the table public\.campaigns"):
                cache.load("campaign:2")
        assert "loader=failed served=stale" in caplog.text


class renamed:  # noqa: N801 (a context manager, used as one)
    """The table is away meanwhile."""

    def __init__(self, db):
        self.db = db

    def __enter__(self):
        self.db.execute("alter table public.campaigns rename to away")

    def __exit__(self, *ignored):
        self.db.execute("alter table public.away rename to campaigns")
