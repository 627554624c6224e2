"""One search for what a sensitive prefix was given, in everything that keeps or shows anything (F-S7)."""

from __future__ import annotations

import base64
import logging
import secrets
import time
from pathlib import Path

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection

from django_callcache.maintenance import run_once
from django_callcache.models import SyncConflict, SyncRejection
from django_callcache.sync.postgres import PostgresStore
from django_callcache.sync.remote import RemoteRow
from tests.admin.test_pages import OPENED_BY
from tests.cache.waiting import wait_until
from tests.sync.conftest import new_database

pytestmark = pytest.mark.django_db(databases="__all__")

NAMESPACE = "secrecy"
KEY = "/admin/django_callcache/dashboard/key/"
REFUSED = "1:contact:refused"
PARKED = "contact:parked"


class Secret:
    """Something to be searched for: a name and a number that are nowhere else."""

    def __init__(self):
        token = secrets.token_hex(6)
        self.name = f"Alicia-{token}"
        self.number = 10**14 + secrets.randbelow(10**13)
        self._signs = (
            self.name.encode(),
            base64.b64encode(self.name.encode())[:-4],
            self.name.encode().hex().encode(),
            str(self.number).encode(),
            self.number.to_bytes(8, "little")[:6],
        )

    @property
    def values(self):
        """By key, what an application would store."""
        model = {"name": self.name, "number": self.number}
        return {"1": self.name, "model": model, "number": self.number, "many": [model] * 200}

    def is_in(self, content):
        """Tell whether anybody could read it here."""
        return any(sign in content for sign in self._signs)


class Site:
    """A cache, its Redis and the PostgreSQL that it syncs with, and what all of them keep.

    Args:
        cache: The cache.
        server: Its Redis.
        database: Address of the remote store.
        client: Of the admin.
    """

    def __init__(self, cache, server, database, client):
        self.cache = cache
        self._server = server
        self._database = database
        self._client = client

    def write(self, prefix, secret):
        """Write by every kind of call."""
        cache = self.cache
        for name, value in secret.values.items():
            assert cache.set(f"{prefix}{name}", value) is True
        assert cache.set_many({f"{prefix}batch": secret.name}) == []
        assert cache.get_or_set(f"{prefix}computed", lambda: secret.name) == secret.name
        assert cache.incr(f"{prefix}number") == secret.number + 1
        assert cache.decr(f"{prefix}number") == secret.number

    def written_elsewhere(self, key, value):
        """Let the remote store have a row of another writer's."""
        redis_key = self.cache.redis_key(key)
        sealed = base64.b64encode(self.cache.codec_for(key).encode(value, redis_key)).decode()
        row = RemoteRow(key=f"1:{key}", version=int(time.time() * 1e6), codec="callcache1", payload=sealed)
        assert PostgresStore("secrecy").push(NAMESPACE, "elsewhere", [row]).applied

    def sync(self):
        """Make one pass."""
        report = run_once("default")
        assert report.errors == []
        return report.sync

    def files(self):
        """What lies on disk: RDB, AOF and log of Redis; tables, log of changes and log of PostgreSQL."""
        admin = self.cache.redis_client()
        admin.bgrewriteaof()
        wait_until(lambda: not admin.info("persistence")["aof_rewrite_in_progress"])
        admin.save()
        with psycopg.connect(self._database, autocommit=True) as remote:
            remote.execute("checkpoint")
            data = Path(remote.execute("show data_directory").fetchone()[0])
            query = "select oid from pg_database where datname = current_database()"
            oid = remote.execute(query).fetchone()[0]
        folders = [self._server.directory, data / f"base/{oid}", data / "pg_wal"]
        logs = [*data.parent.glob("*.log"), *data.parent.parent.glob("*.log")]
        return [file for folder in folders for file in folder.rglob("*") if file.is_file()] + logs

    def pages(self):
        """What the admin shows, the page of each key and its value included, to who may see all."""
        for url, _ in OPENED_BY:
            response = self._client.get(url.replace("call:", "contact:"), follow=True)
            assert response.status_code == 200, url
            yield url, response.content
        for key in ["contact:model", "contact:number", PARKED]:
            asked = {"alias": "default", "key": key}
            yield key, self._client.get(KEY, asked).content
            shown = self._client.post(KEY, {**asked, "act": "show"})
            assert shown.status_code == 200
            yield f"value of {key}", shown.content

    def rows(self):
        """Every row of every table of ours in Django's database."""
        tables = [name for name in connection.introspection.table_names() if "callcache" in name]
        with connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"select * from {connection.ops.quote_name(table)}")  # noqa: S608
                for row in cursor.fetchall():
                    yield (
                        table,
                        b"|".join(
                            bytes(field) if isinstance(field, bytes | memoryview) else str(field).encode()
                            for field in row
                        ),
                    )


@pytest.fixture
def site(make_caches, start_redis, postgres_url, alias_of, client, db):
    server, database = start_redis(append_only=True), new_database(postgres_url)
    with psycopg.connect(database, autocommit=True) as remote:
        check = f"check (key <> '{REFUSED}')"
        remote.execute(f"alter table public.callcache_entries add constraint picky {check}")
    rules = {"contact:": {"sensitive": True, "sync": "manual"}, "plain:": {"sync": "manual"}}
    options = {"CALLCACHE": {"RULES": rules, "DEADLINE": 10, "COMPRESS": False}}
    (cache,) = make_caches(
        {"default": {"LOCATION": server.url, "KEY_PREFIX": "t", "OPTIONS": options}},
        {"SYNC": {"NAMESPACE": NAMESPACE, "REMOTE": "postgres", "DATABASE": alias_of(database, "secrecy")}},
    )
    client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))
    return Site(cache, server, database, client)


class TestSearch:
    def test_search__nothing(self, site, caplog):
        """Neither files nor rows nor pages nor logs show it, wherever an entry has got to."""
        secret = Secret()
        with caplog.at_level(logging.DEBUG):
            site.write("contact:", secret)
            site.written_elsewhere(PARKED, {"name": secret.name})
            site.cache.set(PARKED, [secret.name])
            site.cache.set(REFUSED.removeprefix("1:"), secret.name)
            assert site.sync().parked == 1
            assert (SyncConflict.objects.count(), SyncRejection.objects.count()) == (1, 1)
            pages = list(site.pages())
        places = [*pages, *site.rows(), ("logs", caplog.text.encode())]
        places += [(file, file.read_bytes()) for file in site.files()]
        assert len(places) > 40
        assert [place for place, content in places if secret.is_in(content)] == []
        assert site.cache.get("contact:model") == secret.values["model"]

    def test_search__finds_what_is_plain(self, site):
        """The same search finds in the files of both servers what is not declared sensitive."""
        secret = Secret()
        site.write("plain:", secret)
        site.sync()
        found = [str(file) for file in site.files() if secret.is_in(file.read_bytes())]
        for sign in ("redis", "pg_wal", "base"):
            assert any(sign in name for name in found), sign
