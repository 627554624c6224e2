"""``SYNC["REQUIRE_DURABLE"]``: no write is taken that Redis might lose before it is synced."""

from __future__ import annotations

import pytest
import redis

from django_callcache.exceptions import SyncNotRecorded
from django_callcache.outbox import durability
from django_callcache.outbox.dirty import DirtyEntries
from tests.cache.conftest import APP
from tests.cache.waiting import wait_until

REQUIRED = {**APP, "SYNC": {**APP["SYNC"], "REQUIRE_DURABLE": True}}
RULES = {"call:": {"sync": "lww", "ttl": 60}}
WRITES = {
    "set": ("call:7", "new"),
    "add": ("call:8", "new"),
    "delete": ("call:7",),
    "touch": ("call:7", 5),
    "incr": ("call:number",),
    "set_many": ({"call:7": "new", "call:8": "new"},),
    "delete_many": (["call:7", "call:8"],),
    "get_or_set": ("call:8", lambda: "new"),
}


@pytest.fixture
def server(start_redis):
    return start_redis(append_only=True)


@pytest.fixture
def client(server):
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def cache(make_cache, server):
    """A cache with some entries, which demands that synced ones are kept."""
    cache = make_cache(server.url, app=REQUIRED, RULES=RULES, DEADLINE=10, NEAR=False)
    cache.set_many({"call:7": "old", "call:number": 1, "other:7": "old"})
    return cache


@pytest.fixture(autouse=True)
def _looked_at_each_time(monkeypatch):
    monkeypatch.setattr(durability, "TRUSTED_SECONDS", 0)


class TestRequired:
    @pytest.mark.parametrize(
        "risk", [{"appendonly": "no"}, {"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}]
    )
    async def test_refused(self, face_of, cache, client, risk):
        """Where Redis might lose a synced write it is refused, and nothing has changed."""
        for setting, value in risk.items():
            client.config_set(setting, value)
        outbox = DirtyEntries(client, cache.redis_keys)
        before = {entry.redis_key: entry.version for entry in outbox.entries()}
        face = face_of(cache)
        for name, arguments in WRITES.items():
            with pytest.raises(SyncNotRecorded, match="REQUIRE_DURABLE"):
                await getattr(face, name)(*arguments)

        assert {entry.redis_key: entry.version for entry in outbox.entries()} == before
        assert await face.get_many(["call:7", "call:8", "call:number"]) == {"call:7": "old", "call:number": 1}
        assert 5 < await face.ttl("call:7") <= 60

    async def test_others(self, face_of, cache, client):
        """Prefixes that are not synced are written as ever, and all may be read."""
        client.config_set("appendonly", "no")
        face = face_of(cache)
        assert await face.set("other:7", "new")
        assert await face.get_many(["other:7", "call:7"]) == {"other:7": "new", "call:7": "old"}

    async def test_again_durable(self, face_of, cache, client):
        """As soon as Redis keeps what it is given, it is given."""
        client.config_set("appendonly", "no")
        face = face_of(cache)
        with pytest.raises(SyncNotRecorded):
            await face.set("call:7", "new")
        client.config_set("appendonly", "yes")
        # It writes what it has into the file, and is slow to stop until it has done so.
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        assert await face.set("call:7", "new")
        assert await face.get("call:7") == "new"

    async def test_not_told(self, face_of, cache, client):
        """A user who may not ask has no proof, and synced writes are refused."""
        client.acl_setuser("default", commands=["-info"])
        with pytest.raises(SyncNotRecorded, match="does not say"):
            await face_of(cache).set("call:7", "new")


class TestNothingIsLost:
    @pytest.mark.parametrize(
        "risk", [{"appendonly": "no"}, {"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}]
    )
    def test_silently(self, cache, server, client, risk):
        """Of 1,000 writes each either raises or survives a killed Redis with its value: no third."""
        taken, refused = {}, []
        for number in range(1000):
            if number == 400:
                for setting, value in risk.items():
                    client.config_set(setting, value)
            if number == 600:
                client.config_set("appendonly", "yes")
                client.config_set("maxmemory", "0")
                wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
            try:
                cache.set(f"call:late:{number}", number, timeout=None)
            except SyncNotRecorded:
                refused.append(number)
            else:
                taken[f"1:call:late:{number}"] = number
        assert refused == list(range(400, 600))
        assert cache.get_many([f"call:late:{number}" for number in refused]) == {}

        server.kill()
        server.start()

        entries = {entry.remote_key: entry for entry in DirtyEntries(client, cache.redis_keys).entries()}
        late = {key: entry for key, entry in entries.items() if ":late:" in key}
        codec = cache.codec_for("call:late:0")
        assert {key: codec.decode(entry.blob, entry.redis_key) for key, entry in late.items()} == taken


class TestNotRequired:
    async def test_default(self, face_of, make_cache, start_redis):
        """Left out, writes depend on nothing of the kind."""
        server = start_redis()
        cache = make_cache(server.url, RULES=RULES, DEADLINE=10, NEAR=False)
        assert await face_of(cache).set("call:7", "new")
