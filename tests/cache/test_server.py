from __future__ import annotations

import asyncio
import os
import signal
import time
import traceback

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from django_callcache.cache.server import Server
from django_callcache.exceptions import RedisMisconfigured, RedisUnavailable
from testproject.parts.child import LOOPBACK, free_port
from tests.cache.conftest import Face
from tests.cache.linked import OPTIONS, connect_link, is_confirmed, is_near, keep, near_of, until
from tests.cache.sentinel import SERVICE, Watched, options_of
from tests.tls import certificate, tls_server

pytestmark = pytest.mark.usefixtures("hurried_links")


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A Redis that speaks TLS too: its address, and the certificate to trust."""
    trusted, key = certificate(tmp_path_factory.mktemp("tls"), LOOPBACK)
    with tls_server(trusted, key, password="secret") as (server, port):
        yield f"rediss://:{server.password}@{LOOPBACK}:{port}/0", trusted


class TestTls:
    def options(self, trusted):
        return {"CONNECTION_POOL_KWARGS": {"ssl_ca_certs": str(trusted)}}

    async def test_calls__encrypted(self, face_of, make_cache, tls):
        """All calls work over TLS, with a password, for replies of any size."""
        url, trusted = tls
        face = face_of(make_cache(url, DEADLINE=10, django_redis=self.options(trusted)))
        large = os.urandom(300_000)
        assert await face.set("a", large) is True
        assert await face.get("a") == large
        assert await face.set_many({f"k:{n}": n for n in range(100)}) == []
        assert await face.get_many([f"k:{n}" for n in range(100)]) == {f"k:{n}": n for n in range(100)}
        assert await face.incr("k:1") == 2
        assert await face.delete_pattern("k:*") == 100
        await self.goodbye(face)

    @pytest.mark.parametrize("link", ["broadcast", "per-key"])
    def test_near__encrypted(self, make_cache, tls, link):
        """The link listens over TLS too."""
        url, trusted = tls
        cache = connect_link(make_cache(url, django_redis=self.options(trusted), LINK=link, **OPTIONS))
        keep(cache, "k:a", 1)
        with redis.Redis.from_url(url, ssl_ca_certs=str(trusted)) as client:
            client.delete("t:1:k:a")
        until(lambda: not is_near(cache, "k:a"))
        assert cache.get("k:a") is None

    async def test_calls__certificate_not_trusted(self, face_of, make_cache, tls):
        """A server whose certificate nobody vouches for is not talked to, whatever ``ON_ERROR`` says."""
        url, _ = tls
        face = face_of(make_cache(url, DEADLINE=10))
        with pytest.raises(RedisMisconfigured, match="TLS"):
            await face.get("a")
        await self.goodbye(face)

    async def goodbye(self, face):
        """Let asyncio end its TLS connections, which takes it some turns of the loop."""
        if face.is_native:
            await face.cache._runtime.async_io().close()
        await asyncio.sleep(0.1)


class TestSentinel:
    async def written(self, face, key, value):
        """Write until it is done."""
        deadline = time.monotonic() + 30
        while not await face.set(key, value):
            assert time.monotonic() < deadline, "nothing could be written"
            await asyncio.sleep(0.02)

    async def both(self, watched, cache):
        """Both faces have written, and both are on the primary now."""
        with redis.Redis.from_url(watched.primary.url) as primary:
            for name, face in (("blocking", Face(cache, False)), ("asyncio", Face(cache, True))):
                await self.written(face, f"x:{name}", name)
                assert await face.get(f"x:{name}") == name
                assert primary.exists(f"t:1:x:{name}"), name

    async def test_error__no_password(self, face_of, make_cache, monkeypatch):
        """No error tells the password of a Sentinel, also where redis-py shows pools with all they hold."""
        monkeypatch.setattr(redis.ConnectionPool, "__repr__", lambda pool: str(pool.connection_kwargs))
        port = free_port()
        options = options_of(port, password="planted", retry=Retry(NoBackoff(), 0))
        face = face_of(
            make_cache(f"redis://{SERVICE}/0", django_redis=options, ON_ERROR="raise", DEADLINE=10)
        )
        with pytest.raises(RedisUnavailable) as of_the_cache:
            await face.get("a")
        with pytest.raises(redis.sentinel.MasterNotFoundError) as of_redis:
            face.cache.redis_client().ping()
        told = [
            line for error in (of_the_cache, of_redis) for line in traceback.format_exception(error.value)
        ]
        assert f"{LOOPBACK}:{port}" in "".join(told)
        assert "planted" not in "".join(told)

    def cache(self, make_cache, watched, **options):
        return make_cache(
            f"redis://{SERVICE}/0", django_redis=watched.options, **{**OPTIONS, "DEADLINE": 2, **options}
        )

    @pytest.mark.parametrize("kills", [True, False], ids=["connections cut", "connections left"])
    async def test_switch__another_primary(self, make_cache, kills):
        """Both faces find the new primary, and what was near the old one is gone."""
        with Watched(replicates=False) as watched:
            await self.left_for_another(make_cache, watched, lambda: watched.switch(kills=kills))

    @pytest.mark.long
    async def test_failover__asked_for(self, make_cache):
        """So they do when the sentinel itself makes the replica the primary."""
        with Watched(replicates=True) as watched:
            await self.left_for_another(make_cache, watched, watched.fail_over)

    async def left_for_another(self, make_cache, watched, switch):
        cache = self.cache(make_cache, watched)
        await self.both(watched, cache)
        await asyncio.to_thread(connect_link, cache)
        await asyncio.to_thread(keep, cache, "k:a", "old")
        before, floor = watched.primary, near_of(cache)._floor
        await asyncio.to_thread(switch)
        assert watched.primary is not before
        await self.both(watched, cache)
        await asyncio.to_thread(until, lambda: near_of(cache)._floor > floor and is_confirmed(cache))
        with redis.Redis.from_url(watched.primary.url) as primary:
            primary.set("t:1:k:a", 5)
        await asyncio.to_thread(until, lambda: cache.get("k:a") == 5)
        cache._runtime.close()

    @pytest.mark.long
    async def test_failover__primary_hangs(self, make_cache):
        """A primary that hangs is left for the one that replaces it, and not gone back to when it wakes."""
        with Watched(replicates=True) as watched:
            cache = self.cache(make_cache, watched, DEADLINE=0.5)
            await self.both(watched, cache)
            before = watched.primary
            os.kill(before.pid, signal.SIGSTOP)
            try:
                await asyncio.to_thread(until, lambda: watched.primary is not before)
                await self.both(watched, cache)
            finally:
                os.kill(before.pid, signal.SIGCONT)
            await self.both(watched, cache)
            cache._runtime.close()


class TestIdentity:
    def test_identity__what_makes_another_server(self):
        """The same are host, port, user and TLS together, whatever the database."""

        def identity(location, **options):
            return Server(location, options).identity

        url = "redis://user:secret@127.0.0.1:6379/1"
        assert identity(url) == identity(url.replace("/1", "/5"))
        for other in (url.replace("6379", "6380"), url.replace("secret", "other"), "rediss" + url[5:]):
            assert identity(url) != identity(other)
