"""Several sites write the same keys at random while passes break around the remote call; all end up equal."""

from __future__ import annotations

import random

import pytest
import redis

from django_callcache.exceptions import RemoteUnavailable
from django_callcache.redis_keys import RedisKeys
from testproject.parts.redis_server import RedisServer
from tests.sync.conftest import NAMESPACE, Site


class Broken(Exception):
    """The process ends here."""


class Breaking:
    """A remote store whose calls end before or after they reach it, in an outage or with the process."""

    def __init__(self, remote, chance, crashes):
        self._remote = remote
        self._chance = chance
        self.crashes = crashes

    def __getattr__(self, name):
        return getattr(self._remote, name)

    def _around(self, call):
        kind = self._chance.choice((RemoteUnavailable, Broken)) if self.crashes else None
        when = self._chance.random() if kind else 1.0
        if when < 0.15:
            self.crashes -= 1
            raise kind("before")
        found = call()
        if when < 0.3:
            self.crashes -= 1
            raise kind("after")
        return found

    def push(self, *arguments):
        return self._around(lambda: self._remote.push(*arguments))

    def pull(self, *arguments):
        return self._around(lambda: self._remote.pull(*arguments))


@pytest.fixture
def sites():
    """Three sites, each with a Redis of its own."""
    servers = [RedisServer().__enter__() for _ in range(3)]
    clients = [redis.Redis.from_url(server.url) for server in servers]
    yield [Site(client, RedisKeys("crm")) for client in clients]
    for client, server in zip(clients, servers, strict=True):
        client.close()
        server.close()


def converge(sites, remote, chance, *, writes, crashes, batch=40):
    """Write, delete and sync at random; return how many passes it took afterwards until all was quiet."""
    breaking = Breaking(remote, chance, crashes)
    for number in range(writes):
        site = chance.choice(sites)
        key = f"call:{chance.randrange(150)}"
        if chance.random() < 0.1:
            site.delete(key)
        else:
            site.set(key, {"number": number}, px=3_600_000)
        if chance.random() < 0.03:
            sync(chance.choice(sites), breaking, batch)
    breaking.crashes = 0
    for quiet in range(20):
        moved = sum(sync(site, breaking, batch) for site in sites)
        if not moved:
            return quiet
    return None


def sync(site, remote, batch):
    """Run a pass, perhaps to its end; tell whether anything moved."""
    try:
        report = site.sync(remote, batch=batch, lease_seconds=0.001)
    except Broken:
        return True
    return bool(report.pushed or report.pulled or report.conflicts or report.error)


def rows_of(remote_sql):
    query = "select key, value from public.callcache_entries where namespace = %s and deleted_at is null"
    return {key[2:]: value for key, value in remote_sql.execute(query, (NAMESPACE,))}


class TestThreeSites:
    @pytest.mark.parametrize("rule", ["lww", "remote"])
    def test_equal(self, sites, remote_sql, postgres_store, rule):
        """After many writes and broken passes all sites and the remote store are equal, and nothing waits."""
        for site in sites:
            site.rule = rule
        chance = random.Random(rule)
        passes = converge(sites, postgres_store, chance, writes=1500, crashes=12)
        assert passes is not None
        expected = rows_of(remote_sql)
        assert len(expected) > 50
        for site in sites:
            assert site.everything() == expected
            assert (site.outbox.depth(), site.outbox.payload_bytes()) == (0, 0)

    @pytest.mark.long
    @pytest.mark.parametrize("seed", range(3))
    def test_equal__ten_thousand(self, sites, remote_sql, postgres_store, seed):
        """The same with 10,000 writes and 30 crashes."""
        passes = converge(sites, postgres_store, random.Random(seed), writes=10_000, crashes=30)
        assert passes is not None
        expected = rows_of(remote_sql)
        for site in sites:
            assert site.everything() == expected
            assert site.outbox.depth() == 0


class TestPoison:
    @pytest.mark.parametrize("name", ["postgres_store", "supabase_store"])
    def test_ten_among_a_thousand(self, site, remote_sql, request, name):
        """Of 1,000 entries 990 arrive and ten are kept with their reasons, of five kinds."""
        self.poison(site, remote_sql, request.getfixturevalue(name))

    @pytest.mark.long
    @pytest.mark.parametrize("name", ["postgres_store", "supabase_store"])
    def test_ten_among_a_thousand__in_time(self, site, remote_sql, request, name):
        """That takes ten seconds at most."""
        report = self.poison(site, remote_sql, request.getfixturevalue(name))
        assert report.duration_seconds <= 10

    def poison(self, site, remote_sql, remote):
        """Push 1,000 entries, ten of which are bad; return the report."""
        constraint = "check (value is distinct from '\"poison\"' and key not like '%%refused%%')"
        remote_sql.execute(f"alter table public.callcache_entries add constraint picky {constraint}")
        try:
            for number in range(990):
                site.set(f"call:{number}", number)
            for number in range(2):
                site.set(f"poison:{number}", "poison")
                site.set(f"refused:{number}", b"sealed")
                site.set(f"nul:{number}\0", 1)
                site.set(f"long:{number}" + "x" * 600, 1)
                site.client.incrby(site.keys.outbox(b"").mark, 10**10 * (number == 0))
                site.set(f"ahead:{number}", 1)
            report = site.sync(remote)
        finally:
            remote_sql.execute("alter table public.callcache_entries drop constraint picky")
        assert (report.outcome, report.pushed, report.rejected, report.backlog) == ("partial", 990, 10, 0)
        kinds = {key.split(":")[1] for key in site.rejections}
        assert kinds == {"poison", "refused", "nul", "long", "ahead"}
        assert len(rows_of(remote_sql)) == 990
        return report
