from __future__ import annotations

import secrets
from pathlib import Path

import environ
import psycopg
import pytest
from django.db import connections
from psycopg import sql

import django_callcache.sync
from django_callcache.codec import Codec, Encoding, KeyRing
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.outbox.replica import Replica
from django_callcache.redis_keys import RedisKeys
from django_callcache.sync.memory import MemoryStore
from django_callcache.sync.postgres import PostgresStore
from django_callcache.sync.push import Bounds
from django_callcache.sync.rows import PlaceOf
from django_callcache.sync.supabase import SupabaseStore
from django_callcache.sync.sync_pass import SyncPass
from testproject.parts.missing import PartMissing
from tests.conftest import require
from tests.outbox.recording import KEYS, record
from tests.supalite.supalite import SupaLite

SCHEMA = Path(django_callcache.sync.__file__).parent / "sql/001_callcache.sql"
ALIAS = "remote"
NAMESPACE = "crm"


BUSINESS = """
create table public.campaigns (
  id bigint primary key, code text unique, name text not null, is_open boolean default true, starts_on date,
  notes jsonb, updated_at timestamptz not null default now());
create table public.contacts (id uuid primary key, name text, updated_at timestamptz);
grant select on public.campaigns, public.contacts to service_role;
"""
"""Tables of the business that is served, as a project has them."""


def new_database(server_url):
    """Make a database with the remote schema; return its address."""
    name = f"remote_{secrets.token_hex(4)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    url = server_url.rpartition("/")[0] + "/" + name
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA.read_bytes())
    return url


@pytest.fixture(scope="session")
def remote_url(postgres_url):
    """Address of a database with the remote schema, and tables of a business."""
    url = new_database(postgres_url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(BUSINESS)
    return url


@pytest.fixture(scope="session")
def supalite(remote_url):
    """A Supabase server over the same database."""
    try:
        server = SupaLite(remote_url).__enter__()
    except PartMissing as missing:
        require(str(missing))
    yield server
    server.close()


@pytest.fixture
def remote_sql(remote_url):
    """The remote database itself; emptied after the test."""
    with psycopg.connect(remote_url, autocommit=True) as connection:
        yield connection
        connection.execute("truncate public.callcache_entries, public.callcache_environments")
        connection.execute("truncate public.campaigns, public.contacts, public.callcache_changes")


@pytest.fixture
def remote_alias(remote_url, django_db_blocker):
    """A Django database alias that points at the remote database."""
    connections.databases[ALIAS] = connections.configure_settings(
        {**connections.databases, ALIAS: environ.Env.db_url_config(remote_url)}
    )[ALIAS]
    with django_db_blocker.unblock():
        yield ALIAS
        connections[ALIAS].close()
    del connections[ALIAS], connections.databases[ALIAS]


@pytest.fixture
def alias_of(django_db_blocker):
    """Makes database aliases for addresses."""
    made = []

    def make(url, alias=""):
        alias = alias or f"made_{len(made)}"
        configured = connections.configure_settings(
            {**connections.databases, alias: environ.Env.db_url_config(url)}
        )
        connections.databases[alias] = configured[alias]
        made.append(alias)
        return alias

    with django_db_blocker.unblock():
        yield make
        for alias in made:
            connections[alias].close()
            del connections[alias], connections.databases[alias]


@pytest.fixture
def postgres_store(remote_sql, remote_alias):
    """The remote store through Django's database alias."""
    return PostgresStore(remote_alias)


@pytest.fixture
def supabase_store(remote_sql, supalite):
    """The remote store through the supabase client."""
    store = SupabaseStore(supalite.url, supalite.secret_key)
    yield store
    store.close()


@pytest.fixture(params=["memory", "postgres", "supabase"])
def remote(request):
    """Every remote store there is, one after the other."""
    return MemoryStore() if request.param == "memory" else request.getfixturevalue(f"{request.param}_store")


@pytest.fixture(params=["postgres", "supabase"])
def tables(request):
    """Every remote store that has business tables."""
    return request.getfixturevalue(f"{request.param}_store")


class Site:
    """A cache's synced writes and what reads them back: one Redis, one set of keys, one codec.

    It is also what a pass asks for values and gives to a person.
    """

    def __init__(self, client, keys=KEYS):
        self.client = client
        self.keys = keys
        self.outbox = DirtyEntries(client, keys)
        self.replica = Replica(client, keys)
        self.rule = "lww"
        self.announced = []
        self.rejections = {}
        self.parked = {}
        self.reasons = {}
        self.codec = Codec("default", KeyRing(["a secret"]), Encoding())

    def redis_key(self, key):
        prefix = self.keys.root.removeprefix(b"callcache@").removesuffix(b":")
        return prefix + b":1:" + key.encode()

    def set(self, key, value, *, px=""):
        redis_key = self.redis_key(key)
        blob = self.codec.encode(value, redis_key)
        record(
            self.client, "set", redis_key, px=px, blob=blob, keys=self.keys, max_keys=10**6, max_bytes=10**9
        )

    def delete(self, key):
        record(self.client, "delete", self.redis_key(key), keys=self.keys)

    def get(self, key):
        blob = self.client.get(self.redis_key(key))
        return None if blob is None else self.codec.decode(blob, self.redis_key(key))

    def decode(self, place, blob):
        return self.codec.decode(blob, place.redis_key)

    def encode(self, place, value):
        return self.codec.encode(value, place.redis_key)

    def is_sensitive(self, place):
        return False

    def independent(self, place, blob):
        return self.codec.independent(blob, place.redis_key)

    def place_of(self, remote_key):
        version, _, key = remote_key.partition(":")
        is_ours = version == "1" and not key.startswith("session:")
        return PlaceOf(self.redis_key(key), remote_key) if is_ours else None

    def place_at(self, redis_key):
        return PlaceOf(redis_key, redis_key.partition(b":")[2].decode())

    def strategy(self, place):
        return self.rule

    def announce(self, redis_keys):
        self.announced += redis_keys

    def keep_rejection(self, entry, reason):
        self.rejections[entry.remote_key] = (entry, reason)

    def keep_conflict(self, place, entry, row, *, reason=""):
        if entry is not None:
            self.reasons[place.remote_key] = reason
        before = self.parked.get(place.remote_key, (None, None))
        self.parked[place.remote_key] = (entry or before[0], row)

    def sync(
        self, remote, namespace=NAMESPACE, *, prefix=None, verify=False, may_go_on=lambda: True, **bounds
    ):
        """Run one pass."""
        one = SyncPass(
            self.outbox,
            self.replica,
            remote,
            self,
            self,
            namespace,
            bounds=Bounds(**bounds),
            may_go_on=may_go_on,
        )
        return one.run(prefix=prefix, verify=verify)

    def everything(self):
        """Every value, by key."""
        keys = self.client.scan_iter(self.redis_key("*"), count=1000)
        start = len(self.redis_key(""))
        return {key[start:].decode(): self.get(key[start:].decode()) for key in keys}


@pytest.fixture
def site(redis_client):
    """The writes to one cache."""
    return Site(redis_client)


@pytest.fixture
def other_site(redis_client):
    """Another cache of the same project, as another machine has it."""
    return Site(redis_client, RedisKeys("other"))
