from __future__ import annotations

import json
import threading
import time

import psycopg
import pytest
from psycopg import sql

from tests.sync.conftest import SCHEMA, new_database

FUNCTIONS = (
    "callcache_push('crm', 'o', '[]'::jsonb)",
    "callcache_pull('crm', 0)",
    "callcache_gc()",
    "callcache_claim('crm', 'a')",
    "callcache_exposed()",
    "callcache_feed()",
    "callcache_changes_gc()",
    "callcache_attached()",
)


@pytest.fixture
def db(remote_sql):
    return remote_sql


def one(db, query, *parameters):
    return db.execute(query, parameters).fetchone()[0]


def push(db, *rows, origin="a", mode="cas"):
    query = "select public.callcache_push('crm', %s, %s, %s)"
    return one(db, query, origin, json.dumps(rows), mode)


def hlc(offset=0):
    return f"{int(time.time() * 1e6) + offset:016x}"


def pull(db, after=0, **options):
    return one(
        db,
        "select public.callcache_pull('crm', %s, %s, %s, %s)",
        after,
        options.get("limit", 500),
        options.get("epoch"),
        options.get("bytes", 1 << 22),
    )


class TestInstallation:
    def test_again(self, db):
        """Running the migration again keeps rows and epoch."""
        push(db, {"k": "a", "v": 1, "h": hlc()})
        epoch = one(db, "select epoch from public.callcache_meta")
        db.execute(SCHEMA.read_bytes())
        assert one(db, "select count(*) from public.callcache_entries") == 1
        assert one(db, "select epoch from public.callcache_meta") == epoch

    def test_every_statement_has_a_where(self):
        """Hosted projects refuse an UPDATE or DELETE without WHERE, also inside functions."""
        words = SCHEMA.read_text().lower()
        for start in ("update public.", "delete from public."):
            for statement in words.split(start)[1:]:
                assert " where " in statement.partition(";")[0].replace("\n", " ")


class TestRights:
    @pytest.fixture
    def db(self, postgres_url):
        """A database that no Supabase server has worked on: one of those grants rights at its start."""
        with psycopg.connect(new_database(postgres_url), autocommit=True) as connection:
            yield connection

    @pytest.mark.parametrize("role", ["anon", "authenticated"])
    def test_browser_roles(self, db, role):
        """Roles of browsers may neither read a table nor call a function."""
        statements = [f"select public.{function}" for function in FUNCTIONS]
        statements += [
            f"table public.callcache_{name}" for name in ("entries", "meta", "changes", "environments")
        ]
        statements += ["select nextval('public.callcache_entries_seq')"]
        statements += ["select public.callcache_attach('public.callcache_meta')"]
        statements += ["select public.callcache_detach('public.callcache_meta')"]
        db.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        try:
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute(statement)
        finally:
            db.execute("reset role")

    def test_service_role(self, db):
        """The service role may do all that the sync does."""
        with db.transaction():
            db.execute("set local role service_role")
            assert push(db, {"k": "a", "v": 1, "h": hlc()})["applied"]
            for function in FUNCTIONS:
                db.execute(f"select public.{function}")
            assert one(db, "select schema_version from public.callcache_meta") == 1


class TestPush:
    def test_rejections(self, db):
        """Rows that cannot be are named with a reason, and the others are written."""
        reply = push(
            db,
            {"k": "good", "v": 1, "h": hlc()},
            {"k": "x" * 513, "v": 1, "h": hlc()},
            {"k": "no order", "v": 1},
            {"k": "no hex", "v": 1, "h": "g" * 16},
            {"k": "future", "v": 1, "h": hlc(10**9)},
            {"k": "no payload", "c": "callcache1", "h": hlc()},
        )
        assert [row[0] for row in reply["applied"]] == ["good"]
        assert {key: bool(reason) for key, reason in reply["rejected"]} == {
            "x" * 513: True, "no order": True, "no hex": True, "future": True, "no payload": True,
        }  # fmt: skip

    def test_same_key_twice(self, db):
        """Of two rows of a batch with one key the later is written."""
        push(db, {"k": "a", "v": "late", "h": hlc(10**7)}, {"k": "a", "v": "early", "h": hlc()})
        assert one(db, "select value from public.callcache_entries") == "late"

    @pytest.mark.parametrize(("mode", "stays"), [("lww", "newer"), ("force", "older")])
    def test_other_modes(self, db, mode, stays):
        """lww keeps the row of the larger order, force replaces whatever is there."""
        push(db, {"k": "a", "v": "newer", "h": hlc(10**7)})
        push(db, {"k": "a", "v": "older", "h": hlc()}, origin="b", mode=mode)
        assert one(db, "select value from public.callcache_entries") == stays

    def test_place_among_changes(self, db):
        """A transaction that sees what was there when it began cannot tell what came before its rows."""
        assert push(db, {"k": "1", "h": hlc(), "v": 1})["after"] is not None
        db.execute("begin isolation level repeatable read")
        reply = push(db, {"k": "2", "h": hlc(), "v": 1})
        db.execute("commit")
        assert (len(reply["applied"]), reply["after"]) == (1, None)

    @pytest.mark.parametrize(("rows", "mode"), [("{}", "cas"), ("[]", "best"), ("null", "cas")])
    def test_wrong_arguments(self, db, rows, mode):
        """Arguments that make no sense are an error."""
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            db.execute("select public.callcache_push('crm', 'a', %s, %s)", (rows, mode))

    def test_writers_at_once(self, db, remote_url):
        """Of concurrent writers over one version exactly one is applied, so no update is lost."""
        push(db, {"k": "n", "v": 0, "h": hlc()})
        threads = [threading.Thread(target=add_ten, args=(remote_url, name)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one(db, "select value from public.callcache_entries") == 40
        assert one(db, "select version from public.callcache_entries") == 41


def add_ten(url, origin):
    """Add one to a row ten times, by compare-and-set."""
    with psycopg.connect(url, autocommit=True) as connection:
        done = base = value = 0
        while done < 10:
            row = {"k": "n", "v": value + 1, "h": hlc(), "b": base}
            reply = push(connection, row, origin=origin)
            if reply["applied"]:
                done, base, value = done + 1, base + 1, value + 1
            else:
                base, value = reply["conflicts"][0]["ver"], reply["conflicts"][0]["v"]


class TestWrittenByHand:
    def test_update(self, db):
        """A row edited with SQL gets a version, an order and an origin of its own."""
        before = hlc()
        push(db, {"k": "a", "v": 1, "h": before, "s": "00"})
        db.execute("update public.callcache_entries set value = '2' where key = 'a'")
        found = db.execute(
            "select version, hlc > %s, origin, checksum from public.callcache_entries", (before,)
        )
        assert found.fetchone() == (2, True, "sql", None)

    def test_update__of_a_row_from_the_future(self, db):
        """The order of a row ascends also where the server's clock is behind it."""
        ahead = hlc(200_000_000)
        push(db, {"k": "a", "v": 1, "h": ahead})
        db.execute("update public.callcache_entries set value = '2' where key = 'a'")
        assert one(db, "select hlc from public.callcache_entries") == f"{int(ahead, 16) + 1:016x}"

    def test_insert(self, db):
        """A row inserted with SQL counts as written now, also if it claims to be of the far future."""
        db.execute("insert into public.callcache_entries (namespace, key, value) values ('crm', 'a', '1')")
        db.execute(
            "insert into public.callcache_entries (namespace, key, value, hlc) values ('crm', 'b', '1', %s)",
            ("f" * 16,),
        )
        for (order,) in db.execute("select hlc from public.callcache_entries"):
            assert abs(int(order, 16) / 1e6 - time.time()) < 60


class TestPull:
    def test_pages(self, db):
        """Rows come in the order of their commits, and the last page moves the cursor to the end."""
        push(db, *({"k": f"k{number}", "v": number, "h": hlc()} for number in range(5)))
        first = pull(db, limit=3)
        assert (len(first["rows"]), first["more"]) == (3, True)
        second = pull(db, first["next"], limit=3, epoch=first["epoch"])
        assert (len(second["rows"]), second["more"], second["reset"]) == (2, False, False)
        assert pull(db, second["next"])["rows"] == []

    def test_reset(self, db):
        """A reader begins again where the store is another one, or forgot what the reader has not seen."""
        push(db, {"k": "a", "v": 1, "h": hlc()}, {"k": "b", "v": 1, "h": hlc()})
        cursor = pull(db, limit=1)["next"]
        assert pull(db, cursor, epoch="00000000-0000-0000-0000-000000000000")["reset"]
        assert pull(db, cursor + 10**6)["reset"]
        db.execute(
            "update public.callcache_entries set expires_at = now() - interval '8 days' where key = 'b'"
        )
        assert one(db, "select public.callcache_gc()") == 1
        assert pull(db, cursor)["reset"]


class TestGc:
    def test_old_rows(self, db):
        """Tombstones and rows that expired leave after a week, a bounded number at a time."""
        push(db, *({"k": f"k{number}", "v": 1, "h": hlc(), "ttl": 1} for number in range(3)))
        push(db, {"k": "live", "v": 1, "h": hlc()}, {"k": "new", "d": True, "h": hlc()})
        assert one(db, "select public.callcache_gc()") == 0
        db.execute(
            "update public.callcache_entries set expires_at = now() - interval '8 days' where key like 'k%'"
        )
        assert one(db, "select public.callcache_gc(p_limit => 2)") == 2
        assert one(db, "select public.callcache_gc(p_limit => 2)") == 1
        assert one(db, "select count(*) from public.callcache_entries") == 2


class TestFeed:
    def test_changes_of_a_table(self, postgres_url):
        """An attached table reports the keys of inserted, changed and deleted rows, and being emptied."""
        with psycopg.connect(new_database(postgres_url), autocommit=True) as db:
            db.execute("create table public.campaigns (id int primary key, name text)")
            db.execute("select public.callcache_attach('public.campaigns')")
            cursor = one(db, "select public.callcache_feed()->>'cursor'")
            db.execute("insert into public.campaigns values (1, 'a'), (2, 'b')")
            db.execute("update public.campaigns set id = 3 where id = 2")
            db.execute("delete from public.campaigns where id = 1")
            db.execute("truncate public.campaigns")

            feed = one(db, "select public.callcache_feed(%s)", cursor)

            assert {tuple(row) for row in feed["rows"]} == {
                ("public.campaigns", "*" if op == "T" else "id", pk, op)
                for pk, op in [("1", "I"), ("2", "I"), ("2", "U"), ("3", "U"), ("1", "D"), ("*", "T")]
            }
            assert not feed["reset"]
            assert one(db, "select public.callcache_feed(%s)", feed["cursor"])["rows"] == []
            assert one(db, "select public.callcache_changes_gc('0 s')") == 6
            assert one(db, "select public.callcache_feed(%s)", cursor)["reset"]
