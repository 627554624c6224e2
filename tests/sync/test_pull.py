from __future__ import annotations

import datetime
import json
import random
import threading
import time
from collections import deque
from types import SimpleNamespace

import psycopg
import pytest

from django_callcache.exceptions import RemoteUnavailable
from django_callcache.outbox.replica import Cursor
from django_callcache.sync.memory import MemoryStore
from django_callcache.sync.remote import Page, RemoteRow, order_text
from tests.sync.conftest import NAMESPACE
from tests.sync.test_remote import refetch

HOUR = 3_600_000


def state(site):
    """What a site holds, by key."""
    return site.everything()


class TestEveryStore:
    def test_changes_come(self, site, other_site, remote):
        """What one site writes and deletes the other has after a pass of each, and is not dirty there."""
        moment = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
        values = {"json": {"a": [1, None]}, "pickle": moment, "large": "x" * 50_000, "short": 1}
        for key, value in values.items():
            site.set(key, value, px=HOUR)
        site.set("for ever", 2)
        site.sync(remote)

        report = other_site.sync(remote)

        assert (report.outcome, report.pulled, report.pushed, report.backlog) == ("ok", 5, 0, 0)
        # Sealed bytes name the key that they belong to, which is another in another Redis prefix.
        assert {**state(site), "pickle": None} == {**state(other_site), "pickle": None}
        assert 0 < other_site.client.pttl(other_site.redis_key("json")) <= HOUR
        assert other_site.client.pttl(other_site.redis_key("for ever")) == -1
        assert set(other_site.announced) == {other_site.redis_key(key) for key in [*values, "for ever"]}

        site.delete("json")
        site.set("short", 3)
        site.sync(remote)
        assert other_site.sync(remote).pulled == 2
        assert (other_site.get("json"), other_site.get("short")) == (None, 3)
        assert other_site.outbox.depth() == 0

    def test_nothing_new(self, site, other_site, remote):
        """Own writes come back unnoticed, and a pass without changes takes nothing."""
        site.set("call:7", 1)
        assert site.sync(remote).pulled == 0
        assert other_site.sync(remote).pulled == 1
        assert other_site.sync(remote).pulled == 0

    def test_own_writes(self, site, other_site, remote):
        """What was just pushed is not pulled again, but for what somebody else wrote before or between."""
        pulled = []

        def pull(*arguments):
            page = remote.pull(*arguments)
            pulled.extend(row.key for row in page.rows)
            return page

        watched = SimpleNamespace(push=remote.push, pull=pull)
        site.set("first", 1)
        site.sync(watched)
        pulled.clear()
        for key in ("a", "b", "c"):
            site.set(key, 1)
        assert (site.sync(watched, batch=2).pushed, pulled) == (3, [])

        other_site.set("theirs", 1)
        other_site.sync(remote)
        site.set("a", 2)
        report = site.sync(watched)
        assert (report.pushed, report.pulled, sorted(pulled)) == (1, 1, ["1:a", "1:theirs"])
        assert site.sync(watched).pulled == 0
        assert state(site) == {"first": 1, "a": 2, "b": 1, "c": 1, "theirs": 1}

    def test_pages(self, site, other_site, remote):
        """Many changes come in pages; each is taken once."""
        for number in range(25):
            site.set(f"call:{number}", number)
        site.sync(remote)
        assert other_site.sync(remote, batch=4).pulled == 25
        assert state(other_site) == {f"call:{number}": number for number in range(25)}

    def test_stopped(self, site, other_site, remote):
        """Told to stop, a pull keeps its place and goes on there the next time."""
        for number in range(10):
            site.set(f"call:{number}", number)
        site.sync(remote)
        turns = iter([True, True, False])
        report = other_site.sync(remote, batch=4, may_go_on=lambda: next(turns))
        assert report.pulled == 4
        assert other_site.sync(remote, batch=4).pulled == 6

    def test_ttl(self, site, other_site, remote):
        """The time that is left travels, by the clock of the store; what ends here is deleted nowhere."""
        site.set("call:7", 1, px=300)
        site.set("call:8", 1, px=HOUR)
        site.sync(remote)
        other_site.sync(remote)
        assert 0 < other_site.client.pttl(other_site.redis_key("call:8")) <= HOUR
        time.sleep(0.4)
        assert other_site.get("call:7") is None
        for each in (site, other_site):
            assert each.sync(remote).pushed == 0
        found = refetch(remote, "1:call:7")
        assert not found.deleted
        assert found.ttl_ms <= 0

    def test_ttl__over_when_it_comes(self, site, other_site, remote):
        """A value that has ended on its way is a miss, and replaces what was there."""
        other_site.set("call:7", "old")
        other_site.sync(remote)
        site.sync(remote)
        site.set("call:7", "new", px=1)
        time.sleep(0.01)
        site.sync(remote)
        other_site.sync(remote)
        assert other_site.get("call:7") is None
        assert other_site.outbox.depth() == 0

    def test_foreign_rows(self, site, remote):
        """Rows of keys that are not synced here, and values that cannot be read, change nothing and count."""
        now = int(time.time() * 1e6)
        rows = [
            RemoteRow(key="1:session:stolen", version=now, value={"admin": True}),
            RemoteRow(key="no version", version=now, value=1),
            RemoteRow(key="1:call:1", version=now, codec="newer", payload="AAEC"),
            RemoteRow(key="1:call:2", version=now, codec="callcache1", payload="not sealed!"),
            RemoteRow(key="1:call:3", version=now, value=3),
        ]
        assert len(remote.push(NAMESPACE, "sql", rows).applied) == 5
        report = site.sync(remote)
        assert (report.outcome, report.refused, report.unreadable) == ("ok", 2, 2)
        assert state(site) == {"call:3": 3}

    def test_namespaces(self, site, other_site, remote):
        """What is in another namespace is not seen."""
        site.set("call:7", 1)
        site.sync(remote, "crm/other")
        assert other_site.sync(remote).pulled == 0

    def test_cursor_lost(self, site, other_site, remote):
        """Without a cursor everything is compared; nothing is pushed again that the store has."""
        site.set("call:7", 1)
        site.sync(remote)
        other_site.set("call:8", 2)
        other_site.sync(remote)
        site.client.delete(site.keys.cursor(NAMESPACE))
        report = site.sync(remote)
        assert (report.resets, report.pulled, report.remarked, report.forgotten) == (1, 1, 0, 0)
        assert state(site) == {"call:7": 1, "call:8": 2}

    def test_verify(self, site, remote):
        """Nothing is wrong with sites that agree."""
        for number in range(5):
            site.set(f"call:{number}", number)
        site.sync(remote)
        report = site.sync(remote, verify=True)
        assert (report.resets, report.pulled, report.remarked, report.forgotten) == (1, 0, 0, 0)
        assert not site.replica.cursor(NAMESPACE).reset_at


class TestLosses:
    """The remote store is not what it was."""

    @pytest.fixture
    def store(self):
        return MemoryStore()

    def test_commit_lost(self, site, store):
        """A store that lost its last commits gets them again when both sides are compared."""
        for number in range(4):
            site.set(f"call:{number}", "old")
        site.delete("call:3")
        site.sync(store)
        before = {key: store.stored(NAMESPACE, key) for key in ("1:call:1",)}
        site.set("call:1", "new")
        site.sync(store)
        store.restore(NAMESPACE, before)
        store.remove(NAMESPACE, "1:call:2")
        store.remove(NAMESPACE, "1:call:3")

        report = site.sync(store, verify=True)

        assert (report.remarked, report.forgotten, report.backlog) == (3, 0, 0)
        assert refetch(store, "1:call:1").value == "new"
        assert refetch(store, "1:call:2").value == "old"
        assert refetch(store, "1:call:3").deleted
        assert site.sync(store, verify=True).remarked == 0

    def test_value_gone_on_both_sides(self, site, store):
        """A key without a value here and without a row there is forgotten."""
        site.set("call:7", 1, px=1)
        site.sync(store)
        store.remove(NAMESPACE, "1:call:7")
        time.sleep(0.01)
        report = site.sync(store, verify=True)
        assert (report.remarked, report.forgotten) == (0, 1)
        assert not site.client.exists(site.keys.side(site.redis_key("call:7")))

    def test_made_anew(self, site, other_site, store):
        """A store made anew is right about everything but what is dirty here."""
        site.set("call:1", "stays")
        site.set("call:2", "goes")
        site.sync(store)
        fresh = MemoryStore()
        row = RemoteRow(key="1:call:1", version=5, value="restored")
        fresh.push(NAMESPACE, "restore", [row])
        site.set("call:3", "dirty")

        report = site.sync(fresh)

        assert (report.resets, report.pulled, report.forgotten, report.backlog) == (1, 1, 1, 0)
        assert state(site) == {"call:1": "restored", "call:3": "dirty"}
        assert refetch(fresh, "1:call:3").value == "dirty"

    def test_tombstones_gone(self, site, remote_sql, postgres_store):
        """Who comes after tombstones were removed drops what was deleted long ago, and repeats the rest."""
        for key in ("deleted", "lost", "there"):
            site.set(key, 1)
        site.sync(postgres_store)
        cursor = site.replica.cursor(NAMESPACE)
        remote_sql.execute("delete from public.callcache_entries where key in ('1:deleted', '1:lost')")
        remote_sql.execute("update public.callcache_meta set gc_seq = %s where id", (cursor.seq + 1,))
        old = int((time.time() - 8 * 86_400) * 1e6)
        site.client.hset(site.keys.side(site.redis_key("deleted")), "v", old)
        site.client.hset(site.keys.cursor(NAMESPACE), "seq", 1)
        try:
            report = site.sync(postgres_store)
            assert (report.resets, report.forgotten, report.remarked) == (1, 1, 1)
            assert state(site) == {"lost": 1, "there": 1}
            assert refetch(postgres_store, "1:lost").value == 1
            assert site.sync(postgres_store).resets == 0
        finally:
            remote_sql.execute("update public.callcache_meta set gc_seq = 0 where id")

    def test_asks_for_ever(self, site):
        """A store that says again and again to begin anew is out of order."""
        page = Page(epoch="e", reset=True, next=0, more=False, rows=())
        report = site.sync(SimpleNamespace(pull=lambda *arguments: page))
        assert isinstance(report.error, RemoteUnavailable)

    def test_sweep_is_resumed(self, site, store):
        """A pass that stopped before it had compared everything is gone on with by the next."""
        site.set("call:1", 1)
        site.sync(store)
        store.remove(NAMESPACE, "1:call:1")
        began = Cursor(epoch=store.epoch, reset_at=site.replica.now() + 1, cause="anew")
        site.replica.save(NAMESPACE, began)
        assert site.sync(store).forgotten == 1


class TestCommitOrder:
    def test_open_transactions(self, site, remote_sql, remote_url, postgres_store):
        """Of six writers that keep their transactions open for a while no row is missed."""
        stop = threading.Event()
        threads = [threading.Thread(target=write_slowly, args=(remote_url, name, stop)) for name in "abcdef"]
        for thread in threads:
            thread.start()
        try:
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                assert site.sync(postgres_store).error is None
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        site.sync(postgres_store)
        query = "select key, value from public.callcache_entries where namespace = %s"
        expected = {key[2:]: value for key, value in remote_sql.execute(query, (NAMESPACE,))}
        assert len(expected) > 20
        assert state(site) == expected
        assert site.replica.cursor(NAMESPACE).reset_at == 0

    def test_a_thousand_rows(self, site, remote_sql, remote_url, postgres_store):
        """Of 1,000 rows that five writers commit late, all with one moment, pages of four miss none."""
        moment = order_text(int(time.time() * 1e6))
        threads = [threading.Thread(target=commit_late, args=(remote_url, name, moment)) for name in "abcde"]
        for thread in threads:
            thread.start()
        pulled = 0
        while any(thread.is_alive() for thread in threads):
            pulled += site.sync(postgres_store, batch=4).pulled
        report = site.sync(postgres_store, batch=4)
        assert (pulled + report.pulled, report.error) == (1000, None)
        assert state(site) == {f"call:{name}{at}": at for name in "abcde" for at in range(200)}
        query = "select count(distinct hlc) from public.callcache_entries"
        assert remote_sql.execute(query).fetchone() == (1,)


def commit_late(url, name, moment):
    """Push 200 rows of one moment, in transactions that stay open for a while."""
    chance = random.Random(name)
    rows = deque(range(200))
    with psycopg.connect(url) as connection:
        while rows:
            some = [rows.popleft() for _ in range(min(len(rows), chance.randint(1, 20)))]
            pushed = json.dumps([{"k": f"1:call:{name}{at}", "v": at, "h": moment} for at in some])
            push = "select public.callcache_push(%s, %s, %s::jsonb)"
            connection.execute(push, (NAMESPACE, name, pushed))
            time.sleep(chance.random() * 0.03)
            connection.commit()


def write_slowly(url, name, stop):
    """Push rows in transactions that stay open for some milliseconds before they end."""
    number = 0
    with psycopg.connect(url) as connection:
        while not stop.is_set():
            number += 1
            order = order_text(int(time.time() * 1e6))
            rows = [{"k": f"1:call:{name}{number}", "v": number, "h": order}]
            push = "select public.callcache_push(%s, %s, %s::jsonb)"
            connection.execute(push, (NAMESPACE, name, json.dumps(rows)))
            time.sleep(0.001 * (number % 8))
            if number % 10:
                connection.commit()
            else:
                connection.rollback()


class TestPage:
    def test_bytes(self, site, other_site, remote_sql, postgres_store):
        """A page ends before it becomes huge, and one large row comes alone."""
        for number in range(6):
            site.set(f"call:{number}", f"{number}" * 3_000_000)
        site.sync(postgres_store)
        query = "select public.callcache_pull(%s, 0, 100, null, 100000)"
        page = remote_sql.execute(query, (NAMESPACE,)).fetchone()[0]
        assert len(page["rows"]) < 6
        assert page["more"]
        assert other_site.sync(postgres_store).pulled == 6
