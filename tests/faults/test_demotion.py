"""A primary that becomes a replica while caches are connected to it, and a way that leads to the new one."""

from __future__ import annotations

import pytest
import redis

from django_callcache.exceptions import RedisUnavailable, SyncNotRecorded
from testproject.parts.child import LOOPBACK
from tests.cache.linked import OPTIONS, connect_link, is_near, keep, until
from tests.cache.proxy import Proxy
from tests.cache.waiting import wait_until

CONNECTIONS = 10


class Pair:
    """A primary, its replica, and the way to whichever is the primary."""

    def __init__(self, first, second):
        self._servers = first, second
        self.first, self.second = (redis.Redis.from_url(server.url) for server in self._servers)
        self.way = Proxy(first.port)
        self.second.replicaof(LOOPBACK, first.port)
        wait_until(lambda: self.second.info("replication")["master_link_status"] == "up")

    def __enter__(self):
        self.way.__enter__()
        return self

    def __exit__(self, *_):
        self.way.__exit__()
        self.first.close()
        self.second.close()

    def replicated(self):
        """Wait until the replica has all that the primary has."""
        assert self.first.wait(1, 30_000) == 1

    def change_places(self):
        """Make the one the other, without ending a connection."""
        self.second.replicaof("no", "one")
        self.first.replicaof(LOOPBACK, self._servers[1].port)
        wait_until(lambda: self.first.info("replication")["master_link_status"] == "up")
        self.way.server_port = self._servers[1].port


@pytest.fixture
def pair(start_redis):
    at_once = {"repl-diskless-sync-delay": "0"}
    with Pair(start_redis(config=at_once), start_redis(config=at_once)) as both:
        yield both


class TestDemoted:
    async def test_set__old_value_is_gone(self, face_of, make_cache, pair, undisturbed):
        """The write that learns of it fails; the next calls reach the new primary, and no old value."""
        face = face_of(make_cache(pair.way.url, DEADLINE=10))
        await face.set_many({"a": "old", "b": "old", "c": "kept"})
        pair.replicated()
        pair.change_places()
        assert await face.set("a", "new") is False
        assert await face.get_many(["a", "b", "c"]) == {"b": "old", "c": "kept"}
        assert await face.set("b", "new") is True
        assert (pair.second.exists("t:1:a"), pair.second.exists("t:1:b")) == (0, 1)
        assert await face.set("a", "newest") is True
        assert await face.get_many(["a", "b"]) == {"a": "newest", "b": "new"}
        assert face.cache.counted()["other"]["errors"] == 1

    async def test_delete__still_refused(self, face_of, make_cache, pair, undisturbed):
        """As long as the way leads to the old primary, what could not be dropped there is not read."""
        face = face_of(make_cache(pair.way.url, DEADLINE=10))
        await face.set_many({"a": "old", "b": "kept"})
        pair.replicated()
        pair.change_places()
        new = pair.way.server_port
        pair.way.server_port = pair.first.connection_pool.connection_kwargs["port"]
        assert await face.delete("a") is False
        for _ in range(3):
            assert await face.get("a") is None
            assert await face.get("b") == "kept"
        pair.way.server_port = new
        pair.way.drop_connections()
        assert await face.get("a") is None
        wait_until(lambda: not face.cache._runtime.recovery.is_pending)
        assert pair.second.exists("t:1:a") == 0

    async def test_synced__not_recorded(self, face_of, make_cache, pair, undisturbed):
        """A synced write that a replica refused was not recorded, and says so; the next one is."""
        face = face_of(make_cache(pair.way.url, DEADLINE=10, RULES={"s:": {"sync": "lww"}}))
        await face.set("s:1", 1)
        pair.replicated()
        pair.change_places()
        with pytest.raises(SyncNotRecorded):
            await face.set("s:1", 2)
        assert await face.set("s:1", 3) is True
        assert await face.get("s:1") == 3

    def test_connections__all_anew(self, make_cache, pair, undisturbed):
        """One refusal is enough for all connections that wait for their next use."""
        cache = make_cache(pair.way.url, DEADLINE=10, MAX_CONNECTIONS=CONNECTIONS, ON_ERROR="raise")
        connections = cache._runtime.connections
        far = 10**19
        held = [connections.take(far) for _ in range(CONNECTIONS)]
        for connection in held:
            connections.give(connection)
            cache.set("a", 1)
        for connection in [connections.take(far) for _ in range(CONNECTIONS)]:
            connection.connect()
            connections.give(connection)
        pair.change_places()
        with pytest.raises(RedisUnavailable, match="failing over"):
            cache.set("a", 2)
        for connection in [connections.take(far) for _ in range(CONNECTIONS)]:
            assert connection.used_at == 0
            connections.give(connection)
        assert cache.set("a", 3) is True

    def test_near__hears_the_new_primary(self, make_cache, pair):
        """Copies read before the change are gone, and those read after it are kept coherent."""
        cache = connect_link(make_cache(pair.way.url, **OPTIONS))
        keep(cache, "k:a", "old")
        pair.replicated()
        pair.change_places()
        cache.set("k:b", 1)
        until(lambda: cache.get("k:a") == "old" and is_near(cache, "k:a"))
        pair.second.set("t:1:k:a", 5)
        until(lambda: cache.get("k:a") == 5)
