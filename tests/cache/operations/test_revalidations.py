"""Hits that are compared with their origin."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
from collections import Counter

import pytest

from django_callcache.cache import revalidation
from django_callcache.cache.background import background
from django_callcache.cache.loading import register_loader, sources
from django_callcache.cache.revalidation import read_staleness
from django_callcache.ttl.change_tables import ALL_CHANGES, OBSERVATIONS
from tests.cache.linked import keep
from tests.cache.waiting import wait_until

pytestmark = pytest.mark.usefixtures("undisturbed")

RULE = {"ttl": "adaptive", "revalidate": 1}


class Origin:
    """Rows that a loader reads; it counts its calls and may be held up."""

    def __init__(self):
        self.rows = {"1": "old", "2": "old"}
        self.calls = 0
        self.error = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, names):
        self.calls += 1
        assert self.may_go_on.wait(30)
        if self.error is not None:
            raise self.error
        return {name: self.rows[name] for name in names if name in self.rows}


@pytest.fixture
def origin():
    """The origin of ``row:``; nobody waits between two comparisons."""
    origin = Origin()
    register_loader("row:", origin)
    yield origin
    origin.may_go_on.set()
    sources.remove("default", "row:")


@pytest.fixture(autouse=True)
def ended(make_cache, origin):
    """Let what goes on in the background end before the caches of a test are closed."""
    yield
    origin.may_go_on.set()
    wait_until(lambda: not background._busy)


@pytest.fixture
def hurried(monkeypatch):
    """Let comparisons follow each other at once."""
    monkeypatch.setattr(revalidation, "PAUSE_SECONDS", 0.001)


@pytest.fixture(params=["blocking", "asyncio"])
def call(request):
    """Call a method of a cache by its blocking or its asyncio name; wait for what it does behind."""

    def call(cache, name, *arguments, **options):
        if request.param == "blocking":
            return getattr(cache, name)(*arguments, **options)

        async def called():
            try:
                return await getattr(cache, f"a{name}")(*arguments, **options)
            finally:
                others = asyncio.all_tasks() - {asyncio.current_task()}
                behind = [task for task in others if "_compared" in repr(task.get_coro())]
                await asyncio.gather(*behind)

        return asyncio.run(called())

    call.is_native = request.param == "asyncio"
    return call


def found(cache, prefix="row:"):
    """What all processes have found: fresh, stale, unclear."""
    (reply,) = cache.ask_redis(("HGETALL", cache.redis_keys.checked(prefix)))
    known = read_staleness(reply)
    return known.fresh_count, known.stale_count, known.unclear_count


def compare(cache, is_enough, key="row:1"):
    """Read a key until that has been found; not while a comparison goes on, for another would follow it."""

    def has_found():
        if background._busy:
            return False
        if is_enough(*found(cache, cache.prefix_of(key))):
            return True
        cache.get(key)
        return False

    wait_until(has_found)


def commands_of(client):
    stats = client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()})


@pytest.mark.usefixtures("hurried")
class TestHit:
    @pytest.mark.parametrize("near", [False, "rules"])
    def test_get__fresh(self, make_cache, call, origin, redis_client, near):
        """A hit whose origin says the same is counted as fresh; its entry keeps the time it had left."""
        cache = make_cache(NEAR=near, RULES={"row:": RULE})
        call(cache, "set", "row:1", "old", 500)
        assert call(cache, "get", "row:1") == "old"
        wait_until(lambda: found(cache) == (1, 0, 0))
        assert redis_client.ttl(cache.make_key("row:1")) <= 500
        counted = cache.counted()["row:"]
        assert (counted["checked"], counted["stale"]) == (1, 0)

    def test_get__stale(self, make_cache, call, origin, redis_client):
        """A stale hit is counted, and the entry is replaced by what the loader says."""
        cache = make_cache(NEAR=False, RULES={"row:": RULE})
        call(cache, "set", "row:1", "old")
        origin.rows["1"] = "new"
        assert call(cache, "get", "row:1") == "old"
        wait_until(lambda: found(cache) == (0, 1, 0))
        sampler = cache._runtime.samplers()["row:"]
        wait_until(lambda: sampler.staleness.known.stale_count == 1)
        counted = cache.counted()["row:"]
        assert (counted["checked"], counted["stale"]) == (1, 1)
        assert call(cache, "get", "row:1") == "new"

    def test_get__stale_teaches_the_policy(self, make_cache, call, origin):
        """What a comparison found to have changed is learnt from as a reload."""
        cache = make_cache(NEAR=False, RULES={"row:": RULE})
        call(cache, "set", "row:1", "old")
        origin.rows["1"] = "new"
        call(cache, "get", "row:1")
        wait_until(lambda: found(cache) == (0, 1, 0))
        added = cache._runtime.learners()["row:"].tables.added
        assert (added[OBSERVATIONS], added[ALL_CHANGES]) == (1, 1)

    def test_get_many(self, make_cache, call, origin):
        """Hits of many keys at once are drawn from too."""
        cache = make_cache(NEAR=False, RULES={"row:": RULE})
        call(cache, "set", "row:1", "old")
        assert call(cache, "get_many", ["row:1", "row:9"]) == {"row:1": "old"}
        wait_until(lambda: found(cache) == (1, 0, 0))

    def test_load(self, make_cache, call, origin):
        """A record that `load` finds in the cache is compared once."""
        cache = make_cache(NEAR=False, RULES={"row:": RULE})
        assert call(cache, "load", "row:1") == "old"
        assert (found(cache), origin.calls) == ((0, 0, 0), 1)
        assert call(cache, "load", "row:1") == "old"
        wait_until(lambda: found(cache) == (1, 0, 0))
        assert origin.calls == 2

    def test_get_or_set__callers_loader(self, make_cache, call):
        """Where the prefix has no loader, the caller's callable says what is so now."""
        cache = make_cache(NEAR=False, RULES={"page:": RULE})
        values = iter(["first", "second", "second"])

        def plain():
            return next(values)

        async def coroutine():
            return next(values)

        factory = coroutine if call.is_native else plain
        assert call(cache, "get_or_set", "page:1", factory, 60) == "first"
        assert call(cache, "get_or_set", "page:1", factory, 60) == "first"
        wait_until(lambda: found(cache, "page:") == (0, 1, 0))
        assert call(cache, "get", "page:1") == "second"

    @pytest.mark.usefixtures("hurried_links")
    def test_get__near_hit(self, make_near, origin):
        """Hits of the near cache are drawn from too: a stale one is found although Redis is not asked."""
        register_loader("k:", origin)
        try:
            cache = make_near(RULES={"k:": RULE}, MAX_STALENESS=20)
            keep(cache, "k:1", "old")
            compare(cache, lambda fresh, *_: fresh >= 1, "k:1")
            before = cache.counted()["k:"]
            origin.rows["1"] = "new"
            compare(cache, lambda _, stale, __: stale >= 1, "k:1")
            after = cache.counted()["k:"]
            assert after["near_hits"] > before["near_hits"]
            wait_until(lambda: cache.get("k:1") == "new")
        finally:
            sources.remove("default", "k:")

    def test_get__absent_record(self, make_cache, call, origin):
        """That a record does not exist is a value to compare too."""
        cache = make_cache(NEAR=False, RULES={"row:": RULE})
        assert call(cache, "load", "row:9") is None
        origin.rows["9"] = "there"
        assert call(cache, "get", "row:9", "nothing") is None
        wait_until(lambda: found(cache) == (0, 1, 0))
        assert call(cache, "get", "row:9") == "there"

    def test_get__encrypted(self, make_cache, origin):
        """Encrypted values are compared by what they hold, not by their bytes, which differ each time."""
        cache = make_cache(NEAR=False, RULES={"row:": {**RULE, "sensitive": True}})
        cache.set("row:1", "old")
        assert cache.get("row:1") == "old"
        wait_until(lambda: found(cache) == (1, 0, 0))


class TestRestraint:
    @pytest.mark.needs_server("counts round trips to one server")
    def test_get__no_extra_command(self, make_cache, call, origin, redis_client):
        """A hit that is not drawn asks Redis for the value and for nothing else."""
        cache = make_cache(NEAR=False, RULES={"row:": {**RULE, "revalidate": 1e-9}})
        call(cache, "set", "row:1", "old")
        before = commands_of(redis_client)
        for _ in range(50):
            call(cache, "get", "row:1")
        asked = commands_of(redis_client) - before
        assert asked["get"] == 50
        assert not {"hget", "hmget", "hgetall", "time", "set", "eval", "evalsha"} & asked.keys()
        assert origin.calls == 0

    def test_get__nobody_waits(self, make_cache, origin):
        """The caller has its value while the loader still works."""
        cache = make_cache(NEAR=False, RULES={"row:": RULE})
        cache.set("row:1", "old")
        origin.may_go_on.clear()
        assert cache.get("row:1") == "old"
        assert found(cache) == (0, 0, 0)
        origin.may_go_on.set()
        wait_until(lambda: found(cache) == (1, 0, 0))

    def test_get__one_a_second(self, make_cache, origin, redis_client):
        """However many hits are drawn, the origin is asked once a second, by all processes together."""
        cache = make_cache(NEAR=False, RULES={"row:": RULE})
        cache.set("row:1", "old")
        redis_client.set(cache.redis_keys.checking("row:"), "another process", px=60_000)
        for _ in range(50):
            cache.get("row:1")
        redis_client.delete(cache.redis_keys.checking("row:"))
        assert origin.calls == 0
        assert found(cache) == (0, 0, 0)

    def test_may_start__pause(self):
        """A process compares again when the pause is over."""
        at = [100.0]
        sampler = revalidation.HitSampler("row:", 1.0, None, clock=lambda: at[0])
        assert [sampler.may_start(), sampler.may_start()] == [True, False]
        at[0] += revalidation.PAUSE_SECONDS
        assert sampler.may_start()

    def test_passes__share(self):
        """Each hit is drawn with the same chance, and independently of the others."""
        sampler = revalidation.HitSampler("row:", 0.02, None)
        drawn = [number for number in range(200_000) if sampler.passes()]
        assert 3400 < len(drawn) < 4600
        gaps = [later - earlier for earlier, later in itertools.pairwise(drawn)]
        assert min(gaps) < 5
        assert max(gaps) > 150

    @pytest.mark.usefixtures("hurried")
    def test_get__written_meanwhile(self, make_cache, origin):
        """A key written or deleted while the loader works tells nothing, and keeps what was written."""
        cache = make_cache(NEAR=False, RULES={"row:": RULE})
        for turn, change in enumerate((lambda: cache.set("row:1", "mine"), lambda: cache.delete("row:1"))):
            cache.set("row:1", "stale")
            calls = origin.calls
            origin.may_go_on.clear()
            wait_until(lambda calls=calls: cache.get("row:1") == "stale" and origin.calls > calls)
            change()
            origin.may_go_on.set()
            wait_until(lambda: not background._busy)  # it is noted after the flight has ended
            assert found(cache) == (0, 0, turn + 1)
            (kept,) = cache.ask_redis(("EXISTS", cache.make_key("row:1")))
            assert kept == (turn == 0)
        assert cache.get("row:1", "nothing") == "nothing"

    @pytest.mark.usefixtures("hurried")
    def test_get__unstable_bytes(self, make_cache, caplog):
        """Where two loads in a row differ nothing is called stale, nothing is stored, and it is said once."""
        number = iter(range(100))
        register_loader("row:", lambda names: {name: next(number) for name in names})
        try:
            cache = make_cache(NEAR=False, RULES={"row:": {**RULE, "stale_target": 0.02}})
            cache.set("row:1", "kept")
            compare(cache, lambda fresh, stale, unclear: unclear >= 3)
            assert found(cache)[:2] == (0, 0)
            assert cache._runtime.client().ttl(cache.make_key("row:1")) > 0
            assert caplog.text.count("two loads in a row") == 1
            assert cache._runtime.samplers()["row:"].staleness.known.log_factor == 0
            assert cache.get("row:1") == "kept"
        finally:
            sources.remove("default", "row:")

    @pytest.mark.usefixtures("hurried")
    def test_get__loader_fails(self, make_cache, origin, caplog):
        """A loader that fails tells nothing; the entry stays."""
        cache = make_cache(NEAR=False, RULES={"row:": {**RULE, "grace": 60}})
        cache.set("row:1", "old")
        origin.error = ValueError("the database is away")
        assert cache.get("row:1") == "old"
        wait_until(lambda: "revalidation=off" in caplog.text)
        wait_until(lambda: not cache._runtime.flights._running)
        assert cache.has_key("row:1")
        assert found(cache) == (0, 0, 0)

    @pytest.mark.usefixtures("hurried")
    def test_get__tagged(self, make_cache, origin):
        """An entry with tags that its loader knows nothing of is left alone: it would lose them."""
        cache = make_cache(NEAR=False, RULES={"row:": RULE})
        cache.set("row:1", "old", tags=["a"])
        origin.rows["1"] = "new"
        for _ in range(5):
            assert cache.get("row:1") == "old"
            wait_until(lambda: not cache._runtime.flights._running)
        assert origin.calls == 0

    def test_get__no_loader(self, make_cache, origin):
        """Without a loader nothing is compared, and nothing fails."""
        cache = make_cache(NEAR=False, RULES={"page:": RULE})
        cache.set("page:1", "old")
        assert cache.get("page:1") == "old"
        assert not cache._runtime.flights._running
        assert origin.calls == 0

    def test_get__redis_down(self, make_cache, origin):
        """Without Redis nothing is compared."""
        cache = make_cache("redis://127.0.0.1:1/0", NEAR=False, RULES={"row:": RULE})
        assert cache.get("row:1", "nothing") == "nothing"
        assert origin.calls == 0


@pytest.mark.usefixtures("hurried")
class TestTarget:
    def test_target__all_stale(self, make_cache, redis_client):
        """Where nearly every hit is stale, TTLs shrink until the cache is bypassed; that is explained."""
        at = iter(range(10**6))
        current = [0]

        def load(names):
            return dict.fromkeys(names, current[0])

        register_loader("row:", load)
        try:
            cache = make_cache(NEAR=False, RULES={"row:": {**RULE, "stale_target": 0.02}})
            for turn in range(1, 40):
                cache.set("row:1", "x", 60)  # never what the loader says
                current[0] = next(at)
                compare(cache, lambda _, stale, __, turn=turn: stale >= turn)
            decision = cache.explain_ttl("row:1")
            assert decision.ttl_seconds < 0.5
            assert "bypassed" in decision.reason
            assert decision.terms["stale_measured"] > 0.3
            lives = []
            for number in range(60):
                cache.set(f"row:{number}", "y")
                lives.append(redis_client.pttl(cache.make_key(f"row:{number}")))
            assert sum(life <= 50 for life in lives) > 40
            assert max(lives) <= 1000
        finally:
            sources.remove("default", "row:")

    def test_target__other_process(self, make_cache, origin):
        """What one process has found, another goes by after it has read it."""
        cache = make_cache(NEAR=False, RULES={"row:": {**RULE, "stale_target": 0.02}})
        for turn in range(1, 4):
            cache.set("row:1", f"stale {turn}")
            compare(cache, lambda _, stale, __, turn=turn: stale >= turn)
        other = make_cache(
            app={"SYNC": {"NAMESPACE": "tests"}, "STATS": {"FLUSH_INTERVAL": 3600}, "RELEASE": "other"},
            NEAR=False,
            RULES={"row:": {**RULE, "stale_target": 0.02}},
        )
        assert "factor" not in other.explain_ttl("row:1").terms
        other.read_learning()
        assert other.explain_ttl("row:1").terms["factor"] < 0.5

    def test_note__as_the_formula(self, make_cache):
        """The script in Redis and the formula in Python come to the same."""
        cache = make_cache(NEAR=False, RULES={"row:": {**RULE, "stale_target": 0.1}})
        operations, sampler = cache.blocking, cache._runtime.prefixes.of("row:1").sampler
        wanted = operations._wanted("row:1", None, None, None, cache._runtime.prefixes.of("row:1").filling)
        expected = sampler.staleness.known
        for is_stale in (True, False, True, True, False):
            note = operations._note(wanted, sampler, revalidation.STALE if is_stale else revalidation.FRESH)
            assert inspect.iscoroutine(note)
            with pytest.raises(StopIteration):
                note.send(None)
            known = sampler.staleness.known
            expected = expected.after(is_stale=is_stale, target=0.1, now=known.checked_at)
            assert known.checks == pytest.approx(expected.checks)
            assert known.stale == pytest.approx(expected.stale)
            assert known.log_factor == pytest.approx(expected.log_factor, abs=1e-4)
        assert found(cache) == (2, 3, 0)
