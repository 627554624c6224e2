"""Rows that somebody wrote into the remote store who should not have, or cannot know what is kept here."""

from __future__ import annotations

import base64
import time
from types import SimpleNamespace
from typing import TypedDict

import pytest

from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.outbox.replica import Replica
from django_callcache.replication.values import CacheValues
from django_callcache.sync.remote import RemoteRow
from django_callcache.sync.rows import SEALED, PlaceOf
from django_callcache.sync.sync_pass import SyncPass
from tests.cache.conftest import make_cache, make_caches

__all__ = ["make_cache", "make_caches"]

NAMESPACE = "foreign"
MOST = 10_000
"""Bytes that a value may have where the rows arrive."""


class Contact(TypedDict):
    name: str


RULES = {
    "call:": {"sync": "lww", "ttl": 600},
    "contact:": {"sync": "lww", "ttl": 600, "validate": Contact},
    "session:": {"ttl": 600},
}


@pytest.fixture
def sealed(make_cache):
    """Makes the payload of a row whose value a cache with wider bounds has sealed."""
    roomy = CacheValues(make_cache(RULES=RULES))

    def seal(key, value):
        place = PlaceOf(f"t:1:{key}".encode(), f"1:{key}")
        return {"codec": SEALED, "payload": base64.b64encode(roomy.encode(place, value)).decode()}

    return seal


@pytest.fixture
def cache(make_cache, sealed):
    """A cache with what the rows are after."""
    cache = make_cache(RULES=RULES, MAX_VALUE_BYTES=MOST, MAX_RAW_BYTES=MOST)
    client = cache.redis_client()
    for key in ("session:stolen", "elsewhere:1", "plain"):
        cache.set(key, "ours")
    assert not DirtyEntries(client, cache.redis_keys).depth()
    return cache


class TestForeignRows:
    def test_none_is_applied(self, cache, sealed, remote):
        """None of them is applied and each is counted, by every way to the remote store; good ones arrive."""
        refused = {
            "1:session:stolen": {"value": {"admin": True}},
            "1:session:new": {"value": {"admin": True}},
            "1:elsewhere:1": {"value": "theirs"},
            "1:plain": {"value": "theirs"},
            "call:1": {"value": "no version"},
            "callcache@t:outbox": {"value": "an internal key"},
            f"{'1' * 40}:call:1": {"value": "an endless version"},
        }
        unreadable = {
            "1:call:large": {"value": "x" * (MOST + 1)},
            "1:call:long": {"value": [f"{number:09}" for number in range(MOST)]},
            "1:call:sealed": sealed("call:sealed", bytes(range(256)) * 99),
            "1:call:bomb": sealed("call:bomb", b"\0" * 5_000_000),
            "1:call:moved": sealed("call:another", "moved"),
            "1:call:codec": {"codec": "newer", "payload": "AAEC"},
            "1:call:base64": {"codec": SEALED, "payload": "not sealed!"},
            "1:contact:type": {"value": ["no contact"]},
            "1:contact:field": {"value": {"name": 7}},
        }
        good = {"1:call:good": {"value": "x" * 1000}, "1:contact:good": {"value": {"name": "Ana"}}}
        held = {key[2:]: cache.get(key[2:]) for key in refused}
        push(remote, {**refused, **unreadable, **good})

        report = pull(cache, remote)

        assert report.outcome == "ok"
        assert (report.refused, report.unreadable) == (len(refused), len(unreadable))
        assert {key[2:]: cache.get(key[2:]) for key in refused} == held
        assert cache.get_many([key[2:] for key in unreadable]) == {}
        assert cache.get_many([key[2:] for key in good]) == {
            key[2:]: row["value"] for key, row in good.items()
        }
        ours = {"session:stolen", "elsewhere:1", "plain", *(key[2:] for key in good)}
        assert set(cache.redis_client().scan_iter("t:*")) == {f"t:1:{key}".encode() for key in ours}
        assert report.backlog == 0

    def test_in_place_of_ours(self, cache, remote):
        """A later row that cannot be read here makes its key a miss: what it replaced is old."""
        cache.set("call:7", "ours")
        pull(cache, remote)
        push(remote, {"1:call:7": {"value": "x" * (MOST + 1), "base": 1}})
        report = pull(cache, remote)
        assert (report.unreadable, report.backlog) == (1, 0)
        assert cache.get("call:7") is None


def push(remote, rows):
    """Write rows as another writer does."""
    moment = int(time.time() * 1e6)
    written = [RemoteRow(key=key, version=moment, **fields) for key, fields in rows.items()]
    assert len(remote.push(NAMESPACE, "sql", written).applied) == len(rows)


def pull(cache, remote):
    """Run a pass of a cache; nobody need decide anything in it."""
    client = cache.redis_client()
    nobody = SimpleNamespace()
    one = SyncPass(
        DirtyEntries(client, cache.redis_keys),
        Replica(client, cache.redis_keys),
        remote,
        CacheValues(cache),
        nobody,
        NAMESPACE,
    )
    return one.run()
