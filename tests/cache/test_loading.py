"""The registry of loaders, and reading through it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from django_callcache.cache.loading import register_loader, sources
from django_callcache.cache.operations.loads import LoadOperations
from tests.cache.waiting import wait_until

RULES = {"campaign:": {"ttl": 60, "absent_ttl": 20}, "stale:": {"ttl": 0.05, "grace": 60}}


class Records:
    """A loader that counts its calls."""

    def __init__(self, *names):
        self.names = set(names)
        self.calls = []
        self.error = None

    def __call__(self, names):
        self.calls.append(sorted(names))
        if self.error is not None:
            raise self.error
        return {name: {"id": name} for name in names if name in self.names}


@pytest.fixture(params=["plain", "coroutine"])
def register(request):
    """Register a loader, as it is or as a coroutine function; it is forgotten after the test."""
    prefixes = []

    def register(prefix, loader):
        async def aload(names):
            await asyncio.sleep(0)
            return loader(names)

        register_loader(prefix, loader if request.param == "plain" else aload)
        prefixes.append(prefix)
        return loader

    yield register
    for prefix in prefixes:
        sources.remove("default", prefix)


@pytest.fixture(params=["blocking", "asyncio"])
def face_of(request):
    """Make the one or the other face of a cache."""
    return lambda cache: Face(cache, request.param == "asyncio")


class Face:
    """The methods of a face. Blocking ones run in a thread: a coroutine loader needs one without a loop."""

    def __init__(self, cache, is_native):
        self.cache = cache
        self.is_native = is_native

    def __getattr__(self, name):
        if self.is_native:
            return getattr(self.cache, f"a{name}")
        return partial(asyncio.to_thread, getattr(self.cache, name))


@pytest.fixture
def cache(make_cache):
    return make_cache(RULES=RULES)


class TestSources:
    def test_of__nearest(self):
        """The longest prefix that fits knows a key."""
        register_loader("a:", dict, alias="x")
        register_loader("a:b:", list, alias="x")
        assert sources.of("x", "a:b:1").loader is list
        assert sources.of("x", "a:1").name_of("a:1") == "1"
        assert sources.prefixes("x") == ("a:b:", "a:")
        register_loader("a:", set, alias="x")
        assert sources.of("x", "a:1").loader is set
        for prefix in ("a:", "a:b:"):
            sources.remove("x", prefix)
        assert sources.prefixes("x") == ()

    def test_of__none(self):
        """A key that nobody knows is an error that says what is known."""
        register_loader("a:", dict, alias="x")
        try:
            with pytest.raises(LookupError, match=r"No loader knows the key 'b:1' .*Prefixes with one: 'a:'"):
                sources.of("x", "b:1")
        finally:
            sources.remove("x", "a:")

    @pytest.mark.parametrize(("prefix", "loader", "error"), [("", dict, ValueError), ("a:", 1, TypeError)])
    def test_register__wrong(self, prefix, loader, error):
        """A loader needs a prefix, and can be called."""
        with pytest.raises(error, match="loader"):
            register_loader(prefix, loader)


class TestLoad:
    async def test_load(self, cache, face_of, register):
        """A record is loaded once, and read from the cache afterwards."""
        loader, face = register("campaign:", Records("7")), face_of(cache)
        assert await face.load("campaign:7") == {"id": "7"}
        assert await face.load("campaign:7") == {"id": "7"}
        assert loader.calls == [["7"]]
        assert await face.get("campaign:7") == {"id": "7"}
        assert 20 < await face.ttl("campaign:7") <= 60

    async def test_load__absent(self, cache, face_of, register):
        """That a record does not exist is remembered, for a time of its own."""
        loader, face = register("campaign:", Records()), face_of(cache)
        assert await face.load("campaign:7") is None
        assert await face.load("campaign:7", "nobody") == "nobody"
        assert loader.calls == [["7"]]
        assert await face.has_key("campaign:7")
        assert 0 < await face.ttl("campaign:7") <= 20

    async def test_load__absent_not_remembered(self, make_cache, face_of, register):
        """Unless it is not to be."""
        face = face_of(make_cache(RULES={"campaign:": {"absent_ttl": 0}}))
        loader = register("campaign:", Records())
        assert [await face.load("campaign:7"), await face.load("campaign:7")] == [None, None]
        assert len(loader.calls) == 2

    async def test_load__created_meanwhile(self, cache, face_of, register):
        """A record that comes to be, and whose key is deleted as invalidation does, is found."""
        loader, face = register("campaign:", Records()), face_of(cache)
        assert await face.load("campaign:7") is None
        loader.names.add("7")
        await face.delete("campaign:7")
        assert await face.load("campaign:7") == {"id": "7"}

    async def test_load__error(self, cache, face_of, register):
        """What the loader raises is the caller's, and nothing is kept."""
        loader, face = register("campaign:", Records("7")), face_of(cache)
        loader.error = OSError("the database is away")
        with pytest.raises(OSError, match="the database is away"):
            await face.load("campaign:7")
        loader.error = None
        assert await face.load("campaign:7") == {"id": "7"}

    async def test_load__stale_on_error(self, cache, face_of, register, caplog):
        """Within the prefix's grace an old record is served where the loader fails."""
        loader, face = register("stale:", Records("7")), face_of(cache)
        assert await face.load("stale:7") == {"id": "7"}
        await gone(cache, "stale:7")
        loader.error = OSError("the database is away")
        assert await face.load("stale:7") == {"id": "7"}
        assert await face.load_many(["stale:7"]) == {"stale:7": {"id": "7"}}
        assert caplog.text.count("loader=failed served=stale") == 2

    async def test_load__no_loader(self, cache, face_of):
        """A key that no loader knows is refused."""
        with pytest.raises(LookupError, match="No loader knows the key 'nobody:1'"):
            await face_of(cache).load("nobody:1")

    async def test_load__deleted_while_loading(self, cache, face_of, register):
        """A record that was deleted from the cache while it was loaded is not stored."""
        face = face_of(cache)

        class Overtaken(Records):
            def __call__(self, names):
                cache.delete("campaign:7")
                return super().__call__(names)

        register("campaign:", Overtaken("7"))
        assert await face.load("campaign:7") == {"id": "7"}
        assert not await face.has_key("campaign:7")

    def test_load__at_once(self, cache, register):
        """Threads that want one record at once have it loaded once."""
        everybody = threading.Barrier(8)
        loader = register("campaign:", Records("7"))

        def ask(_):
            everybody.wait(30)
            return cache.load("campaign:7")

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(8))) == [{"id": "7"}] * 8
        assert loader.calls == [["7"]]


class TestLoadMany:
    async def test_load_many(self, cache, face_of, register):
        """The loader is asked once for all that is missing; what does not exist is left out."""
        loader, face = register("campaign:", Records("1", "2", "3")), face_of(cache)
        await face.set("campaign:2", "cached")
        keys = ["campaign:3", "campaign:1", "campaign:9", "campaign:2", "campaign:1"]
        found = await face.load_many(keys)
        assert list(found.items()) == [
            ("campaign:3", {"id": "3"}),
            ("campaign:1", {"id": "1"}),
            ("campaign:2", "cached"),
        ]
        assert loader.calls == [["1", "3", "9"]]
        assert await face.load_many(iter(keys)) == found
        assert len(loader.calls) == 1
        assert 20 < await face.ttl("campaign:1") <= 60
        assert 0 < await face.ttl("campaign:9") <= 20

    async def test_load_many__several_loaders(self, cache, face_of, register):
        """Each loader is asked for its own."""
        campaigns, contacts = register("campaign:", Records("1", "2")), register("contact:", Records("1"))
        found = await face_of(cache).load_many(["contact:1", "campaign:1", "contact:2", "campaign:2"])
        assert list(found) == ["contact:1", "campaign:1", "campaign:2"]
        assert (campaigns.calls, contacts.calls) == ([["1", "2"]], [["1", "2"]])

    async def test_load_many__portions(self, cache, face_of, register):
        """More than 500 are asked for in portions."""
        names = [str(number) for number in range(501)]
        loader = register("campaign:", Records(*names))
        assert len(await face_of(cache).load_many(f"campaign:{name}" for name in names)) == 501
        assert [len(call) for call in loader.calls] == [500, 1]

    async def test_load_many__nothing(self, cache, face_of, register):
        """Nothing asked for is nothing loaded."""
        loader = register("campaign:", Records())
        assert await face_of(cache).load_many([]) == {}
        assert loader.calls == []

    async def test_load_many__no_loader(self, cache, face_of, register):
        """One key that nobody knows is refused before anything is read."""
        loader = register("campaign:", Records("1"))
        with pytest.raises(LookupError, match="nobody:1"):
            await face_of(cache).load_many(["campaign:1", "nobody:1"])
        assert loader.calls == []

    async def test_load_many__overtaken(self, cache, face_of, register):
        """What was written or deleted while it was loaded is not written over."""
        face = face_of(cache)

        class Overtaken(Records):
            def __call__(self, names):
                cache.set("campaign:1", "newer")
                cache.delete("campaign:2")
                return super().__call__(names)

        register("campaign:", Overtaken("1", "2", "3"))
        found = await face.load_many([f"campaign:{number}" for number in (1, 2, 3)])
        assert found["campaign:1"] == "newer"
        assert (await face.get("campaign:1"), await face.has_key("campaign:2")) == ("newer", False)
        assert await face.get("campaign:3") == {"id": "3"}

    async def test_load_many__error(self, cache, face_of, register):
        """What a loader raises is the caller's; the next call is not held up."""
        loader, face = register("campaign:", Records("1")), face_of(cache)
        loader.error = OSError("the database is away")
        with pytest.raises(OSError, match="away"):
            await face.load_many(["campaign:1"])
        loader.error = None
        assert await face.load_many(["campaign:1"]) == {"campaign:1": {"id": "1"}}


class Slow(Records):
    """A loader that waits to be let go on."""

    def __init__(self, *names):
        super().__init__(*names)
        self.began = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, names):
        found = super().__call__(names)
        self.began.set()
        assert self.may_end.wait(60)
        return found


@pytest.fixture
def twins(make_caches, redis_url):
    """Two caches with the same entries that share nothing in this process, as those of two processes do."""
    own = {"STATS": False, "DEADLINE": 10, "RULES": RULES, "ALIAS": "default"}
    stated = [{**own, "MAX_CONNECTIONS": number} for number in (10, 11)]  # the same would share all
    aliases = [{"LOCATION": redis_url, "KEY_PREFIX": "t", "OPTIONS": {"CALLCACHE": each}} for each in stated]
    one, other = make_caches(dict(zip(("default", "twin"), aliases, strict=True)))
    assert one._runtime is not other._runtime
    return one, other


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


KEYS = ("campaign:1", "campaign:2", "campaign:3")


class TestLoadManyAtOnce:
    """Callers that want the same records at the same time."""

    def load_beside(self, pool, slow, first, second):
        """Begin a second call while the loader of the first is at work; return what both brought."""
        ahead = pool.submit(first)
        assert slow.began.wait(60)
        behind = pool.submit(second)
        # The loader is asked for what nobody loads yet before anybody is waited for.
        slow.may_end.set()
        return ahead.result(60), behind.result(60)

    @pytest.mark.parametrize("is_process", [False, True])
    def test_load_many__same(self, twins, register, pool, is_process):
        """What another thread or process loads is waited for."""
        slow = register("campaign:", Slow("1", "2"))
        one, other = twins[0], twins[is_process]
        found = self.load_beside(pool, slow, lambda: one.load_many(KEYS), lambda: other.load_many(KEYS))
        assert slow.calls == [["1", "2", "3"]]
        assert found[0] == found[1] == {"campaign:1": {"id": "1"}, "campaign:2": {"id": "2"}}

    @pytest.mark.parametrize("is_process", [False, True])
    def test_load_many__overlapping(self, twins, register, pool, is_process):
        """Of several records each is loaded by who asks for it first."""
        slow = register("campaign:", Slow("1", "2", "3"))
        one, other = twins[0], twins[is_process]
        found = self.load_beside(
            pool, slow, lambda: one.load_many(KEYS[:2]), lambda: other.load_many(KEYS[1:])
        )
        assert slow.calls == [["1", "2"], ["3"]]
        assert set(found[0]) == set(KEYS[:2])
        assert set(found[1]) == set(KEYS[1:])

    @pytest.mark.parametrize("is_process", [False, True])
    def test_load__beside_load_many(self, twins, register, pool, is_process):
        """One record waits for a call that loads it among others, and the other way round."""
        slow = register("campaign:", Slow("1", "2", "3"))
        one, other = twins[0], twins[is_process]
        self.load_beside(pool, slow, lambda: one.load_many(KEYS[:2]), lambda: other.load("campaign:2"))
        assert slow.calls == [["1", "2"]]
        one.delete_many(KEYS)
        slow.calls.clear()
        slow.began.clear()
        slow.may_end.clear()
        self.load_beside(pool, slow, lambda: one.load("campaign:2"), lambda: other.load_many(KEYS))
        assert slow.calls == [["2"], ["1", "3"]]

    def test_load_many__crossing(self, cache, register, pool):
        """Many callers that want records in any order all get them, each loaded once."""
        names = [str(number) for number in range(40)]
        loader, everybody = register("campaign:", Records(*names)), threading.Barrier(8)

        def ask(number):
            wanted = names[number * 3 :] + names[: number * 3]
            everybody.wait(60)
            return cache.load_many(f"campaign:{name}" for name in (wanted[::-1] if number % 2 else wanted))

        found = list(pool.map(ask, range(8)))
        assert all(set(records) == {f"campaign:{name}" for name in names} for records in found)
        assert sorted(name for call in loader.calls for name in call) == sorted(names)

    @pytest.mark.parametrize("is_process", [False, True])
    def test_load_many__error(self, twins, register, pool, is_process, monkeypatch):
        """Whose loader fails, fails with those who wait in its process; another process loads then."""
        waits = threading.Event()
        name = "_claim" if is_process else "_follow"
        original = getattr(LoadOperations, name)

        def wait(self, *stated):
            waits.set()
            return original(self, *stated)

        monkeypatch.setattr(LoadOperations, name, wait)

        class Failing(Slow):
            def __call__(self, names):
                super().__call__(names)
                if len(self.calls) == 1:
                    raise OSError("away")
                return Records.__call__(self, names)

        slow = register("campaign:", Failing("1"))
        one, other = twins[0], twins[is_process]
        ahead = pool.submit(one.load_many, KEYS)
        assert slow.began.wait(60)
        behind = pool.submit(other.load_many, KEYS)
        assert waits.wait(60)
        slow.may_end.set()
        with pytest.raises(OSError, match="away"):
            ahead.result(60)
        if is_process:
            assert behind.result(60) == {"campaign:1": {"id": "1"}}
        else:
            with pytest.raises(OSError, match="away"):
                behind.result(60)
        assert one.load_many(KEYS) == {"campaign:1": {"id": "1"}}

    def test_load_many__died(self, cache, register, redis_client):
        """Records of a process that died are loaded when its lease ends, the others before."""
        leases = [cache.redis_keys.lease(cache.redis_key(key)) for key in KEYS[:2]]
        redis_client.mset(dict.fromkeys(leases, "lease:"))

        class Ending(Records):
            def __call__(self, names):
                redis_client.delete(*leases)
                return super().__call__(names)

        loader = register("campaign:", Ending("1", "2"))
        assert set(cache.load_many(KEYS)) == set(KEYS[:2])
        assert loader.calls[0] == ["3"]
        assert sorted(name for call in loader.calls for name in call) == ["1", "2", "3"]

    @pytest.mark.needs_server("one lease for keys of several slots")
    async def test_aload_many(self, cache, register):
        """Tasks of a loop share what they load."""
        loader = register("campaign:", Records("1", "2"))
        found = await asyncio.gather(*(cache.aload_many(KEYS) for _ in range(10)), cache.aload(KEYS[0]))
        assert found[:10] == [{"campaign:1": {"id": "1"}, "campaign:2": {"id": "2"}}] * 10
        assert found[10] == {"id": "1"}
        assert loader.calls == [["1", "2", "3"]]

    async def test_aload_many__cancelled(self, cache):
        """A task that is cancelled leaves nobody waiting."""
        slow = Slow("1")
        sources.state("tests", [("default", "campaign:", slow)])
        task = asyncio.create_task(cache.aload_many(KEYS))
        await asyncio.to_thread(slow.began.wait, 60)
        task.cancel()
        slow.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await cache.aload_many(KEYS) == {"campaign:1": {"id": "1"}}
        sources.state("tests", [])


@pytest.mark.parametrize("on_error", ["degrade", "raise"])
async def test_load__redis_down(make_cache, face_of, register, on_error, start_redis):
    """With Redis down records are loaded and not kept, or the error is raised, as ON_ERROR says."""
    server = start_redis()
    face = face_of(make_cache(server.url, ON_ERROR=on_error))
    server.stop()
    loader = register("campaign:", Records("1"))
    if on_error == "degrade":
        assert await face.load("campaign:1") == {"id": "1"}
        assert await face.load_many(["campaign:1"]) == {"campaign:1": {"id": "1"}}
        assert len(loader.calls) == 2
    else:
        with pytest.raises(Exception, match=r"(?i)redis|connect"):
            await face.load_many(["campaign:1"])


async def gone(cache, key):
    """Wait until an entry has expired."""
    await asyncio.to_thread(wait_until, lambda: not cache.has_key(key))
