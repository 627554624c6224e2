"""PostgreSQL behind a line that is silent, slow, thin, or breaks: calls end in time, and nothing is lost."""

from __future__ import annotations

import time

import pytest
from django.db import connections

from django_callcache.exceptions import RemoteUnavailable
from django_callcache.sync import postgres
from django_callcache.sync.postgres import PostgresStore
from tests.cache.proxy import Proxy
from tests.sync.conftest import NAMESPACE
from tests.sync.test_remote import row

TIMEOUT = 0.3
"""Seconds that the database may take for a call."""
ENTRIES = 20


@pytest.fixture
def remote_port(remote_sql):
    return remote_sql.info.port


@pytest.fixture
def through(alias_of, remote_url, remote_port):
    """Makes an alias of the remote database that goes through a proxy."""

    def through(proxy):
        return alias_of(remote_url.replace(f":{remote_port}/", f":{proxy.port}/"))

    return through


@pytest.fixture
def hurried(monkeypatch):
    """Let the client cut off soon after the database's own time limit."""
    monkeypatch.setattr(postgres, "GRACE_SECONDS", 0.1)


def arrived(remote_sql):
    """Every row of the remote store, with how often it was written."""
    query = "select key, value->>'n', version from public.callcache_entries where namespace = %s"
    return {
        key.removeprefix("1:"): (int(n), version)
        for key, n, version in remote_sql.execute(query, (NAMESPACE,))
    }


@pytest.mark.usefixtures("hurried")
class TestTime:
    def test_silent(self, remote_port, through):
        """Where no answer comes the call is given up, beyond the database's own time limit; then it works."""
        with Proxy(remote_port) as proxy:
            store = PostgresStore(through(proxy), timeout_seconds=TIMEOUT)
            store.push(NAMESPACE, "a", [row("1:a")])
            proxy.is_silent = True
            with pytest.raises(RemoteUnavailable):
                store.push(NAMESPACE, "a", [row("1:b")])
            proxy.is_silent = False
            assert store.push(NAMESPACE, "a", [row("1:b")]).applied == {"1:b": 1}

    def test_silent__connecting(self, remote_port, through):
        """Where not even a connection comes about that is given up too, for callers who wait as well."""
        with Proxy(remote_port) as proxy:
            proxy.is_silent = True
            store = PostgresStore(through(proxy), timeout_seconds=TIMEOUT, apart=True)
            with pytest.raises(RemoteUnavailable):
                store.check_schema()
            assert proxy.connections == 1
            proxy.is_silent = False
            proxy.drop_connections()
            store.check_schema()
            store.close()

    def test_slow(self, remote_port, through):
        """A line that takes its time takes nothing else."""
        with Proxy(remote_port) as proxy:
            proxy.delay_seconds = 0.02
            store = PostgresStore(through(proxy), timeout_seconds=10)
            assert store.push(NAMESPACE, "a", [row("1:a", value=1)]).applied == {"1:a": 1}
            assert [held.value for held in store.pull(NAMESPACE, 0, 10, None).rows] == [1]

    def test_thin(self, remote_port, through, remote_sql):
        """A batch that the line cannot carry in time is given up; a smaller one goes through."""
        with Proxy(remote_port) as proxy:
            store = PostgresStore(through(proxy), timeout_seconds=TIMEOUT)
            store.check_schema()
            proxy.bytes_per_second = 20_000
            with pytest.raises(RemoteUnavailable):
                store.push(NAMESPACE, "a", [row(f"1:{n}", value="x" * 100_000) for n in range(30)])
            proxy.bytes_per_second = 0
            assert store.push(NAMESPACE, "a", [row("1:a", value=1)]).applied == {"1:a": 1}

    @pytest.mark.long
    def test_silent__exact(self, remote_port, through, monkeypatch, capsys):
        """With the times as they are, a call ends a second after its own limit, connecting at that limit."""
        monkeypatch.setattr(postgres, "GRACE_SECONDS", 1.0)
        with Proxy(remote_port) as proxy:
            store = PostgresStore(through(proxy), timeout_seconds=2)
            store.check_schema()
            proxy.is_silent = True
            silent = seconds_of(store.check_schema)
            connecting = seconds_of(store.check_schema)
        with capsys.disabled():
            print(f"\nsilent: given up after {silent:.2f} s; connecting: after {connecting:.2f} s")  # noqa: T201
        assert 2.9 < silent < 3.2
        assert 1.9 < connecting < 2.2


def seconds_of(call):
    """How long a call takes that is given up."""
    began = time.monotonic()
    with pytest.raises(RemoteUnavailable):
        call()
    return time.monotonic() - began


class TestCut:
    @pytest.mark.parametrize("end", ["requests", "replies"])
    def test_push__at_some_points(self, site, through, remote_port, remote_sql, end):
        """Wherever the line breaks in a push, each entry arrives as it was last written, and once."""
        self.pushes(site, through, remote_port, remote_sql, end, lambda passed: passed // 10)

    @pytest.mark.long
    @pytest.mark.parametrize("end", ["requests", "replies"])
    def test_push__at_many_points(self, site, through, remote_port, remote_sql, end):
        """The same for every eleventh byte of what passes."""
        self.pushes(site, through, remote_port, remote_sql, end, lambda passed: 11)

    def pushes(self, site, through, remote_port, remote_sql, end, step_of):
        """Cut one pass after another a little later; between them everything is written anew."""
        with Proxy(remote_port) as whole:
            self.write(site, 0)
            assert site.sync(PostgresStore(through(whole))).error is None
            passed = whole.requested
        broken = 0
        for number, cut in enumerate(range(1, passed, step_of(passed)), 1):
            self.write(site, number)
            cuts = {"request_cuts" if end == "requests" else "cuts": iter([cut])}
            with Proxy(remote_port, **cuts) as proxy:
                store = PostgresStore(through(proxy), timeout_seconds=10)
                broken += self.passes(site, store)
                store.close()
            assert site.outbox.depth() == 0
            assert arrived(remote_sql) == {f"call:{at}": (number, number + 1) for at in range(ENTRIES)}
        assert broken > 3

    def passes(self, site, store):
        """Pass until nothing is in the way; tell how many passes ended before."""
        for broken in range(3):
            if site.sync(store).error is None:
                return broken
        raise AssertionError("the line is whole, and still nothing passes")

    def write(self, site, number):
        for at in range(ENTRIES):
            site.set(f"call:{at}", {"n": number})


def test_alias__options_stay(alias_of, remote_url):
    """The bound of connecting is the store's own: the alias and what it states stay as they are."""
    alias = alias_of(remote_url)
    connections.databases[alias]["OPTIONS"] = {"connect_timeout": 7}
    PostgresStore(alias, timeout_seconds=3).check_schema()
    assert connections.databases[alias]["OPTIONS"] == {"connect_timeout": 7}
    assert connections[alias].get_connection_params()["connect_timeout"] == 7
