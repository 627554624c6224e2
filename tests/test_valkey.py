"""The essential paths on a real Valkey: the same protocol, other words about itself.

With ``CALLCACHE_REDIS_SERVER=valkey-server`` every test that starts servers runs on it.
"""

from __future__ import annotations

import io
import json

import pytest
import redis
from django.core.management import call_command

from django_callcache.admin.server import server_of
from django_callcache.doctor.examination import examine
from django_callcache.live import look
from django_callcache.maintenance import run_once
from django_callcache.sync.memory import MemoryStore
from testproject.parts.missing import PartMissing
from testproject.parts.redis_server import RedisServer, find_redis_server
from tests.cache.conftest import face_of, make_cache, make_caches, make_pair
from tests.cache.linked import is_near, keep, until
from tests.conftest import require
from tests.minimal_user import PASSWORD, define, refusals
from tests.sync.test_remote import refetch

__all__ = ["face_of", "make_cache", "make_caches", "make_pair"]

SYNC = {"SYNC": {"NAMESPACE": "tests"}, "STATS": {"FLUSH_INTERVAL": 3600}}
SYNCED = {"RULES": {"call:": {"sync": "lww"}}, "DEADLINE": 10}


@pytest.fixture(scope="module")
def valkey():
    """A Valkey in the place of the Redis that tests elsewhere use."""
    try:
        with RedisServer(program=find_redis_server("valkey-server"), append_only=True) as server:
            yield server
    except PartMissing as missing:
        require(str(missing))


@pytest.fixture(scope="module")
def redis_url(valkey):
    return valkey.url


@pytest.fixture(scope="module")
def admin(valkey):
    with redis.Redis.from_url(valkey.url) as client:
        yield client


@pytest.fixture(autouse=True)
def _empty_valkey(admin):
    yield
    admin.flushall()


class TestOperations:
    async def test_entries(self, face_of, make_cache, redis_url):
        """Single entries, counters and times to live."""
        face = face_of(make_cache(redis_url.replace("redis://", "valkey://"), DEADLINE=10))
        assert await face.set("a", {"x": (1, None)}, 60)
        assert await face.get("a") == {"x": (1, None)}
        assert 0 < await face.ttl("a") <= 60
        assert not await face.add("a", 1)
        assert await face.add("n", 5)
        assert await face.incr("n", 2) == 7
        assert await face.touch("a", 600)
        assert await face.ttl("a") > 60
        assert await face.delete("a")
        assert await face.get("a", "gone") == "gone"

    async def test_batches(self, face_of, make_cache):
        """Many keys at a time, by name and by pattern."""
        face = face_of(make_cache(DEADLINE=10))
        entries = {f"page:{number}": number for number in range(300)}
        assert await face.set_many({**entries, "other": 1}) == []
        assert await face.get_many([*entries, "absent"]) == entries
        assert await face.delete_many(["page:0", "page:1"]) == 2
        assert sorted(await face.keys("page:29*")) == sorted(key for key in entries if key[:7] == "page:29")
        assert await face.delete_pattern("page:*") == 298
        assert await face.get("other") == 1

    async def test_fills(self, face_of, make_cache):
        """A computed value is stored under its lease, and served from then on."""
        face = face_of(make_cache(DEADLINE=10))
        assert [await face.get_or_set("a", lambda: ["made"]) for _ in range(3)] == [["made"]] * 3

    async def test_tags(self, face_of, make_cache):
        """An entry ends with one of its tags."""
        face = face_of(make_cache(DEADLINE=10))
        for key, tags in (("a", ["red"]), ("b", ["red", "blue"]), ("c", ["blue"])):
            await face.set(key, key, tags=tags)
        await face.delete_tags("red")
        assert await face.get_many(["a", "b", "c"]) == {"c": "c"}

    def test_lock(self, make_cache):
        """A lock has one holder at a time."""
        cache = make_cache(DEADLINE=10)
        with cache.lock("job", timeout=10) as held:
            assert not cache.lock("job", timeout=10, blocking_timeout=0.01).acquire()
            held.extend(5)
        assert cache.lock("job", timeout=10).acquire()


@pytest.mark.parametrize("link_mode", ["broadcast", "per-key"])
class TestNear:
    def test_copy__ends_with_a_write_elsewhere(self, make_pair):
        """The server tells of a write, and the copy of another process is gone."""
        here, elsewhere = make_pair()
        keep(here, "k:a", [1])
        elsewhere.set("k:a", [2])
        until(lambda: not is_near(here, "k:a"))
        assert here.get("k:a") == [2]


@pytest.mark.django_db
class TestSync:
    def test_push_and_pull(self, make_cache, admin):
        """A synced write arrives in the remote store, and comes back to a Valkey that has lost it."""
        cache, remote = make_cache(app=SYNC, **SYNCED), MemoryStore()
        cache.set_many({"call:7": {"agent": "Ana"}, "call:8": 5})
        report = run_once("default", remote=remote)
        assert (report.errors, report.sync.pushed, report.sync.backlog) == ([], 2, 0)
        assert refetch(remote, "1:call:7", "tests").value == {"agent": "Ana"}
        admin.flushall()
        for _ in range(2):  # the first finds that it was emptied
            run_once("default", remote=remote)
        assert cache.get("call:7") == {"agent": "Ana"}
        assert cache.get("call:8") == 5


class TestUser:
    async def test_minimal_user__suffices(self, face_of, make_caches, valkey, admin):
        """The user of ``callcache_acl`` does all that there is above, and is refused other people's keys."""
        define(admin, "app", ["t"])
        location = valkey.url.replace("//", f"//app:{PASSWORD}@")
        stated = {"LOCATION": location, "KEY_PREFIX": "t", "OPTIONS": {"CALLCACHE": {**SYNCED, "NEAR": True}}}
        (cache,) = make_caches({"default": stated}, SYNC)
        face = face_of(cache)
        await face.set("a", 1, tags=["red"])
        await face.delete_tags("red")
        assert await face.get_or_set("a", lambda: 2) == 2
        await face.set("call:7", "x")
        assert await face.delete_pattern("*") == 2
        await face.clear()
        assert look(cache).is_reachable
        cache.flush_stats()
        assert refusals(admin, "app") == []
        with redis.Redis.from_url(location) as client, pytest.raises(redis.exceptions.NoPermissionError):
            client.get("other:1:a")


class TestInfo:
    """What is told of the server."""

    def test_look(self, make_cache, admin):
        """It is called what it is, not the Redis that it passes for; limits and log are read."""
        admin.config_set("maxmemory", 50_000_000)
        admin.config_set("maxmemory-policy", "allkeys-lru")
        try:
            cache = make_cache(EXPECT_MAXMEMORY=60_000_000, EXPECT_EVICTION_POLICY="allkeys-lru", DEADLINE=10)
            facts = look(cache)
        finally:
            admin.config_set("maxmemory", 0)
            admin.config_set("maxmemory-policy", "noeviction")
        own = admin.info("server")
        assert own["server_name"] == "valkey"
        assert (facts.product, facts.version) == ("Valkey", own["valkey_version"])
        assert facts.version != own["redis_version"]
        assert (facts.eviction_policy, facts.is_append_only) == ("allkeys-lru", True)
        assert facts.surprises(cache.options) == {"maxmemory": (60_000_000, 50_000_000)}

    @pytest.mark.django_db
    def test_told(self, make_cache):
        """So say the command, the doctor and the page."""
        cache = make_cache(DEADLINE=10)
        told = io.StringIO()
        call_command("callcache_info", "--json", stdout=told)
        assert json.loads(told.getvalue())["default"]["server"].startswith("Valkey ")
        facts = examine(cache, remote=False)
        assert facts.live.product == "Valkey"
        assert facts.round_trips
        server = server_of(cache, synced=True)
        assert server.product == "Valkey"
        assert dict(server.groups[0].fields)["version"] == facts.live.version
        assert "no_log" not in server.advice
