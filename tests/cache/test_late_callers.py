"""Who asks for a key that is being computed, but was invalidated since, gets nothing older than that."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_callcache.cache.loading import register_loader, sources
from django_callcache.cache.single_flight import Flight, Landing
from django_callcache.signals import cache_hit, cache_miss
from tests.cache.proxy import Proxy
from tests.cache.waiting import wait_until

SECOND = 1_000_000_000

INVALIDATIONS = {
    "delete": lambda cache: cache.delete("row:1"),
    "delete_many": lambda cache: cache.delete_many(["row:1"]),
    "delete_pattern": lambda cache: cache.delete_pattern("row:*"),
    "delete_prefix": lambda cache: cache.delete_prefix("row:"),
    "clear": lambda cache: cache.clear(),
    "delete_tags": lambda cache: cache.delete_tags("rows"),
}


class Origin:
    """A row, as loaders find it; the first of them may be held up."""

    def __init__(self):
        self.row = "old"
        self.calls = 0
        self.begun = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def load(self):
        found = self.row
        self.calls += 1
        self.begun.set()
        assert self.may_go_on.wait(30)
        return found

    def skip(self, context):
        context.skip()
        return self.load()


@pytest.fixture
def origin():
    """The origin of ``row:``, with a loader."""
    origin = Origin()
    register_loader("row:", lambda names: dict.fromkeys(names, origin.load()))
    yield origin
    origin.may_go_on.set()
    sources.remove("default", "row:")


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


TAGS = {"tags": ["rows"]}
LEADERS = {
    "stored": lambda cache, origin: cache.get_or_set("row:1", origin.load, 600, **TAGS),
    "stored by a task": lambda cache, origin: asyncio.run(
        cache.aget_or_set("row:1", origin.load, 600, **TAGS)
    ),
    "not kept": lambda cache, origin: cache.get_or_set("row:1", origin.load, 0, **TAGS),
    "skipped": lambda cache, origin: cache.get_or_set("row:1", origin.skip, 600, **TAGS),
    "forced": lambda cache, origin: cache.get_or_set("row:1", origin.load, 600, force=True, **TAGS),
}
"""How the row is computed by who came before."""

LATE = {
    "get_or_set": lambda cache, origin: cache.get_or_set("row:1", origin.load, 600, **TAGS),
    "load": lambda cache, origin: cache.load("row:1"),
    "load_many": lambda cache, origin: cache.load_many(["row:1"])["row:1"],
}


def misses(cache):
    """How many callers have found nothing, and wait or compute since."""
    return sum(counts["misses"] for counts in cache.counted().values())


def before_landing(cache, act):
    """Do something once, when a computation is over, and before its flight ends."""
    flights = cache._runtime.flights
    real, has_acted = flights.land, []

    def land(flight, landing):
        if landing is not None and not has_acted:
            has_acted.append(True)
            act()
        real(flight, landing)

    flights.land = land


class TestComputed:
    @pytest.mark.parametrize("late", LATE.values(), ids=LATE)
    @pytest.mark.parametrize("leader", LEADERS.values(), ids=LEADERS)
    @pytest.mark.parametrize("name", ["delete", "delete_tags"])
    def test_invalidated__before_the_flight_ends(self, make_cache, origin, pool, leader, late, name):
        """What was stored, then deleted, is not handed out by a flight whose leader has yet to end it."""
        cache = make_cache()
        asked = []

        def act():
            origin.row = "new"
            INVALIDATIONS[name](cache)
            before = misses(cache)
            asked.append(pool.submit(late, cache, origin))
            wait_until(lambda: misses(cache) > before)

        before_landing(cache, act)
        assert leader(cache, origin) == "old"
        assert asked[0].result(30) == "new"
        assert cache.get("row:1", "nothing") in ("new", "nothing")

    @pytest.mark.parametrize("late", LATE.values(), ids=LATE)
    def test_invalidated__found_by_the_leader(self, make_cache, origin, pool, late):
        """Nor is what the leader has found in Redis, where another process had stored it."""
        cache = make_cache()
        asked = []

        def stores(**_):
            cache_miss.disconnect(stores)
            cache.set("row:1", "old", 600)

        def act():
            origin.row = "new"
            cache.delete("row:1")
            before = misses(cache)
            asked.append(pool.submit(late, cache, origin))
            wait_until(lambda: misses(cache) > before)

        before_landing(cache, act)
        cache_miss.connect(stores)
        assert cache.get_or_set("row:1", lambda: "computed") == "old"
        assert asked[0].result(30) == "new"

    @pytest.mark.parametrize("leader", LEADERS.values(), ids=LEADERS)
    @pytest.mark.parametrize("invalidate", INVALIDATIONS.values(), ids=INVALIDATIONS)
    def test_invalidated__while_computing(self, make_cache, origin, pool, leader, invalidate):
        """Who comes after any invalidation has the value computed anew, however the leader's is kept."""
        cache = make_cache()
        origin.may_go_on.clear()
        first = pool.submit(leader, cache, origin)
        assert origin.begun.wait(30)
        origin.row = "new"
        invalidate(cache)
        before = misses(cache)
        second = pool.submit(LATE["get_or_set"], cache, origin)
        wait_until(lambda: misses(cache) > before)
        origin.may_go_on.set()
        assert (first.result(30), second.result(30)) == ("old", "new")

    async def test_refreshed__deleted_since(self, make_cache, face_of, pool):
        """What is to be refreshed, and is deleted before that begins, is not there to fall back on."""
        face = face_of(make_cache())
        await face.get_or_set("row:1", slowly("old"), 600, refresh_ahead=10**9)
        seen = []

        def deletes(**_):
            cache_hit.disconnect(deletes)
            pool.submit(face.cache.delete, "row:1").result(30)

        def load(context):
            seen.append((context.stale, context.has_stale))
            return "new"

        cache_hit.connect(deletes)
        assert await face.get_or_set("row:1", load, 600, refresh_ahead=10**9) == "old"
        await asyncio.to_thread(wait_until, lambda: face.cache.get("row:1") == "new")
        assert seen == [(None, False)]


class TestRedisAway:
    @pytest.fixture
    def proxy(self, start_redis):
        with Proxy(start_redis().port) as between:
            yield between

    @pytest.fixture
    def cache(self, make_cache, proxy):
        cache = make_cache(proxy.url, DEADLINE=0.5)
        wait_until(lambda: cache.set("first", 1))
        return cache

    def test_stored_in_vain(self, cache, proxy, origin, pool):
        """Where nobody knows whether a value was void, those who came after a deletion do not get it."""
        origin.may_go_on.clear()
        first = pool.submit(LEADERS["not kept"], cache, origin)
        assert origin.begun.wait(30)
        origin.row = "new"
        wait_until(lambda: cache.delete_many(["row:1"]) == 0 and is_well(cache))
        before = misses(cache)
        second = pool.submit(LATE["get_or_set"], cache, origin)
        wait_until(lambda: misses(cache) > before)
        goes_away(proxy)
        origin.may_go_on.set()
        assert (first.result(30), second.result(30)) == ("old", "new")

    def test_begun_without_a_lease(self, cache, proxy, origin, pool):
        """What was begun while Redis did not answer is not for those whom it has answered."""
        goes_away(proxy)
        origin.may_go_on.clear()
        first = pool.submit(LATE["get_or_set"], cache, origin)
        assert origin.begun.wait(30)
        comes_back(proxy, cache)
        origin.row = "new"
        wait_until(lambda: cache.delete_many(["row:1"]) == 0 and is_well(cache))
        before = misses(cache)
        second = pool.submit(LATE["get_or_set"], cache, origin)
        wait_until(lambda: misses(cache) > before)
        origin.may_go_on.set()
        assert (first.result(30), second.result(30)) == ("old", "new")

    @pytest.mark.parametrize("invalidate", INVALIDATIONS.values(), ids=INVALIDATIONS)
    def test_invalidated_in_vain(self, cache, proxy, origin, pool, invalidate):
        """Without Redis too, this process serves nothing that is older than its own last invalidation."""
        goes_away(proxy)
        origin.may_go_on.clear()
        first = pool.submit(LATE["get_or_set"], cache, origin)
        assert origin.begun.wait(30)
        origin.row = "new"
        invalidate(cache)
        second = pool.submit(LATE["get_or_set"], cache, origin)
        wait_until(lambda: origin.calls == 2)
        origin.may_go_on.set()
        assert (first.result(30), second.result(30)) == ("old", "new")


class TestServes:
    @pytest.mark.parametrize(
        ("landing", "unasked", "serves"),
        [
            (Landing(1, None, is_current=True, asked_at=5 * SECOND), 0, True),
            (Landing(1, None, is_current=True, asked_at=3 * SECOND), 0, False),
            (Landing(1, None, is_current=False, asked_at=5 * SECOND), 9, False),
            (Landing(1, None, is_current=None), 0, False),
            (Landing(1, None, is_current=None), 2, False),
            (Landing(1, None, is_current=None), 3, True),
        ],
        ids=["current", "asked before", "void", "unknown", "unknown, too old", "unknown, of late"],
    )
    def test_serves__begun_before(self, landing, unasked, serves):
        """What was begun before the caller came must have been current after that, or nobody can be asked."""
        flight = Flight(b"a", 30)
        flight.started_at = 1 * SECOND
        assert flight.serves(landing, 4 * SECOND, unasked * SECOND) is serves

    def test_serves__begun_after(self):
        """What was begun after the caller came is good for it in any case."""
        flight = Flight(b"a", 30)
        assert flight.serves(Landing(1, None, is_current=False), flight.started_at)


def slowly(value):
    """A loader that takes some milliseconds."""

    def load():
        time.sleep(0.01)
        return value

    return load


def goes_away(proxy):
    """Let the server be silent, and have all connections end, so that no call waits for long."""
    proxy.is_silent = True
    proxy.drop_connections()


def comes_back(proxy, cache):
    proxy.is_silent = False
    proxy.drop_connections()
    cache._runtime.breaker.forget()


def is_well(cache):
    """Whether the last call, and what failed before, has reached Redis."""
    return not cache._runtime.recovery.is_pending and not cache._runtime.breaker.is_troubled
