from __future__ import annotations

import environ
import psycopg
import pytest
from django.db import connections

from django_callcache.tables.loader import readers
from tests.cache.conftest import make_cache, make_caches
from tests.sync.conftest import BUSINESS, new_database

__all__ = ["make_cache", "make_caches"]

ALIAS = "business"
SYNC = {"REMOTE": "postgres", "DATABASE": ALIAS, "NAMESPACE": "tests", "READ_TIMEOUT": 20}


@pytest.fixture(scope="session")
def business_url(postgres_url):
    """Address of a database with the remote schema and tables of a business."""
    url = new_database(postgres_url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(BUSINESS)
    return url


@pytest.fixture
def business(business_url):
    """The tables of the business; emptied and let go of after the test."""
    with psycopg.connect(business_url, autocommit=True) as connection:
        yield connection
        for table in ("campaigns", "contacts"):
            connection.execute(f"select public.callcache_detach('public.{table}')")
        connection.execute("truncate public.campaigns, public.contacts, public.callcache_changes")
        connection.execute(
            "update public.callcache_meta set gc_txid = -1, epoch = gen_random_uuid() where id"
        )


@pytest.fixture
def business_alias(business_url, django_db_blocker):
    """A Django database alias that points there."""
    connections.databases[ALIAS] = connections.configure_settings(
        {**connections.databases, ALIAS: environ.Env.db_url_config(business_url)}
    )[ALIAS]
    with django_db_blocker.unblock():
        yield ALIAS
        readers.close()
        connections[ALIAS].close()
    del connections[ALIAS], connections.databases[ALIAS]


@pytest.fixture
def cache_of(make_cache, business_alias, business):
    """Make the default cache, with a remote store that has the tables."""

    def make(**rules):
        stated = {f"{prefix}:": rule for prefix, rule in rules.items()}
        return make_cache(RULES=stated, app={"SYNC": SYNC, "STATS": {"FLUSH_INTERVAL": 3600}})

    return make


def add_campaigns(db, *numbers):
    """Insert rows."""
    for number in numbers:
        db.execute(
            "insert into public.campaigns (id, code, name) values (%s, %s, %s)",
            (number, f"c{number}", f"May {number}"),
        )
