from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from django_callcache.cache.filling import FillToken
from django_callcache.cache.operations.computations import fingerprint
from django_callcache.exceptions import LoaderFailed, LoaderTimeout
from django_callcache.outbox.dirty import DirtyEntries
from tests.cache.waiting import wait_until

WRITES = {
    "delete": lambda cache: cache.delete("c:1"),
    "delete_many": lambda cache: cache.delete_many(["c:0", "c:1"]),
    "set": lambda cache: cache.set("c:1", "theirs", 3600),
    "set for a moment": lambda cache: cache.set("c:1", "theirs", 0.001),
    "set to nothing": lambda cache: cache.set("c:1", "theirs", 0),
    "set_many for a moment": lambda cache: cache.set_many({"c:1": "theirs"}, 0.001),
    "add for a moment": lambda cache: cache.add("c:1", "theirs", 0.001),
    "set, then touch": lambda cache: (cache.set("c:1", "theirs", 3600), cache.touch("c:1", 0.001)),
    "set, then touch_many": lambda cache: (
        cache.set("c:1", "theirs", 3600),
        cache.touch_many(["c:1"], 0.001),
    ),
    "set, then pexpire_at": lambda cache: (cache.set("c:1", "theirs", 3600), cache.pexpire_at("c:1", 1)),
    "delete_pattern": lambda cache: cache.delete_pattern("c:*"),
    "delete_pattern of all": lambda cache: cache.delete_pattern("*1"),
    "delete_prefix": lambda cache: cache.delete_prefix("c:"),
    "clear": lambda cache: cache.clear(),
    "incr_version onto it": lambda cache: (
        cache.set("c:1", "theirs", 0.05, version=0),
        cache.incr_version("c:1", version=0),
    ),
    "flush_db": lambda cache: cache.flush_db(),
}
"""What makes a value that is being computed one of the past."""

SYNCED = {"RULES": {"c:": {"sync": "lww"}}}
GRACEFUL = {"RULES": {"c:": {"grace": 60, "ttl": 0.05}}}


def fail(*_):
    raise LookupError("the database is down")


def run_out(cache, key="c:1"):
    """Wait until a value has expired."""
    wait_until(lambda: not cache.has_key(key))


class TestNoStaleFill:
    @pytest.mark.needs_rights("FLUSHDB", case="flush_db")
    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    @pytest.mark.parametrize("options", [{}, SYNCED], ids=["plain", "synced"])
    async def test_get_or_set__written_meanwhile(self, face_of, make_cache, options, write):
        """What was computed before a write is not stored after it, though that is gone by then."""
        cache = make_cache(**options)

        def load():
            write(cache)
            wait_until(lambda: cache.get("c:1") in (None, "theirs"))
            if cache.ttl("c:1") != 3600:
                run_out(cache)
            return "old"

        assert await face_of(cache).get_or_set("c:1", load, 600) in ("old", "theirs")
        assert cache.get("c:1") in (None, "theirs")

    async def test_get_or_set__refresh_meets_the_same_value_again(self, make_cache, redis_client):
        """A value that is set anew while it is refreshed stays, though its bytes are the same."""
        cache = make_cache()
        cache.set("a", "A", 1000)
        operations = cache.native
        wanted = operations._wanted("a", None, None, 1000, operations._prefix("a").filling)
        seen = fingerprint(redis_client.get("t:1:a"))
        claim = await operations._asked(wanted, b"l" * 16, seen, is_open=False)
        assert claim.lease
        cache.set("a", "A", 2000)
        landing = await operations._landing(wanted, claim, "B", wanted.context("A"), 0)
        assert not landing.is_stored
        assert cache.get("a") == "A"

    async def test_get_or_set__others_deleted_by_pattern(self, face_of, make_cache):
        """Deleting by pattern among other keys voids nothing."""
        cache = make_cache()
        face = face_of(cache)
        load = lambda: (cache.delete_pattern("d:*"), cache.delete_prefix("d:"), "made")[-1]  # noqa: E731
        assert await face.get_or_set("c:1", load) == "made"
        assert cache.get("c:1") == "made"

    def test_get_or_set__asked_after_a_deletion(self, make_cache):
        """Who asks after a deletion gets nothing that was begun before it, though somebody still computes."""
        cache = make_cache()
        begun, go_on = threading.Event(), threading.Event()

        def slow():
            begun.set()
            go_on.wait(30)
            return "old"

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(cache.get_or_set, "a", slow)
            begun.wait(30)
            cache.delete("a")
            second = pool.submit(cache.get_or_set, "a", lambda: "new")
            wait_until(lambda: sum(each["misses"] for each in cache.counted().values()) == 2)
            go_on.set()
            assert (first.result(30), second.result(30)) == ("old", "new")
        assert cache.get("a") == "new"

    async def test_get_or_set__undecodable_value(self, face, redis_client):
        """What is no value of ours is replaced."""
        redis_client.set("t:1:a", b"\x80rubbish")
        redis_client.rpush("t:1:b", "a list")
        assert await face.get_or_set("a", lambda: 1) == 1
        assert await face.get_or_set("b", lambda: 2) == 2
        assert await face.get_many(["a", "b"]) == {"a": 1, "b": 2}

    async def test_get_or_set__synced(self, face_of, make_cache, redis_client):
        """A computed value of a synced prefix is a write like any other."""
        face = face_of(make_cache(**SYNCED))
        assert await face.get_or_set("c:1", lambda: "made", 600) == "made"
        entries = DirtyEntries(redis_client, face.cache.redis_keys)
        assert [each.remote_key for each in entries.claim(10, 10**6, 30).entries] == ["1:c:1"]

    async def test_get_or_set__leaves_nothing_behind(self, face, redis_client):
        """After a computation Redis holds its value and nothing else."""
        await face.get_or_set("a", lambda: 1)
        assert redis_client.keys() == [b"t:1:a"]


class TestForce:
    @pytest.mark.parametrize("options", [{}, SYNCED, GRACEFUL], ids=["plain", "synced", "graceful"])
    async def test_force__replaces(self, face_of, make_cache, options):
        """A forced computation replaces the value that is there, for everybody."""
        face = face_of(make_cache(**options))
        await face.set("c:1", "before", 600)
        assert await face.get_or_set("c:1", lambda: "after", 900, force=True) == "after"
        assert await face.get("c:1") == "after"
        assert 890 < await face.ttl("c:1") <= 900

    async def test_force__no_value(self, face):
        """Where there is none it is stored, a None too; a plain value needs no computing."""
        assert await face.get_or_set("a", lambda: None, force=True) is None
        assert await face.get("a", "nothing") is None
        assert await face.get_or_set("a", "plain", force=True) == "plain"
        assert await face.get("a") == "plain"

    async def test_force__what_lies_there_is_no_value(self, face, redis_client):
        """What is no value of ours is replaced."""
        redis_client.rpush("t:1:a", "a list")
        redis_client.set("t:1:b", b"\x80rubbish")
        assert await face.get_or_set("a", lambda: 1, force=True) == 1
        assert await face.get_or_set("b", lambda: 2, force=True) == 2
        assert await face.get("b") == 2

    @pytest.mark.needs_rights("FLUSHDB", case="flush_db")
    @pytest.mark.parametrize("name", [name for name in WRITES if "add" not in name])
    @pytest.mark.parametrize("options", [{}, SYNCED], ids=["plain", "synced"])
    async def test_force__written_meanwhile(self, face_of, make_cache, options, name):
        """What was computed before a write is not stored after it."""
        cache = make_cache(**options)
        cache.set("c:1", "before", 600)

        def load():
            WRITES[name](cache)
            wait_until(lambda: cache.get("c:1") in (None, "theirs"))
            if cache.ttl("c:1") != 3600:
                run_out(cache)
            return "old"

        assert await face_of(cache).get_or_set("c:1", load, 600, force=True) in ("old", "theirs")
        assert cache.get("c:1") in (None, "theirs")

    def test_force__begun_before(self, make_cache):
        """What somebody began to compute before the call does not do."""
        cache = make_cache()
        begun, go_on = threading.Event(), threading.Event()

        def slow():
            begun.set()
            go_on.wait(30)
            return "old"

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(cache.get_or_set, "a", slow)
            begun.wait(30)
            second = pool.submit(cache.get_or_set, "a", lambda: "new", force=True)
            go_on.set()
            assert (first.result(30), second.result(30)) == ("old", "new")
        assert cache.get("a") == "new"

    async def test_force__loader_fails(self, face):
        """The value stays where it cannot be computed anew."""
        await face.set("a", "before")
        with pytest.raises(LookupError):
            await face.get_or_set("a", fail, force=True)
        assert await face.get("a") == "before"
        assert await face.get_or_set("a", lambda: "after", force=True) == "after"

    async def test_force__redis_down(self, face_of, make_cache):
        """Without Redis the value is computed and returned."""
        face = face_of(make_cache("redis://127.0.0.1:1/0"))
        assert await face.get_or_set("a", lambda: "made", force=True) == "made"


class TestGetForFill:
    async def test_fill__missing(self, face):
        """A missing value comes with a token; what is filled in by it is stored."""
        value, token = await face.get_for_fill("a", "nothing")
        assert value == "nothing"
        assert await face.fill("a", "made", token, 50) is True
        assert await face.ttl("a") == 50
        assert await face.get_for_fill("a") == ("made", None)

    async def test_fill__none(self, face):
        """A stored None is a value."""
        await face.set("a", None)
        assert await face.get_for_fill("a", "nothing") == (None, None)

    @pytest.mark.needs_rights("FLUSHDB", case="flush_db")
    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    async def test_fill__written_meanwhile(self, face_of, make_cache, write):
        """A token is void once its key was written, by whatever call."""
        cache = make_cache()
        face = face_of(cache)
        _, token = await face.get_for_fill("c:1")
        write(cache)
        if cache.ttl("c:1") != 3600:
            run_out(cache)
        assert await face.fill("c:1", "old", token) is False
        assert cache.get("c:1") in (None, "theirs")

    async def test_fill__two_callers(self, face):
        """Of two callers who compute at a time the first to fill stores."""
        _, first = await face.get_for_fill("a")
        _, second = await face.get_for_fill("a")
        assert await face.fill("a", 1, second) is True
        assert await face.fill("a", 2, first) is False
        assert await face.get("a") == 1

    async def test_fill__never(self, face):
        """Who never fills keeps nobody waiting."""
        await face.get_for_fill("a")
        started = time.monotonic()
        assert await face.get_or_set("a", lambda: 1) == 1
        assert time.monotonic() - started < 25
        assert await face.get("a") == 1

    @pytest.mark.parametrize("token", [None, FillToken(b"t:1:b", b"", b"", b"0")])
    async def test_fill__wrong_token(self, face, token):
        """A token of another key, or none, is refused with the cure."""
        with pytest.raises(ValueError, match="get_for_fill"):
            await face.fill("a", 1, token)

    async def test_fill__redis_down(self, face_of, make_cache):
        """Without Redis there is nothing to find and nothing is stored."""
        face = face_of(make_cache("redis://127.0.0.1:1/0"))
        value, token = await face.get_for_fill("a", "nothing")
        assert value == "nothing"
        assert await face.fill("a", 1, token) is False


class TestRedisDown:
    async def test_get_or_set__one_call_a_process(self, make_cache):
        """Without Redis a process still makes one call at a time, and callers get what it brings."""
        cache = make_cache("redis://127.0.0.1:1/0")
        calls = []

        async def load():
            calls.append(1)
            await asyncio.sleep(0.2)
            return len(calls)

        assert await asyncio.gather(*(cache.aget_or_set("a", load) for _ in range(20))) == [1] * 20

    async def test_get_or_set__lost_while_computing(self, face_of, make_cache, start_redis):
        """A value is returned though it could not be stored."""
        server = start_redis()
        face = face_of(make_cache(server.url, DEADLINE=1))
        assert await face.get_or_set("a", lambda: (server.stop(), "made")[1]) == "made"


class TestGrace:
    async def test_error__stale(self, face_of, make_cache):
        """Within its grace an expired value stands in for a loader that fails."""
        face = face_of(make_cache(**GRACEFUL))
        assert await face.get_or_set("c:1", lambda: {"n": 1}) == {"n": 1}
        run_out(face.cache)
        assert await face.get_or_set("c:1", fail) == {"n": 1}
        assert await face.get_or_set("c:1", lambda: {"n": 2}) == {"n": 2}

    async def test_error__no_stale_value(self, face_of, make_cache):
        """Without one the error is the caller's, and the next call computes."""
        face = face_of(make_cache(**GRACEFUL))
        with pytest.raises(LookupError):
            await face.get_or_set("c:1", fail)
        assert await face.get_or_set("c:1", lambda: 1) == 1

    async def test_error__past_its_grace(self, face):
        """After its grace a value is gone."""
        await face.get_or_set("a", lambda: 1, 0.01, grace=0.05)
        await asyncio.sleep(0.1)
        with pytest.raises(LookupError):
            await face.get_or_set("a", fail, grace=0.05)

    async def test_stated_by_the_caller(self, face):
        """A caller may ask for a grace that no rule states."""
        await face.get_or_set("a", lambda: 1, 0.01, grace=60)
        run_out(face.cache, "a")
        assert await face.get_or_set("a", fail, grace=60) == 1
        with pytest.raises(LookupError):
            await face.get_or_set("a", fail)

    def test_others_do_not_wait(self, make_cache):
        """While one computes, all others get the expired value at once."""
        cache = make_cache(**GRACEFUL)
        cache.get_or_set("c:1", lambda: "old")
        run_out(cache)
        begun, go_on = threading.Event(), threading.Event()

        def load():
            begun.set()
            go_on.wait(30)
            return "new"

        with ThreadPoolExecutor(1) as pool:
            leader = pool.submit(cache.get_or_set, "c:1", load, 600)
            begun.wait(30)
            assert [cache.get_or_set("c:1", fail) for _ in range(5)] == ["old"] * 5
            assert asyncio.run(cache.aget_or_set("c:1", fail)) == "old"
            go_on.set()
            assert leader.result(30) == "new"
        assert cache.get("c:1") == "new"

    @pytest.mark.parametrize("options", [{}, {"sync": "lww"}], ids=["plain", "synced"])
    @pytest.mark.needs_rights("FLUSHDB", case="flush_db")
    @pytest.mark.parametrize("name", [name for name in WRITES if not name.startswith(("add", "incr"))])
    async def test_written__no_stale_copy(self, face_of, make_cache, options, name):
        """What was deleted or written since is never served stale."""
        cache = make_cache(RULES={"c:": {"grace": 60, **options}})
        cache.get_or_set("c:1", lambda: "old", 600)
        WRITES[name](cache)
        cache.redis_client().delete("t:1:c:1")  # as if it had expired
        with pytest.raises(LookupError):
            await face_of(cache).get_or_set("c:1", fail)

    async def test_lost_fence(self, face_of, make_cache, redis_client):
        """Where Redis has lost what deletions by pattern have left, no stale copy is served."""
        face = face_of(make_cache(**GRACEFUL))
        await face.get_or_set("c:1", lambda: "old")
        await face.delete_pattern("c:*")
        redis_client.delete(face.cache.redis_keys.fence())
        with pytest.raises(LookupError):
            await face.get_or_set("c:1", fail)

    async def test_synced__expired(self, face_of, make_cache):
        """Synced prefixes keep stale copies too."""
        face = face_of(make_cache(RULES={"c:": {"grace": 60, "sync": "lww"}}))
        await face.get_or_set("c:1", lambda: "old", 0.01)
        run_out(face.cache)
        assert await face.get_or_set("c:1", fail) == "old"


class TestTimeouts:
    async def test_soft__stale_at_once(self, face_of, make_cache):
        """Who would wait longer than ``soft_timeout`` gets the stale value; the loader's result is stored."""
        face = face_of(make_cache(RULES={"c:": {"grace": 60, "soft_timeout": 0}}))
        await face.get_or_set("c:1", lambda: "old", 0.01)
        run_out(face.cache)
        go_on = threading.Event()

        async def slowly():
            await asyncio.to_thread(go_on.wait, 30)
            return "new"

        def load():
            go_on.wait(30)
            return "new"

        loader = slowly if face.is_native else load
        assert await face.get_or_set("c:1", loader, 600) == "old"
        go_on.set()
        await asyncio.to_thread(wait_until, lambda: face.cache.get("c:1") == "new")

    async def test_hard__error(self, face):
        """Without a stale value ``hard_timeout`` raises, and what the loader brings later is stored."""
        go_on = threading.Event()

        async def slowly():
            await asyncio.to_thread(go_on.wait, 30)
            return "made"

        def load():
            go_on.wait(30)
            return "made"

        with pytest.raises(LoaderTimeout, match=r"'a' took longer than 0\.05 seconds"):
            await face.get_or_set("a", slowly if face.is_native else load, hard_timeout=0.05)
        go_on.set()
        await asyncio.to_thread(wait_until, lambda: face.cache.get("a") == "made")

    async def test_hard__in_time(self, face):
        """A loader that is in time is not disturbed, and its errors are the caller's."""
        assert await face.get_or_set("a", lambda: 1, hard_timeout=30) == 1
        with pytest.raises(LookupError):
            await face.get_or_set("b", fail, hard_timeout=30)

    async def test_hard__a_waiter(self, make_cache):
        """It holds for those who wait for another's loader too."""
        cache = make_cache()
        begun, go_on = threading.Event(), threading.Event()

        def load():
            begun.set()
            go_on.wait(30)
            return "made"

        leader = asyncio.create_task(asyncio.to_thread(cache.get_or_set, "a", load))
        await asyncio.to_thread(begun.wait, 30)
        with pytest.raises(LoaderTimeout):
            await asyncio.to_thread(partial(cache.get_or_set, "a", load, hard_timeout=0.05))
        with pytest.raises(LoaderTimeout):
            await cache.aget_or_set("a", load, hard_timeout=0.05)
        go_on.set()
        assert await leader == "made"


class TestRefreshAhead:
    async def test_near_its_end(self, face_of, make_cache):
        """A value near its end is computed anew in the background, and its reader does not wait."""
        face = face_of(make_cache())
        await face.get_or_set("a", lambda: (time.sleep(0.01), "old")[1], 600, refresh_ahead=10**9)
        assert await face.get_or_set("a", lambda: "new", 600, refresh_ahead=10**9) == "old"
        await asyncio.to_thread(wait_until, lambda: face.cache.get("a") == "new")

    async def test_far_from_its_end(self, face):
        """A value far from its end is left alone."""
        await face.get_or_set("a", lambda: "old", 600, refresh_ahead=1)
        assert [await face.get_or_set("a", fail, refresh_ahead=1) for _ in range(20)] == ["old"] * 20

    async def test_error(self, face, caplog):
        """A refresh that fails leaves the value as it is, and is logged."""
        await face.get_or_set("a", lambda: (time.sleep(0.01), "old")[1], 600, refresh_ahead=10**9)
        assert await face.get_or_set("a", fail, refresh_ahead=10**9) == "old"
        await asyncio.to_thread(wait_until, lambda: "loader=failed" in caplog.text)
        assert await face.get("a") == "old"

    async def test_with_copies(self, face_of, make_cache):
        """It works where the process keeps copies: a copy ends when the refresh is due."""
        face = face_of(make_cache(RULES={"c:": {"refresh_ahead": 10**9}}))
        await face.get_or_set("c:1", lambda: (time.sleep(0.01), "old")[1], 600)
        assert await face.get_or_set("c:1", lambda: "new", 600) == "old"
        await asyncio.to_thread(wait_until, lambda: face.cache.get_or_set("c:1", fail, 600) == "new")


class TestContext:
    async def test_no_stale_value(self, face):
        """A loader with one required argument gets a context; at first there is no stale value."""
        seen = []
        await face.get_or_set("a", lambda context: seen.append((context.has_stale, context.stale)))
        assert seen == [(False, None)]

    async def test_stale_value(self, face_of, make_cache):
        """It shows the expired value, for loaders that can build on it."""
        face = face_of(make_cache(**GRACEFUL))
        await face.get_or_set("c:1", lambda: [1])
        run_out(face.cache)
        assert await face.get_or_set("c:1", lambda context: [*context.stale, 2]) == [1, 2]

    async def test_set_options(self, face):
        """The loader decides the timeout by what it has loaded."""

        def load(context):
            context.set_options(timeout=77)
            return 1

        assert await face.get_or_set("a", load, 5) == 1
        assert await face.ttl("a") == 77

    async def test_skip(self, face, redis_client):
        """What is skipped is returned and not stored."""

        def load(context):
            context.skip()
            return object

        assert await face.get_or_set("a", load) is object
        assert redis_client.dbsize() == 0

    async def test_fail(self, face_of, make_cache):
        """A loader that gives up has its callers get the stale value, or an error."""
        face = face_of(make_cache(**GRACEFUL))
        give_up = lambda context: context.fail("no answer")  # noqa: E731
        with pytest.raises(LoaderFailed, match="no answer"):
            await face.get_or_set("c:1", give_up)
        await face.get_or_set("c:1", lambda: 1)
        run_out(face.cache)
        assert await face.get_or_set("c:1", give_up) == 1

    async def test_optional_arguments(self, face):
        """A loader whose arguments all have defaults is called without any."""
        assert await face.get_or_set("a", lambda number=3, *more, **named: number) == 3
        assert await face.get_or_set("b", dict) == {}


class TestOptions:
    async def test_jitter(self, face):
        """The part taken off a TTL differs from value to value, and is no larger than stated."""
        for number in range(30):
            await face.get_or_set(str(number), lambda: 1, 10_000, jitter=0.5)
        left = [await face.ttl(str(number)) for number in range(30)]
        assert 4900 < min(left) < max(left) <= 10_000
        assert len(set(left)) > 5

    async def test_jitter__of_the_rule(self, face_of, make_cache):
        """That of a rule does not change a timeout that the caller gives."""
        face = face_of(make_cache(RULES={"c:": {"jitter": 0.5, "ttl": 10_000}}))
        await face.get_or_set("c:1", lambda: 1, 10_000)
        assert await face.ttl("c:1") == 10_000
        for number in range(2, 30):
            await face.get_or_set(f"c:{number}", lambda: 1)
        assert min([await face.ttl(f"c:{number}") for number in range(2, 30)]) < 9500

    @pytest.mark.parametrize(
        "option",
        [{"grace": -1}, {"refresh_ahead": -1}, {"hard_timeout": -1}, {"lock_timeout": 0}, {"jitter": 1}],
        ids=str,
    )
    async def test_wrong(self, face, option):
        """An option that cannot be is refused with its name and its value."""
        (name, value) = next(iter(option.items()))
        with pytest.raises(ValueError, match=f"{name} is {value}: give"):
            await face.get_or_set("a", lambda: 1, **option)
