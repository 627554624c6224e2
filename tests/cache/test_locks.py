"""Locks that processes share."""

from __future__ import annotations

import threading

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import LockError, LockNotOwnedError

from testproject.parts.child import LOOPBACK, free_port
from tests.cache.proxy import Proxy
from tests.cache.test_faults import once
from tests.cache.waiting import wait_until


class Held:
    """A blocking or an asyncio lock behind one way to call it."""

    def __init__(self, face, key="job", **arguments):
        self.is_native = face.is_native
        self.lock = (
            face.cache.alock(key, **arguments) if face.is_native else face.cache.lock(key, **arguments)
        )

    def __getattr__(self, name):
        async def call(*args, **kwargs):
            result = getattr(self.lock, name)(*args, **kwargs)
            return await result if self.is_native else result

        return call

    async def __aenter__(self):
        await self.lock.__aenter__() if self.is_native else self.lock.__enter__()

    async def __aexit__(self, *error):
        await self.lock.__aexit__(*error) if self.is_native else self.lock.__exit__(*error)


class TestLock:
    async def test_lock__one_holder(self, face):
        """One object holds a lock at a time; it is free again when it is given back."""
        one, other = Held(face, timeout=60), Held(face, timeout=60)
        assert await one.acquire() is True
        assert await other.acquire(blocking=False) is False
        assert (await one.owned(), await other.owned(), await other.locked()) == (True, False, True)
        await one.release()
        assert await other.acquire(blocking=False) is True
        await other.release()
        assert await one.locked() is False

    async def test_lock__context(self, face, redis_client):
        """As a context manager it is held inside and free outside, whatever happens inside."""

        async def work():
            async with Held(face, timeout=60):
                assert 0 < redis_client.pttl("t:1:job") <= 60_000
                raise KeyError

        with pytest.raises(KeyError):
            await work()
        assert not redis_client.exists("t:1:job")

    async def test_lock__cannot_be_had(self, face):
        """A context manager that cannot have the lock raises, and runs nothing."""
        async with Held(face, timeout=60):
            with pytest.raises(LockError, match="acquired"):
                async with Held(face, timeout=60, blocking_timeout=0.01, sleep=0.01):
                    pytest.fail("two hold the lock")

    async def test_lock__waits(self, face, redis_client):
        """Who waits has it as soon as it is free."""
        redis_client.set("t:1:job", "somebody's")
        threading.Timer(0.1, redis_client.delete, ["t:1:job"]).start()
        assert await Held(face, sleep=0.01).acquire(blocking_timeout=60) is True

    async def test_release__expired(self, face, redis_client):
        """A lock whose timeout has passed is not given back over the head of its next holder."""
        one = Held(face, timeout=60)
        await one.acquire()
        redis_client.set("t:1:job", "another's")
        with pytest.raises(LockNotOwnedError):
            await one.release()
        assert redis_client.get("t:1:job") == b"another's"

    async def test_release__not_held(self, face):
        """Only what is held can be given back or extended."""
        for call in (Held(face).release, lambda: Held(face, timeout=1).extend(5)):
            with pytest.raises(LockError, match="not held"):
                await call()

    async def test_extend(self, face, redis_client):
        """A lock can be held for longer, on top of what is left or from now on."""
        one = Held(face, timeout=100)
        await one.acquire()
        assert await one.extend(100) is True
        assert redis_client.pttl("t:1:job") > 150_000
        assert await one.extend(50, replace_ttl=True) is True
        assert redis_client.pttl("t:1:job") <= 50_000
        assert await one.reacquire() is True
        assert 50_000 < redis_client.pttl("t:1:job") <= 100_000
        redis_client.delete("t:1:job")
        with pytest.raises(LockNotOwnedError):
            await one.extend(1)

    async def test_extend__no_timeout(self, face):
        """A lock without a timeout has nothing to extend."""
        one = Held(face)
        await one.acquire()
        with pytest.raises(LockError, match="timeout"):
            await one.extend(1)

    def test_timeout__wrong(self, make_cache):
        """A timeout that would free the lock at once is refused."""
        with pytest.raises(ValueError, match="timeout is 0"):
            make_cache().lock("a", timeout=0)

    def test_thread_local(self, make_cache):
        """A thread cannot give back what another took, unless the lock says so."""
        cache = make_cache()
        failures = []

        def release(lock):
            try:
                lock.release()
            except LockError as error:
                failures.append(error)

        for is_local, expected in ((True, 1), (False, 0)):
            failures.clear()
            lock = cache.lock(f"a{is_local}", thread_local=is_local)
            lock.acquire()
            thread = threading.Thread(target=release, args=(lock,))
            thread.start()
            thread.join()
            assert len(failures) == expected


class TestFailing:
    async def test_down__degrade(self, face_of, make_cache):
        """With no server nobody holds the lock and nobody waits: taking it is refused, giving back passes."""
        face = face_of(make_cache(f"redis://{LOOPBACK}:{free_port()}/0"))
        one = Held(face, timeout=60)
        for _ in range(8):
            assert await one.acquire(blocking_timeout=3600) is False
            assert (await one.locked(), await one.owned()) == (False, False)
        with pytest.raises(LockError, match="answer"):
            async with one:
                pytest.fail("nobody has given us the lock")

    async def test_down__raise(self, face_of, make_cache):
        """With ``ON_ERROR`` "raise" the fault itself is raised."""
        face = face_of(make_cache(f"redis://{LOOPBACK}:{free_port()}/0", ON_ERROR="raise"))
        for _ in range(8):
            with pytest.raises(RedisConnectionError):
                await Held(face).acquire()

    async def test_hung__deadline(self, face_of, make_cache, start_redis):
        """A server that hangs ends every call on a lock at the deadline; the lock ends by its timeout."""
        with Proxy(start_redis().port) as proxy:
            face = face_of(make_cache(proxy.url, DEADLINE=0.3))
            one = Held(face, timeout=60)
            await once(lambda: one.acquire(blocking=False), face, True)
            proxy.is_silent = True
            assert await one.extend(5) is False
            assert await one.release() is None
            assert await one.acquire() is False
            proxy.is_silent = False
            proxy.drop_connections()
            wait_until(lambda: not proxy.is_silent)
