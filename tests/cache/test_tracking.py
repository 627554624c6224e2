from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest
import redis

from django_callcache.cache import invalidation
from django_callcache.cache.tracking import KeyTracking, redirections
from tests.cache import test_invalidation as in_general
from tests.cache.linked import (
    OPTIONS,
    confirm_anew,
    connect_link,
    is_confirmed,
    is_near,
    keep,
    link_of,
    near_of,
    until,
    watch_of,
)

pytestmark = pytest.mark.usefixtures("hurried_links")


@pytest.fixture
def link_mode():
    """All caches here let Redis remember what they read."""
    return "per-key"


class TestOwnWrites(in_general.TestOwnWrites):
    """What holds of own writes holds here too."""


class TestOthersWrites(in_general.TestOthersWrites):
    """What holds of others' writes holds here too."""

    test_listen__flood = None  # what was not read is not announced


class TestLink(in_general.TestLink):
    """What holds when the link or the server is lost holds here too."""

    test_listen__speaks_resp2 = None  # the listener itself tracks nothing here


class TestWithoutTracking:
    """Where tracking is refused, writers announce here too."""

    test_announced__another_process = in_general.TestWithoutTracking.test_announced__another_process
    test_tracking__least_permissions = in_general.TestWithoutTracking.test_tracking__least_permissions

    @pytest.fixture
    def granted(self):
        return "+client|id +client|tracking +client|caching +client|list +subscribe +publish +ping +pttl"


def data_clients(redis_client):
    """The connections that are tracked, by their ids."""
    return {each["id"]: each for each in redis_client.client_list() if "t" in each["flags"]}


class TestRedirection:
    async def test_get__over_each_connection(self, face_of, make_near, redis_client):
        """Each connection that a kept copy was read through is redirected to the listener."""
        cache = make_near()
        face = face_of(cache)
        await asyncio.to_thread(keep, cache, "k:a", 1)
        await face.get("k:b")
        (listener,) = {each["redir"] for each in data_clients(redis_client).values()}
        names = {each["id"]: each for each in redis_client.client_list(_type="pubsub")}
        assert listener in names

    async def test_get__not_kept(self, face_of, make_near, redis_client):
        """What is read and not kept is not remembered by the server."""
        cache = make_near()
        face = face_of(cache)
        await face.set_many({"k:a": 1, "x:a": 1})
        await asyncio.to_thread(confirm_anew, cache)
        before = redis_client.info("stats")["tracking_total_keys"]
        assert await face.get("k:a") == 1
        for _ in range(3):
            assert await face.get("x:a") == 1
            assert await face.get_many(["x:a", "x:b"]) == {"x:a": 1}
        assert redis_client.info("stats")["tracking_total_keys"] == before + 1

    async def test_get__changed(self, face_of, make_pair):
        """A write anywhere drops the copy, whether it was read alone or among many."""
        cache, other = make_pair()
        face = face_of(cache)
        for number in range(3):
            other.set_many({"k:a": number, "k:b": number})
            await asyncio.to_thread(confirm_anew, cache)
            assert await face.get("k:a") == number
            assert await face.get_many(["k:a", "k:b", "k:none"]) == {"k:a": number, "k:b": number}
            assert all(is_near(cache, key) for key in ("k:a", "k:b", "k:none"))
        other.set("k:none", 5)
        await asyncio.to_thread(confirm_anew, cache)
        assert await face.get("k:none") == 5

    async def test_get__listener_unknown(self, face_of, make_near, monkeypatch):
        """A redirection that the server refuses keeps no copy, and the value is read all the same."""
        cache = make_near()
        face = face_of(cache)
        await face.set("k:a", 1)
        await asyncio.to_thread(confirm_anew, cache)
        monkeypatch.setattr(invalidation, "PING_NS", 10**12)  # the heartbeat would see it
        watch_of(cache).tracking.begin(2**40)
        assert await face.get("k:a") == 1
        assert await face.get_many(["k:a"]) == {"k:a": 1}
        assert not is_near(cache, "k:a")


class TestEpoch:
    """T1: a copy is kept only if its connection was redirected to the listener of this moment."""

    async def test_get__connection_of_another_epoch(self, face_of, make_near, wire, redis_client):
        """After the link was cut, reads over old connections are redirected anew (T1, at send)."""
        cache = make_near(location=wire.url)
        face = face_of(cache)
        await face.set("k:a", "old")
        await asyncio.to_thread(confirm_anew, cache)
        await face.get("k:a")
        tracked = data_clients(redis_client)
        wire.cut(links=True)
        await asyncio.to_thread(until, lambda: not is_confirmed(cache))
        await asyncio.to_thread(until, lambda: is_confirmed(cache))
        await asyncio.to_thread(until, lambda: len(redis_client.client_list(_type="pubsub")) == 1)
        assert await face.get("k:a") == "old"
        assert is_near(cache, "k:a")
        (listener,) = redis_client.client_list(_type="pubsub")
        old = [each for each in data_clients(redis_client).values() if each["id"] in tracked]
        assert listener["id"] in {each["redir"] for each in old}
        redis_client.delete("t:1:k:a")
        await asyncio.to_thread(confirm_anew, cache)
        assert await face.get("k:a") is None

    def test_fill__epoch_ended_meanwhile(self, make_near, wire, redis_client):
        """A read that was sent for one listener fills nothing when another has come (T1, at fill)."""
        cache = make_near(location=wire.url)
        cache.set("k:a", "old")
        confirm_anew(cache)
        epoch = watch_of(cache).tracking.epoch
        found = []
        wire.replies.clear()
        reading = threading.Thread(target=lambda: found.append(cache.get("k:a")))
        reading.start()
        wire.held.acquire()  # Redis has answered
        wire.cut(links=True)
        wire.replies.set()
        until(lambda: watch_of(cache).tracking.epoch not in (epoch, None))
        reading.join()
        assert found == ["old"]
        until(lambda: is_confirmed(cache))
        redis_client.delete("t:1:k:a")
        confirm_anew(cache)
        assert cache.get("k:a") is None

    def test_is_heard__of_another_epoch(self):
        """Replies to a prelude that was sent for another listener let nothing be kept."""

        class Connection:
            tracked = None

        tracking, connection = KeyTracking(lambda: None), Connection()
        tracking.begin(7)
        prelude = tracking.prelude(connection)
        assert tracking.is_heard(connection, prelude, [5, b"OK", b"OK"])
        assert len(tracking.prelude(connection).commands) == 1
        old = tracking.prelude(connection)
        tracking.begin(8)
        assert not tracking.is_heard(connection, old, [b"OK"])
        assert len(tracking.prelude(connection).commands) == 3
        tracking.end()
        assert tracking.prelude(connection).commands == ()
        assert not tracking.is_heard(connection, tracking.prelude(connection), [])


class TestClosed:
    """T2: the end of a connection whose reads Redis remembers empties the near cache."""

    def test_disconnect__idle_connection(self, make_near, redis_client, monkeypatch):
        """A connection that is closed here takes the copies along (T2): Redis has forgotten them."""
        monkeypatch.setattr("django_callcache.cache.invalidation._inspect", lambda *_: None)
        cache = make_near()
        keep(cache, "k:a", "old")
        cache._runtime.connections.close()
        redis_client.delete("t:1:k:a")
        assert cache.get("k:a") is None

    def test_disconnect__lost_without_a_word(self, make_near, redis_client, monkeypatch):
        """So does one that nobody holds any more, as after an exception from a signal handler (T2)."""
        monkeypatch.setattr("django_callcache.cache.invalidation._inspect", lambda *_: None)
        cache = make_near()
        keep(cache, "k:a", "old")
        cache._runtime.connections._free.clear()
        gc.collect()
        redis_client.delete("t:1:k:a")
        assert cache.get("k:a") is None

    async def test_close__session(self, make_near, redis_client, monkeypatch):
        """So does the connection of an event loop (T2)."""
        monkeypatch.setattr("django_callcache.cache.invalidation._inspect", lambda *_: None)
        cache = make_near()
        cache.set("k:a", "old")
        await asyncio.to_thread(confirm_anew, cache)
        assert await cache.aget("k:a") == "old"
        assert is_near(cache, "k:a")
        await cache._runtime.async_io().close()
        redis_client.delete("t:1:k:a")
        assert await cache.aget("k:a") is None


class TestHeartbeat:
    """T3: the server is asked whether the tracked connections are still there."""

    @pytest.mark.parametrize("is_native", [False, True])
    async def test_inspect__closed_by_the_server(self, make_near, wire, redis_client, is_native):
        """A connection that only the server knows to be closed takes its copies along (T3)."""
        cache = make_near(location=wire.url)
        cache.set("k:a", "old")
        await asyncio.to_thread(confirm_anew, cache)
        assert (await cache.aget("k:a") if is_native else cache.get("k:a")) == "old"
        assert is_near(cache, "k:a")
        wire.hides_ends = True
        for client_id in watch_of(cache).tracking.client_ids():
            redis_client.client_kill_filter(_id=client_id)
        await asyncio.to_thread(until, lambda: not is_near(cache, "k:a"))
        redis_client.delete("t:1:k:a")
        assert near_of(cache).get("k:a", None, "asked of Redis") == "asked of Redis"

    def test_inspect__redirection_taken_away(self, make_near, redis_client):
        """A connection that the server does not redirect to the listener any more counts as lost (T3)."""
        cache = make_near()
        keep(cache, "k:a", "old")
        connection = cache._runtime.connections.take(time.monotonic_ns() + 10**10)
        connection.send_command("CLIENT", "TRACKING", "OFF")
        assert connection.read_response() == b"OK"
        cache._runtime.connections.give(connection)
        redis_client.delete("t:1:k:a")
        until(lambda: not is_near(cache, "k:a"))
        assert cache.get("k:a") is None

    def test_redirections__of_client_list(self, redis_client):
        """The server's own list is understood, whatever else its lines tell."""
        redis_client.client_setname("redir=5")
        try:
            clients = redis_client.client_list()
            with redis.Redis(connection_pool=redis_client.connection_pool) as client:
                connection = client.connection_pool.get_connection()
                connection.send_command("CLIENT", "LIST")
                listed = redirections(connection.read_response())
                client.connection_pool.release(connection)
        finally:
            redis_client.client_setname("")
        for each in clients:
            if int(each["id"]) in listed:
                assert listed[int(each["id"])] == int(each["redir"])
        assert set(listed.values()) >= {-1}


class TestOwnSet:
    """T4: what was written was not read, so Redis remembers nobody for it."""

    async def test_set__leaves_no_copy(self, face_of, make_near, redis_client):
        """A write leaves no copy behind, which a write by others would not drop (T4)."""
        cache = make_near()
        face = face_of(cache)
        await asyncio.to_thread(keep, cache, "k:a", 1)
        for write in (face.set("k:a", 2), face.set_many({"k:a": 2}), face.incr("k:a", 0)):
            await write
            assert not is_near(cache, "k:a")
            assert await face.get("k:a") == 2
        await face.set("k:a", 3)
        redis_client.delete("t:1:k:a")
        await asyncio.to_thread(confirm_anew, cache)
        assert await face.get("k:a") is None


class TestShared:
    """Aliases of one server hear over one connection."""

    def aliases(self, make_caches, url, **options):
        stated = {"LOCATION": url, "OPTIONS": {"CALLCACHE": {**OPTIONS, **options}}}
        return make_caches(
            {
                "default": {**stated, "KEY_PREFIX": "one"},
                "two": {**stated, "KEY_PREFIX": "two"},
                "five": {**stated, "KEY_PREFIX": "five", "LOCATION": url.replace("/0", "/5")},
            }
        )

    @pytest.mark.parametrize("link", ["broadcast", "per-key"])
    def test_start__one_connection(self, make_caches, redis_url, redis_client, link):
        """Several aliases of a server have one listening connection, and each hears of its keys."""
        caches = self.aliases(make_caches, redis_url, LINK=link)
        for cache in caches:
            connect_link(cache)
        until(lambda: len(redis_client.client_list(_type="pubsub")) == 1)
        for cache in caches:
            keep(cache, "k:a", cache.redis_keys.root)
        for cache in caches:
            with redis.Redis(connection_pool=cache.redis_client().connection_pool) as client:
                client.delete(f"{cache.key_prefix}:1:k:a")
        for cache in caches:
            confirm_anew(cache)
            assert cache.get("k:a") is None
        assert len(redis_client.client_list(_type="pubsub")) == 1
        assert len({link_of(cache) for cache in caches}) == 1

    def test_start__both_modes(self, make_caches, redis_url, redis_client):
        """Aliases with different LINKs share the connection too."""
        stated = {"LOCATION": redis_url}
        caches = make_caches(
            {
                link: {**stated, "KEY_PREFIX": link[:3], "OPTIONS": {"CALLCACHE": {**OPTIONS, "LINK": link}}}
                for link in ("broadcast", "per-key")
            }
        )
        for cache in caches:
            connect_link(cache)
        until(lambda: len(redis_client.client_list(_type="pubsub")) == 1)
        for cache in caches:
            keep(cache, "k:a", "old")
            redis_client.delete(f"{cache.key_prefix}:1:k:a")
            confirm_anew(cache)
            assert cache.get("k:a") is None

    def test_start__announced(self, deny, make_caches, redis_client):
        """Where writers announce, each alias hears its own channel over the one connection."""
        caches = self.aliases(make_caches, deny("-client|tracking"))
        for cache in caches:
            connect_link(cache)
        until(lambda: len(redis_client.client_list(_type="pubsub")) == 1)
        for cache in caches:
            keep(cache, "k:a", "old")
        announced = [each.redis_keys.near_channel() for each in caches[:1]]
        redis_client.publish(announced[0], b"\x91\xc4\x09one:1:k:a")
        for cache in caches:
            confirm_anew(cache)
        assert [is_near(cache, "k:a") for cache in caches] == [False, True, True]

    def test_stop__others_hear_on(self, make_caches, redis_url, redis_client):
        """When one alias leaves, the others hear on."""
        one, two, _ = self.aliases(make_caches, redis_url)
        connect_link(one)
        connect_link(two)
        one._runtime.close()
        keep(two, "k:a", "old")
        redis_client.delete("two:1:k:a")
        confirm_anew(two)
        assert two.get("k:a") is None
        assert near_of(one).confirmed_until == 0 == len(near_of(one))
