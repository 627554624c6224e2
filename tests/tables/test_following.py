"""Entries that follow the tables that they come from."""

from __future__ import annotations

import random
import threading
import time
from collections import deque

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured

from django_callcache.exceptions import RemoteRefused, RemoteUnavailable, WrongEnvironment
from django_callcache.maintenance import follow_once
from django_callcache.sync.memory import MemoryStore
from django_callcache.sync.postgres import PostgresStore
from django_callcache.tables import following
from django_callcache.tables.following import follow, needs_schema
from tests.tables.conftest import add_campaigns

FED = {"campaign": {"source": "campaigns", "ttl": 600}}
POLLED = {"campaign": {"source": {"table": "campaigns", "changed_at": "updated_at", "overlap": 60}}}


@pytest.fixture
def store(business_alias):
    return PostgresStore(business_alias)


def attach(db, *columns):
    names = ", ".join(f"'{name}'" for name in columns or ("id",))
    db.execute(f"select public.callcache_attach('public.campaigns', {names})")


def rename(db, number, name):
    db.execute("update public.campaigns set name = %s, updated_at = now() where id = %s", (name, number))


class TestFeed:
    def test_follow__begins(self, cache_of, business, store):
        """The first look deletes what came from the tables before, whose changes nobody heard of."""
        cache = cache_of(**FED)
        cache.set_many({"campaign:1": "old", "other:1": "stays"})
        followed = follow(cache, store)
        assert (followed.resets, followed.deleted, followed.changes) == (1, 1, 0)
        assert not cache.has_key("campaign:1")
        assert cache.get("other:1") == "stays"
        cache.set("campaign:1", "new")
        assert follow(cache, store).resets == 0
        assert cache.get("campaign:1") == "new"

    def test_follow(self, cache_of, business, store):
        """Entries of rows that were changed, deleted or inserted go; the others stay."""
        cache = cache_of(**FED)
        attach(business)
        add_campaigns(business, 1, 2, 3)
        follow(cache, store)
        cache.load_many([f"campaign:{number}" for number in (1, 2, 3, 4)])
        rename(business, 1, "June")
        business.execute("delete from public.campaigns where id = 2")
        add_campaigns(business, 4)

        followed = follow(cache, store)

        assert (followed.changes, followed.deleted, followed.refetched) == (3, 3, 0)
        assert [cache.has_key(f"campaign:{number}") for number in (1, 2, 3, 4)] == [False, False, True, False]
        assert cache.load("campaign:1")["name"] == "June"
        assert cache.load("campaign:2") is None
        assert cache.load("campaign:4")["name"] == "May 4"
        assert follow(cache, store).changes == 0

    def test_follow__refetch(self, cache_of, business, store):
        """Where the rule says so, entries that were there are read anew at once; others are not."""
        cache = cache_of(
            campaign={"source": {"table": "campaigns", "on_change": "refetch"}},
            code={"source": {"table": "campaigns", "by": "code", "on_change": "refetch"}},
        )
        attach(business, "id", "code")
        add_campaigns(business, 1, 2, 3)
        follow(cache, store)
        cache.load_many(["campaign:1", "campaign:3", "code:c1"])
        for number in (1, 2):
            rename(business, number, "June")
        business.execute("update public.campaigns set id = 30 where id = 3")

        followed = follow(cache, store)

        assert followed.refetched == 2
        assert cache.get("campaign:1")["name"] == cache.get("code:c1")["name"] == "June"
        assert not cache.has_key("campaign:2")
        assert cache.load("campaign:3") is None
        assert cache.load("campaign:30")["id"] == 30

    def test_follow__truncated(self, cache_of, business, store):
        """An emptied table empties the prefix."""
        cache = cache_of(**FED)
        attach(business)
        add_campaigns(business, 1, 2)
        follow(cache, store)
        cache.load_many(["campaign:1", "campaign:2"])
        business.execute("truncate public.campaigns")
        assert follow(cache, store).deleted == 2
        assert cache.load("campaign:1") is None

    def test_follow__pages(self, cache_of, business, store, monkeypatch):
        """More changes than fit into a page are all followed; a stop in between loses none."""
        monkeypatch.setattr("django_callcache.sync.postgres.CHANGES_AT_ONCE", 3)
        cache = cache_of(**FED)
        attach(business)
        follow(cache, store)
        keys = [f"campaign:{number}" for number in range(10)]
        cache.set_many(dict.fromkeys(keys, "old"))
        add_campaigns(business, *range(10))
        answers = iter([True, False])
        assert follow(cache, store, lambda: next(answers)).changes == 3
        assert follow(cache, store).changes == 7
        assert cache.get_many(keys) == {}

    def test_follow__missed(self, cache_of, business, store):
        """Where changes are gone that were not read, or the store is another one, all entries go."""
        cache = cache_of(**FED)
        attach(business)
        follow(cache, store)
        for lose in (
            "update public.callcache_meta set epoch = gen_random_uuid() where id",
            "update public.callcache_changes set at = now() - interval '2 days' where true",
        ):
            add_campaigns(business, 1)
            cache.set("campaign:9", "old")
            business.execute(lose)
            business.execute("select public.callcache_changes_gc()")
            followed = follow(cache, store)
            assert followed.resets == 1
            assert not cache.has_key("campaign:9")
            assert follow(cache, store).resets == 0
            business.execute("delete from public.campaigns where true")
            follow(cache, store)

    def test_follow__old_changes(self, cache_of, business, store, redis_client):
        """Changes that are a day old are removed, at most every ten minutes."""
        cache = cache_of(**FED)
        attach(business)
        follow(cache, store)
        for expected in (1, 0):
            redis_client.delete(cache.redis_keys.old_changes()) if expected else None
            add_campaigns(business, expected + 1)
            follow(cache, store)
            business.execute("update public.callcache_changes set at = now() - interval '2 days' where true")
            before = count(business)
            redis_client.delete(cache.redis_keys.old_changes()) if expected else None
            follow(cache, store)
            assert before - count(business) == expected

    def test_follow__six_writers(self, cache_of, business, business_url, store):
        """Of six writers at once with open transactions and rollbacks not one committed change is missed."""
        cache = cache_of(**FED)
        attach(business)
        follow(cache, store)
        stop, committed = threading.Event(), [[] for _ in range(6)]
        writers = [
            threading.Thread(target=write, args=(business_url, number, stop, committed[number]))
            for number in range(6)
        ]
        for writer in writers:
            writer.start()
        read, at_work = 0, 0
        ends_at = time.monotonic() + 1.5
        while time.monotonic() < ends_at or at_work < 3:
            done = follow(cache, store)
            read, at_work = read + done.changes, at_work + bool(done.changes)
            time.sleep(0.01)
        stop.set()
        for writer in writers:
            writer.join()
        read += follow(cache, store).changes
        expected = sum(map(len, committed))
        assert expected >= 12
        assert read == expected == count(business)

    def test_follow__cache_equals_table(self, cache_of, business, business_url, store):
        """While rows are written and read through the cache, both end up the same."""
        cache = cache_of(campaign={"source": {"table": "campaigns", "on_change": "refetch"}})
        attach(business)
        add_campaigns(business, *range(8))
        follow(cache, store)
        keys, stop = [f"campaign:{number}" for number in range(8)], threading.Event()

        def change():
            with psycopg.connect(business_url, autocommit=True) as own:
                while not stop.is_set():
                    rename(own, random.randrange(8), f"name {time.monotonic_ns()}")
                    time.sleep(0.002)

        def read():
            while not stop.is_set():
                cache.load(random.choice(keys))
                time.sleep(0.001)

        threads = [threading.Thread(target=work) for work in (change, change, read, read)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            follow(cache, store)
            time.sleep(0.01)
        stop.set()
        for thread in threads:
            thread.join()
        assert follow(cache, store).changes > 0
        rows = {
            f"campaign:{n}": name for n, name in business.execute("select id, name from public.campaigns")
        }
        assert {key: record["name"] for key, record in cache.load_many(keys).items()} == rows


@pytest.mark.parametrize(
    "rules", [pytest.param(FED, id="attached"), pytest.param(POLLED, id="polled", marks=pytest.mark.long)]
)
class TestLate:
    def test_a_thousand_rows(self, cache_of, business, business_url, store, monkeypatch, rules):
        """Of 1,000 rows that are committed late, many with one moment, pages of four miss none."""
        monkeypatch.setattr("django_callcache.sync.postgres.CHANGES_AT_ONCE", 4)
        cache = cache_of(**rules)
        if rules is FED:
            attach(business)
        follow(cache, store)
        keys = [f"campaign:{number}" for number in range(1000)]
        cache.set_many(dict.fromkeys(keys, "old"))
        chance = random.Random(19)
        writers = [
            threading.Thread(target=commit_late, args=(business_url, range(at, 1000, 5), chance.random()))
            for at in range(5)
        ]
        for writer in writers:
            writer.start()
        read = 0
        while any(writer.is_alive() for writer in writers):
            read += follow(cache, store).changes
        read += follow(cache, store).changes
        assert read == business.execute("select count(*) from public.campaigns").fetchone()[0] == 1000
        assert business.execute("select count(distinct updated_at) from public.campaigns").fetchone()[0] < 100
        assert cache.get_many(keys) == {}


def commit_late(url, rows, seed):
    """Insert rows of the second at hand, in transactions that stay open for a while."""
    chance = random.Random(seed)
    rows = deque(rows)
    with psycopg.connect(url) as connection:
        while rows:
            for _ in range(min(len(rows), chance.randint(1, 20))):
                connection.execute(
                    "insert into public.campaigns (id, name, updated_at) "
                    "values (%s, 'x', date_trunc('second', now()))",
                    (rows.popleft(),),
                )
            time.sleep(chance.random() * 0.03)
            connection.commit()


def write(url, number, stop, committed):
    """Insert rows in transactions that stay open for a while; some are rolled back."""
    chance = random.Random(number)
    row = number * 1_000_000
    with psycopg.connect(url) as connection:
        while not stop.is_set():
            rows = range(row, row + chance.randint(1, 3))
            row = rows.stop
            for each in rows:
                connection.execute("insert into public.campaigns (id, name) values (%s, 'x')", (each,))
                time.sleep(chance.random() * 0.015)
            if chance.random() < 0.1:
                connection.rollback()
            else:
                connection.commit()
                committed.extend(rows)


def count(db):
    return db.execute("select count(*) from public.callcache_changes").fetchone()[0]


class TestTriggers:
    def test_attach__no_column(self, business):
        """A column that is not there is refused before any trigger is made."""
        with pytest.raises(psycopg.errors.UndefinedColumn, match="campaigns has no column nothing"):
            attach(business, "nothing")
        assert business.execute("select public.callcache_attached()").fetchone() == ([],)

    def test_track__column_gone(self, business):
        """A column that is dropped later, or null, makes no write fail."""
        business.execute("create table public.passing (id int, code text)")
        try:
            business.execute("select public.callcache_attach('public.passing', 'id', 'code')")
            business.execute("alter table public.passing drop column code")
            business.execute("insert into public.passing values (1), (null)")
            found = business.execute("select key, pk from public.callcache_changes")
            assert found.fetchall() == [("id", "1")]
            assert business.execute("select public.callcache_attached()").fetchone()[0] == [
                ["public.passing", "id"]
            ]
        finally:
            business.execute("drop table public.passing")


class TestPoll:
    def test_follow__begins(self, cache_of, business, store):
        """The first look deletes what came from the table before, and tells of no change."""
        cache = cache_of(**POLLED)
        add_campaigns(business, 1)
        cache.load("campaign:1")
        followed = follow(cache, store)
        assert (followed.resets, followed.changes) == (1, 0)
        assert not cache.has_key("campaign:1")

    def test_follow(self, cache_of, business, store):
        """Rows that changed are seen once each, and their entries go."""
        cache = cache_of(**POLLED)
        follow(cache, store)
        add_campaigns(business, 1, 2)
        assert follow(cache, store).changes == 2
        cache.load_many(["campaign:1", "campaign:2"])
        rename(business, 2, "June")
        followed = follow(cache, store)
        assert (followed.changes, followed.deleted) == (1, 1)
        assert cache.has_key("campaign:1")
        assert cache.load("campaign:2")["name"] == "June"
        assert follow(cache, store).changes == 0

    def test_follow__late_commit(self, cache_of, business, business_url, store):
        """A transaction that began before the latest change seen, and ends after it, is seen."""
        cache = cache_of(**POLLED)
        follow(cache, store)
        with psycopg.connect(business_url) as late:
            late.execute("insert into public.campaigns (id, name) values (1, 'late')")
            add_campaigns(business, 2)
            assert follow(cache, store).changes == 1
            cache.load("campaign:1")
            late.commit()
        assert follow(cache, store).changes == 1
        assert cache.load("campaign:1")["name"] == "late"

    def test_follow__from_the_future(self, cache_of, business, store):
        """A row with a moment in the future hides no other."""
        cache = cache_of(**POLLED)
        follow(cache, store)
        business.execute(
            "insert into public.campaigns (id, name, updated_at) values (1, 'x', now() + interval '9 years')"
        )
        assert follow(cache, store).changes == 1
        add_campaigns(business, 2)
        assert follow(cache, store).changes == 1
        assert follow(cache, store).changes == 0

    def test_follow__beyond_the_overlap(self, cache_of, business, store, redis_client):
        """What is remembered of rows is bounded by the overlap."""
        cache = cache_of(**POLLED)
        follow(cache, store)
        business.execute(
            "insert into public.campaigns (id, name, updated_at) "
            "select n, 'x', now() - interval '2 hours' from generate_series(1, 1500) n"
        )
        add_campaigns(business, 2000)
        assert follow(cache, store).changes == 1501
        (rows,) = redis_client.keys("callcache@t:sync:polled:*")
        assert redis_client.hkeys(rows) == [b"2000"]

    def test_follow__without_schema(self, cache_of, business, store):
        """Where tables are polled only, nothing of ours need be in the database."""
        cache = cache_of(**POLLED)
        assert not needs_schema(cache)
        assert needs_schema(cache_of(**FED))
        assert needs_schema(cache_of(call={"sync": "lww"}, **POLLED))
        assert needs_schema(cache_of())

    def test_follow__column_missing(self, cache_of, business, store):
        """A table that cannot be polled keeps no other from being followed, and is an error of the look."""
        cache = cache_of(
            campaign={"source": {"table": "campaigns", "changed_at": "nothing"}},
            contact={"source": {"table": "contacts", "changed_at": "updated_at"}},
        )
        followed = follow(cache, store)
        assert followed.resets == 1
        (error,) = followed.errors
        assert isinstance(error, RemoteRefused)
        assert "nothing" in str(error)


class TestFollow:
    def test_follow__no_tables(self, cache_of, business):
        """Without rules that name tables nothing is asked; a store without tables is refused."""
        assert follow(cache_of(call={"sync": "lww"}), MemoryStore()).changes == 0
        with pytest.raises(ImproperlyConfigured, match="reads no tables"):
            follow(cache_of(**FED), MemoryStore())

    def test_follow__other_environment(self, cache_of, business, store, settings):
        """Entries of another environment are left alone."""
        cache = cache_of(**FED)
        follow(cache, store)
        settings.CALLCACHE = {"SYNC": {**settings.CALLCACHE["SYNC"], "NAMESPACE": "staging"}}
        with pytest.raises(WrongEnvironment):
            follow(cache, store)

    def test_follow_once__busy(self, cache_of, business, store, redis_client):
        """While another loop is at work nothing is done."""
        cache = cache_of(**FED)
        redis_client.set(cache.redis_keys.loop_lease(), "another", px=60_000)
        assert follow_once("default", store) is None
        redis_client.delete(cache.redis_keys.loop_lease())
        assert follow_once("default", store).resets == 1
        assert not redis_client.exists(cache.redis_keys.loop_lease())

    def test_follow_once__down(self, cache_of, business, store, monkeypatch):
        """What the remote store does not do is raised."""

        def down(self, cursor):
            raise RemoteUnavailable("down")

        cache_of(**FED)
        monkeypatch.setattr(PostgresStore, "feed", down)
        with pytest.raises(RemoteUnavailable):
            follow_once("default", store)

    def test_renew__refetch_fails(self, cache_of, business, store, monkeypatch, caplog):
        """Entries that cannot be read anew are gone all the same."""
        cache = cache_of(campaign={"source": {"table": "campaigns", "on_change": "refetch"}})
        attach(business)
        follow(cache, store)
        cache.set("campaign:1", "old")
        add_campaigns(business, 1)

        def down(self, source, names):
            raise RemoteUnavailable("down")

        monkeypatch.setattr(PostgresStore, "read_rows", down)
        followed = follow(cache, store)
        assert (followed.deleted, followed.refetched, followed.errors) == (1, 0, [])
        assert not cache.has_key("campaign:1")
        assert f"{following.__name__}" in {record.name for record in caplog.records}
