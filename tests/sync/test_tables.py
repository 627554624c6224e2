"""Business tables as the remote stores read them."""

from __future__ import annotations

import pytest

from django_callcache.conf import TableSource
from django_callcache.exceptions import RemoteRefused, RemoteRejected, RemoteUnavailable
from django_callcache.sync.supabase import MOST_NAMES
from django_callcache.sync.tables import (
    Change,
    Stamp,
    name_of,
    read_attached,
    read_feed,
    read_rows,
    read_stamps,
)

CAMPAIGNS = TableSource(table="campaigns", fields=("name",))
BY_CODE = TableSource(table="public.campaigns", by="code", fields=("id",))
DATED = TableSource(table="campaigns", changed_at="updated_at")

ODD_NAMES = [
    'a"b',
    "a\\b",
    "a,b",
    "(a)",
    "{a}",
    "null",
    "",
    " a ",
    "a:b",
    "ñ☎\U0001f600",
    "%20",
    "a&b=c",
    "*",
    "'",
]


def campaigns(db, *numbers):
    for number in numbers:
        db.execute(
            "insert into public.campaigns (id, code, name) values (%s, %s, %s)",
            (number, f"c{number}", f"May {number}"),
        )


class TestReadRows:
    def test_read_rows(self, tables, remote_sql):
        """The rows of all names come with the columns of a record and the one that names them."""
        campaigns(remote_sql, 1, 2, 3)
        rows = tables.read_rows(CAMPAIGNS, ["1", "3", "9"])
        assert sorted(rows, key=lambda row: row["id"]) == [
            {"id": 1, "name": "May 1"},
            {"id": 3, "name": "May 3"},
        ]

    def test_read_rows__every_column(self, tables, remote_sql):
        """Without columns all of them come, as the database's JSON writes them."""
        remote_sql.execute(
            "insert into public.campaigns values "
            "(1, null, 'May', false, '2008-05-01', '{\"a\": [1]}', '2026-01-02T03:04:05.678901Z')"
        )
        (row,) = tables.read_rows(TableSource(table="campaigns"), ["1"])
        moment = row.pop("updated_at")
        assert moment.startswith("2026-01-02")
        assert row == {
            "id": 1, "code": None, "name": "May", "is_open": False,
            "starts_on": "2008-05-01", "notes": {"a": [1]},
        }  # fmt: skip

    def test_read_rows__odd_names(self, tables, remote_sql):
        """What keys hold is data, whatever it looks like."""
        for number, code in enumerate(ODD_NAMES):
            remote_sql.execute(
                "insert into public.campaigns (id, code, name) values (%s, %s, 'x')", (number, code)
            )
        found = tables.read_rows(BY_CODE, ODD_NAMES)
        assert {row["code"]: row["id"] for row in found} == {code: at for at, code in enumerate(ODD_NAMES)}

    def test_read_rows__many(self, tables, remote_sql):
        """More names than fit into one request are read in portions."""
        remote_sql.execute(
            "insert into public.campaigns (id, name) select n, 'x' from generate_series(1, 700) n"
        )
        assert 2 * MOST_NAMES < 700
        rows = tables.read_rows(CAMPAIGNS, [str(number) for number in range(1, 701)])
        assert {row["id"] for row in rows} == set(range(1, 701))

    @pytest.mark.parametrize("name", ["x", "9" * 30, "1.5", ""])
    def test_read_rows__no_value_of_the_column(self, tables, name):
        """A name that the column cannot hold is an error of the data, not an outage."""
        with pytest.raises(RemoteRejected):
            tables.read_rows(CAMPAIGNS, ["1", name])

    @pytest.mark.parametrize(
        "source",
        [
            TableSource(table="nowhere"),
            TableSource(table="campaigns", fields=("nothing",)),
            TableSource(table="campaigns", by="nothing"),
        ],
    )
    def test_read_rows__not_there(self, tables, source):
        """A table or column that is not there is refused by its name."""
        with pytest.raises(RemoteRefused, match=f"to read the table public.{source.name} .*right to SELECT"):
            tables.read_rows(source, ["1"])


class TestFeed:
    def test_feed(self, tables, remote_sql):
        """Changes of an attached table come after a cursor, each once."""
        remote_sql.execute("select public.callcache_attach('public.campaigns', 'id', 'code')")
        try:
            beginning = tables.feed(None)
            assert (beginning.reset, beginning.changes) == (True, ())
            campaigns(remote_sql, 1)
            remote_sql.execute("insert into public.campaigns (id, name) values (2, 'no code')")

            feed = tables.feed(beginning.cursor)

            assert not feed.reset
            assert set(feed.changes) == {
                Change("public.campaigns", "id", "1", "I"),
                Change("public.campaigns", "code", "c1", "I"),
                Change("public.campaigns", "id", "2", "I"),
            }
            assert tables.feed(feed.cursor).changes == ()
            assert tables.attached() == {("public.campaigns", "id"), ("public.campaigns", "code")}
            remote_sql.execute(
                "update public.callcache_changes set at = now() - interval '2 days' where true"
            )
            assert tables.collect_changes() == 3
            assert tables.feed(beginning.cursor).reset
        finally:
            remote_sql.execute("select public.callcache_detach('public.campaigns')")
        assert tables.attached() == frozenset()

    def test_feed__another_store(self, tables, remote_sql):
        """A cursor of a store that was restored since is good for nothing."""
        cursor = tables.feed(None).cursor
        assert not tables.feed(cursor).reset
        remote_sql.execute("update public.callcache_meta set epoch = gen_random_uuid() where id")
        assert tables.feed(cursor).reset


class TestChangedSince:
    def test_changed_since(self, tables, remote_sql, monkeypatch):
        """Rows come in the order of their changes, a page at a time, rows of one moment by their names."""
        monkeypatch.setattr(f"{type(tables).__module__}.CHANGES_AT_ONCE", 2)
        for number, second in ((10, 1), (2, 2), (3, 2), (11, 2), (5, 3)):
            remote_sql.execute(
                "insert into public.campaigns (id, name, updated_at) values (%s, 'x', %s)",
                (number, f"2026-01-01T00:00:0{second}.123456Z"),
            )
        assert tables.latest_change(DATED).name == "5"
        found, after = [], None
        while page := tables.changed_since(DATED, "2026-01-01T00:00:02+00:00", after):
            assert len(page) <= 2
            found += [stamp.name for stamp in page]
            after = page[-1]
        assert found == ["2", "3", "11", "5"]

    def test_latest_change__none(self, tables):
        """A table without rows, or without a moment, has no latest change."""
        assert tables.latest_change(DATED) is None
        assert tables.latest_change(TableSource(table="contacts", changed_at="updated_at")) is None

    def test_changed_since__no_moments(self, tables, remote_sql):
        """A column that holds no timestamps is refused."""
        campaigns(remote_sql, 1)
        with pytest.raises(RemoteRefused, match=r"public.campaigns.is_open holds no timestamps"):
            tables.latest_change(TableSource(table="campaigns", changed_at="is_open"))


class TestReplies:
    @pytest.mark.parametrize("data", [None, "", "<html></html>", {}, [1], [{"name": "x"}], {"rows": []}])
    @pytest.mark.parametrize(
        "read",
        [
            lambda data: read_rows(data, CAMPAIGNS),
            lambda data: read_stamps(data, DATED),
            read_feed,
            read_attached,
        ],
    )
    def test_other_replies(self, read, data):
        """What is not the answer to the question is somebody else's."""
        with pytest.raises(RemoteUnavailable):
            read(data)

    @pytest.mark.parametrize(
        ("value", "name"), [(7, "7"), ("a", "a"), ("", ""), (True, "true"), (1.5, "1.5"), (None, None)]
    )
    def test_name_of(self, value, name):
        """A value has the name that the feed gives it."""
        assert name_of(value) == name

    def test_read_stamps(self):
        """A stamp is when, and which row."""
        assert read_stamps([{"id": 7, "updated_at": "2026"}], DATED) == [Stamp("2026", "7")]
