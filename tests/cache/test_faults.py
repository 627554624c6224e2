"""What callers see of a Redis that is down, hung, full or of another mind."""

from __future__ import annotations

import itertools
import logging
import os
import signal
from contextlib import contextmanager

import django_redis.exceptions
import pytest
import redis
from redis import exceptions as redis_errors

from django_callcache.cache import CallCache
from django_callcache.cache.faults import fault_in, fault_of
from django_callcache.exceptions import (
    CallCacheError,
    RedisFault,
    RedisMisconfigured,
    RedisRefused,
    RedisUnavailable,
    SyncNotRecorded,
    SyncUncertain,
    Uncertain,
    WriteUncertain,
)
from testproject.parts.child import LOOPBACK, free_port
from tests.cache.conftest import Face
from tests.cache.proxy import Proxy
from tests.cache.waiting import wait_until

SYNCED = {"s:": {"sync": "lww"}}
DEFAULT = object()

DEGRADED = {
    "get": (("a", DEFAULT), DEFAULT),
    "set": (("a", 1), False),
    "add": (("a", 1), False),
    "get_or_set": (("a", lambda: 5), 5),
    "delete": (("a",), False),
    "touch": (("a", 5), False),
    "has_key": (("a",), False),
    "incr": (("a",), None),
    "decr": (("a", 1.5), None),
    "incr_version": (("a",), 1),
    "decr_version": (("a",), 1),
    "ttl": (("a",), 0),
    "pttl": (("a",), 0),
    "persist": (("a",), False),
    "expire": (("a", 5), False),
    "pexpire": (("a", 5), False),
    "expire_at": (("a", 2e9), False),
    "pexpire_at": (("a", 2e12), False),
    "get_many": ((["a", "b"],), {}),
    "set_many": (({"a": 1, "b": 2},), ["a", "b"]),
    "delete_many": ((["a", "b"],), 0),
    "touch_many": ((["a", "b"], 5), 0),
    "keys": ((), []),
    "iter_keys": (("*",), []),
    "count": ((), 0),
    "delete_pattern": (("*",), 0),
    "delete_prefix": (("a",), 0),
    "delete_tags": (("red",), 0),
    "clear": ((), False),
    "flush_db": ((), False),
    "sadd": (("a", 1), 0),
    "srem": (("a", 1), 0),
    "scard": (("a",), 0),
    "sismember": (("a", 1), False),
    "smismember": (("a", 1, 2), [False, False]),
    "smembers": (("a",), set()),
    "sdiff": (("a", "b"), set()),
    "sinter": (("a", "b"), set()),
    "sunion": (("a", "b"), set()),
    "sdiffstore": (("c", "a", "b"), 0),
    "sinterstore": (("c", "a", "b"), 0),
    "sunionstore": (("c", "a", "b"), 0),
    "smove": (("a", "b", 1), False),
    "spop": (("a",), None),
    "srandmember": (("a", 2), []),
    "sscan": (("a",), set()),
    "sscan_iter": (("a",), []),
    "hset": (("a", "f", 1), 0),
    "hget": (("a", "f", DEFAULT), DEFAULT),
    "hgetall": (("a",), {}),
    "hdel": (("a", "f"), 0),
    "hlen": (("a",), 0),
    "hkeys": (("a",), []),
    "hexists": (("a", "f"), False),
    "zadd": (("a", {"m": 1}), None),
    "zcard": (("a",), 0),
    "zcount": (("a", 0, 1), 0),
    "zincrby": (("a", 1, "m"), None),
    "zpopmax": (("a",), None),
    "zpopmin": (("a", 2), []),
    "zrange": (("a", 0, -1), []),
    "zrevrange": (("a", 0, -1), []),
    "zrangebyscore": (("a", 0, 1), []),
    "zrevrangebyscore": (("a", 1, 0), []),
    "zrank": (("a", "m"), None),
    "zrem": (("a", "m"), 0),
    "zremrangebyscore": (("a", 0, 1), 0),
    "zscore": (("a", "m"), None),
}
"""Every method, arguments for it, and what it answers when Redis fails it."""

ONCE = {
    "incr": (("n", 2), lambda admin: admin.get("t:1:n") == b"7"),
    "decr": (("n", 2), lambda admin: admin.get("t:1:n") == b"3"),
    "zincrby": (
        ("z", 2, "a"),
        lambda admin: sorted(dict(admin.zrange("t:1:z", 0, -1, withscores=True)).values()) == [2, 3, 3],
    ),
    "zpopmin": (("z",), lambda admin: admin.zcard("t:1:z") == 2),
}
"""What must not be repeated: arguments, and what the server has after it ran once."""

RECORDING = {
    "set": ("s:1", 1),
    "add": ("s:1", 1),
    "delete": ("s:1",),
    "touch": ("s:1", 5),
    "incr": ("s:1",),
    "decr": ("s:1", 1.5),
    "incr_version": ("s:1",),
    "persist": ("s:1",),
    "expire": ("s:1", 5),
    "pexpire_at": ("s:1", 2e12),
    "set_many": ({"x:1": 1, "s:1": 2},),
    "delete_many": (["s:1"],),
    "touch_many": (["s:1"], 5),
}
"""Every method that writes on a synced prefix."""


@pytest.fixture
def closed_port():
    """Address where nobody listens."""
    return f"redis://{LOOPBACK}:{free_port()}/0"


@contextmanager
def stopped(server):
    """A server that is there and does not answer."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def once(call, face, expected):
    """Repeat a call until a busy machine answers it in time; the breaker forgets what that took."""
    for _ in range(100):
        face.cache.blocking._runtime.breaker.forget()
        try:
            if await call() == expected:
                return face.cache.counted().get("other", {}).get("errors", 0)
        except CallCacheError:
            continue
    raise AssertionError("the server never answered in time")


class TestDown:
    def test_table__all_methods(self):
        """No public method that has two faces is missing from the table above."""
        two_faced = {name for name in vars(CallCache) if f"a{name}" in vars(CallCache)}
        # Locks, fills, loaders, steps, pins have tests of their own; why a TTL is chosen tells this process.
        elsewhere = {"lock", "get_for_fill", "fill", "load", "load_many", "delete_step", "explain_ttl"}
        elsewhere |= {"ttl_overrides", "pin_ttl", "unpin_ttl", "pause_ttl", "resume_ttl"}
        assert two_faced - elsewhere == set(DEGRADED)

    @pytest.mark.parametrize("method", DEGRADED)
    async def test_degrade__documented_answer(self, face_of, make_cache, closed_port, method):
        """With no server, calls answer as documented: before the breaker opens and after it has."""
        arguments, answer = DEGRADED[method]
        face = face_of(make_cache(closed_port))
        for _ in range(8):
            assert await getattr(face, method)(*arguments) == answer

    @pytest.mark.parametrize("method", DEGRADED)
    async def test_raise__every_method(self, face_of, make_cache, closed_port, method):
        """With ``ON_ERROR`` "raise" each raises what django-redis and redis-py would."""
        arguments, _ = DEGRADED[method]
        face = face_of(make_cache(closed_port, ON_ERROR="raise"))
        for _ in range(8):
            with pytest.raises(RedisUnavailable) as raised:
                await getattr(face, method)(*arguments)
            assert isinstance(raised.value, django_redis.exceptions.ConnectionInterrupted)
            assert isinstance(raised.value, redis.ConnectionError)

    @pytest.mark.parametrize("on_error", ["degrade", "raise"])
    @pytest.mark.parametrize("method", RECORDING)
    async def test_synced__raises(self, face_of, make_cache, closed_port, method, on_error):
        """A write for the remote store is never swallowed: it raises that nothing was recorded."""
        face = face_of(make_cache(closed_port, ON_ERROR=on_error, RULES=SYNCED))
        for _ in range(8):
            with pytest.raises(SyncNotRecorded):
                await getattr(face, method)(*RECORDING[method])

    async def test_synced__reads_degrade(self, face_of, make_cache, closed_port):
        """Reads of a synced prefix degrade like any."""
        face = face_of(make_cache(closed_port, RULES=SYNCED))
        assert await face.get("s:1", DEFAULT) is DEFAULT
        assert await face.get_or_set("s:1", lambda: 5) == 5
        assert await face.get_many(["s:1"]) == {}

    async def test_add__nothing_to_keep(self, face_of, make_cache, closed_port):
        """An add without time to live does not claim that the key is absent."""
        assert await face_of(make_cache(closed_port)).add("a", 1, 0) is False

    async def test_django_redis__ignore_exceptions(self, face_of, make_cache, closed_port):
        """django-redis's ``IGNORE_EXCEPTIONS`` False is ``ON_ERROR`` "raise"."""
        face = face_of(make_cache(closed_port, django_redis={"IGNORE_EXCEPTIONS": False}))
        with pytest.raises(django_redis.exceptions.ConnectionInterrupted):
            await face.get("a")

    async def test_contains(self, make_cache, closed_port):
        """``in`` degrades too."""
        assert "a" not in make_cache(closed_port)

    async def test_errors_counted(self, face_of, make_cache, closed_port):
        """A call that failed is one error, neither a hit nor a miss nor a set."""
        face = face_of(make_cache(closed_port))
        await face.get("p:1")
        await face.set("p:1", 1)
        await face.get_or_set("p:1", 1)
        await face.get_many(["p:1", "p:2"])
        await face.set_many({"p:1": 1, "p:2": 2})
        await face.incr("p:1")
        counts = face.cache.counted()["p:"]
        assert {name: count for name, count in counts.items() if count} == {"errors": 6}

    async def test_log__once(self, face_of, make_cache, closed_port, caplog):
        """A server that is down for long is one line in the log, without the call's key."""
        face = face_of(make_cache(closed_port))
        with caplog.at_level(logging.INFO):
            for _ in range(100):
                await face.get("private")
        assert len(caplog.records) == 1
        assert "private" not in caplog.text


class TestHung:
    async def test_stopped__answers_and_breaker(self, face_of, make_cache, start_redis):
        """A server that hangs ends calls at their deadline; after the third none is sent any more."""
        with Proxy(start_redis().port) as proxy:
            face = face_of(make_cache(proxy.url, DEADLINE=0.05))
            await face.set("a", 1)
            proxy.is_silent = True
            for _ in range(3):
                assert await face.get("a", DEFAULT) is DEFAULT
            face.cache.blocking._runtime.breaker._probe_at = float("inf")
            requested = proxy.requested
            for _ in range(200):
                assert await face.get("a", DEFAULT) is DEFAULT
                assert await face.set("a", 2) is False
            assert proxy.requested == requested

    @pytest.mark.parametrize("method", ["get", "set", "get_or_set", "set_many", "delete_pattern"])
    async def test_stopped__every_kind_of_call(self, face_of, make_cache, start_redis, method):
        """A stopped process answers no call, connecting ones included, and every call returns."""
        server = start_redis()
        face = face_of(make_cache(server.url, DEADLINE=0.05))
        arguments, answer = DEGRADED[method]
        with stopped(server):
            assert await getattr(face, method)(*arguments) == answer
        face = face_of(make_cache(server.url, DEADLINE=0.05))
        await face.get("a")
        with stopped(server):
            assert await getattr(face, method)(*arguments) == answer

    async def test_get_or_set__asks_once(self, face_of, make_cache, start_redis):
        """Who has waited for a hung server in vain does not wait for it again to store the value."""
        with Proxy(start_redis().port) as proxy:
            face = face_of(make_cache(proxy.url, DEADLINE=0.25))
            before = await once(lambda: face.get("a", DEFAULT), face, DEFAULT)
            proxy.is_silent = True
            assert await face.get_or_set("a", lambda: 5) == 5
            assert face.cache.counted()["other"]["errors"] == before + 1

    async def test_set_many__gives_up_once(self, face_of, make_cache, start_redis):
        """A batch of many round trips is given up at the first that fails; all that is left has failed."""
        with Proxy(start_redis().port) as proxy:
            face = face_of(make_cache(proxy.url, DEADLINE=0.25))
            before = await once(lambda: face.get("a", DEFAULT), face, DEFAULT)
            proxy.is_silent = True
            data = {f"k{number}": number for number in range(1700)}
            assert await face.set_many(data) == list(data)
            assert await face.touch_many(data) == 0
            assert face.cache.counted()["other"]["errors"] == before + 2

    async def test_recovers(self, face_of, make_cache, start_redis):
        """When the server answers again, the next probe closes the breaker."""
        with Proxy(start_redis().port) as proxy:
            face = face_of(make_cache(proxy.url, DEADLINE=0.3))
            await once(lambda: face.set("a", 1), face, True)
            proxy.is_silent = True
            for _ in range(4):
                assert await face.get("a") is None
            proxy.is_silent = False
            proxy.drop_connections()  # what was swallowed never comes
            breaker = face.cache.blocking._runtime.breaker
            assert breaker.is_open
            for _ in range(100):
                breaker._probe_at = 0.0
                if await face.get("a") == 1:
                    break
            assert not breaker.is_open

    async def test_late_reply__never_for_another(self, face_of, make_cache, start_redis):
        """A reply that comes after its call has ended is no other call's answer."""
        server = start_redis()
        face = face_of(make_cache(server.url, DEADLINE=0.3))
        for number in range(5):
            await once(lambda number=number: face.set(f"k{number}", number), face, True)
        with stopped(server):
            assert await face.get("k0") is None
        for number in range(1, 5):
            assert await face.get(f"k{number}") in {number, None}
        for number in range(5):
            await once(lambda number=number: face.get(f"k{number}"), face, number)

    @pytest.mark.parametrize("method", ["set", "set_many", "delete_many"])
    async def test_synced__uncertain(self, face_of, make_cache, start_redis, method):
        """A recorded write whose answer is lost may have been made: the caller is told so."""
        server = start_redis()
        face = face_of(make_cache(server.url, DEADLINE=0.25, RULES=SYNCED))
        await once(lambda: face.set("s:1", 1), face, True)
        with stopped(server), pytest.raises(SyncUncertain):
            await getattr(face, method)(*RECORDING[method])

    @pytest.mark.parametrize("on_error", ["raise", "degrade"])
    @pytest.mark.parametrize("method", ONCE)
    async def test_counted__once(self, face_of, make_cache, start_redis, on_error, method):
        """What must not be repeated runs once, and who asked is told that it may have."""
        server = start_redis()
        with Proxy(server.port) as proxy, redis.Redis.from_url(server.url) as admin:
            face = face_of(make_cache(proxy.url, DEADLINE=0.25, ON_ERROR=on_error))
            await once(lambda: face.set("warm", 1), face, True)
            admin.set("t:1:n", 5)
            await once(lambda: face.incr("n", 0), face, 5)  # the server knows the script from now on
            admin.zadd("t:1:z", {face.cache.codec_for("z").encode("a", b""): 1, "b": 2, "c": 3})
            proxy.is_silent = True
            arguments, result = ONCE[method]
            call = getattr(face, method)(*arguments)
            if on_error == "raise":
                with pytest.raises(WriteUncertain) as raised:
                    await call
                assert isinstance(raised.value, Uncertain)
                assert isinstance(raised.value, RedisUnavailable)
            else:
                assert not await call
            wait_until(lambda: result(admin))
            proxy.is_silent = False
            await once(lambda: face.set("after", 1), face, True)
            assert result(admin)

    async def test_counted__connecting(self, face_of, make_cache):
        """Where nothing was sent nothing was counted, and that is certain."""
        face = face_of(make_cache(f"redis://{LOOPBACK}:{free_port()}/0", ON_ERROR="raise"))
        with pytest.raises(RedisUnavailable) as raised:
            await face.incr("n")
        assert not isinstance(raised.value, Uncertain)

    async def test_synced__connecting(self, face_of, make_cache, start_redis):
        """Where not even a connection was made, nothing was written, and that is certain."""
        server = start_redis()
        face = face_of(make_cache(server.url, DEADLINE=0.05, RULES=SYNCED))
        for method in ("set", "set_many", "delete_many"):
            with stopped(server), pytest.raises(SyncNotRecorded):
                await getattr(face, method)(*RECORDING[method])

    async def test_slow_link__deadline_holds_as_a_whole(self, face_of, make_cache, start_redis):
        """A reply that trickles in for longer than the deadline is not waited for."""
        with Proxy(start_redis().port) as proxy:
            face = face_of(make_cache(proxy.url, DEADLINE=0.5, COMPRESS=False))
            value = os.urandom(400_000)
            await once(lambda: face.set("a", value), face, True)
            await once(lambda: face.get("a"), face, value)
            proxy.bytes_per_second = 200_000  # two seconds for the value
            assert await face.get("a", DEFAULT) is DEFAULT


@contextmanager
def patient_breaker(face):
    """Let the breaker send its probe at once."""
    breaker = face.cache.blocking._runtime.breaker
    breaker._probe_at = 0.0
    yield


class TestClosedConnections:
    async def test_kill_and_restart__reads_recover(self, face_of, make_cache, start_redis):
        """After a crash and restart the first read finds its value, on a new connection."""
        server = start_redis(append_only=True)
        face = face_of(make_cache(server.url, DEADLINE=1))
        await face.set("a", "kept")
        server.kill()
        server.start()
        assert await face.get("a") == "kept"
        assert await face.get_many(["a"]) == {"a": "kept"}
        assert await face.set("b", 1) is True
        assert face.cache.counted()["other"]["errors"] == 0

    async def test_client_kill__reads_do_not_notice(self, face_of, make_cache, start_redis):
        """A server that closes connections all the time fails no read and mixes no replies up."""
        server = start_redis()
        face = face_of(make_cache(server.url, DEADLINE=1))
        with redis.Redis.from_url(server.url) as admin:
            await face.set_many({f"k{number}": number for number in range(10)})
            for number in itertools.islice(itertools.cycle(range(10)), 50):
                admin.client_kill_filter(_type="normal", skipme=True)
                assert await face.get(f"k{number}") == number
                assert await face.has_key(f"k{number}") is True
        assert face.cache.counted()["other"]["errors"] == 0

    async def test_down_and_up(self, face_of, make_cache, start_redis):
        """A server that was away degrades calls meanwhile and works when it is back."""
        server = start_redis(append_only=True)
        face = face_of(make_cache(server.url, DEADLINE=1))
        await face.set("a", "kept")
        server.kill()
        for _ in range(10):
            assert await face.get("a", DEFAULT) is DEFAULT
        server.start()
        with patient_breaker(face):
            assert await face.get("a") == "kept"

    @pytest.mark.parametrize("method", ["get", "get_many"])
    async def test_cut_replies__no_wrong_value(self, face_of, make_cache, start_redis, method):
        """A connection that breaks after any byte of any reply gives the right value or none."""
        server = start_redis()
        value = ("x", 1)
        await Face(make_cache(server.url, DEADLINE=10), is_native=False).set_many({"a": value, "b": 5})
        call = {
            "get": lambda face: face.get("a", DEFAULT),
            "get_many": lambda face: face.get_many(["a", "b"]),
        }
        right = {"get": value, "get_many": {"a": value, "b": 5}}[method]
        none = {"get": DEFAULT, "get_many": {}}[method]
        outcomes = []
        for cut in range(0, 80, 1 if method == "get" else 3):
            # A read is sent once more, on another connection: both are cut, or the first alone.
            for cuts in ([cut, cut], [cut])[: 2 - cut % 2]:
                with Proxy(server.port, iter(cuts)) as proxy:
                    face = face_of(make_cache(proxy.url, DEADLINE=2))
                    found = await call[method](face)
                    outcomes.append(found)
                    assert found == right or (len(cuts) == 2 and found == none)
                    assert await call[method](face) == right
        assert right in outcomes
        assert none in outcomes


class TestRefusal:
    @pytest.mark.parametrize("secret", ["", "wrong"])
    async def test_password__raises(self, face_of, make_cache, start_redis, secret):
        """A wrong or missing password is raised also in degraded mode, and not told."""
        server = start_redis(password="the-right-one")
        location = server.url.replace(":the-right-one@", f":{secret}@" if secret else "")
        face = face_of(make_cache(location, DEADLINE=10))
        for method in ("get", "set", "get_many", "keys", "sadd", "incr", "get"):
            with pytest.raises(RedisMisconfigured, match="password") as raised:
                await getattr(face, method)(*DEGRADED[method][0])
            assert "wrong" not in str(raised.value)
            assert isinstance(raised.value, redis_errors.AuthenticationError)

    async def test_acl__raises(self, face_of, make_cache, start_redis):
        """A user who may not write is told so, by writes alone."""
        server = start_redis()
        with redis.Redis.from_url(server.url) as admin:
            admin.acl_setuser("reader", enabled=True, passwords=["+pw"], commands=["+@all", "-set"], keys="*")
        face = face_of(make_cache(server.url.replace("//", "//reader:pw@"), DEADLINE=10))
        assert await face.get("a", 5) == 5
        with pytest.raises(RedisMisconfigured, match="ACL"):
            await face.set("a", 1)
        assert await face.get("a", 5) == 5

    async def test_full__no_old_value_stays(self, face_of, make_cache, start_redis):
        """A write that a full server refuses reports failure and leaves no old value behind."""
        server = start_redis()
        face = face_of(make_cache(server.url, RULES=SYNCED, DEADLINE=10))
        await face.set_many({"a": "old", "b": "old", "c": "old", "n": 5, "s:1": "old"})
        with redis.Redis.from_url(server.url) as admin:
            admin.config_set("maxmemory", 1)
            assert await face.set("a", "new") is False
            assert await face.set_many({"b": "new", "x": "new"}) == ["b", "x"]
            assert await face.get_many(["a", "b", "c", "x"]) == {"c": "old"}
            assert await face.add("d", 1) is False
            assert await face.incr("n") is None
            assert await face.get("n") == 5
            assert await face.delete("c") is True
            with pytest.raises(SyncNotRecorded):
                await face.set("s:1", "new")
            with pytest.raises(SyncNotRecorded):
                await face.set_many({"s:1": "new"})
            assert await face.get("s:1") == "old"
            assert await face.delete_many(["s:1"]) == 1
            admin.config_set("maxmemory", 0)
        assert await face.set("a", "new") is True

    async def test_full__raise(self, face_of, make_cache, start_redis):
        """With ``ON_ERROR`` "raise" a refusal is raised as such, and the old value is gone all the same."""
        server = start_redis()
        face = face_of(make_cache(server.url, ON_ERROR="raise", DEADLINE=10))
        await face.set_many({"a": "old", "b": "old"})
        with redis.Redis.from_url(server.url) as admin:
            admin.config_set("maxmemory", 1)
            with pytest.raises(RedisRefused):
                await face.set("a", "secret")
            with pytest.raises(RedisRefused) as raised:
                await face.set_many({"b": "secret"})
            assert "secret" not in str(raised.value)
            assert await face.get_many(["a", "b"]) == {}

    async def test_full__breaker_stays_closed(self, face_of, make_cache, start_redis):
        """A server that refuses writes is there: reads go on."""
        server = start_redis()
        face = face_of(make_cache(server.url, DEADLINE=10))
        await face.set("a", 1)
        with redis.Redis.from_url(server.url) as admin:
            admin.config_set("maxmemory", 1)
            for _ in range(10):
                await face.set("b", 1)
            assert await face.get("a") == 1

    async def test_replica(self, face_of, make_cache, start_redis):
        """A replica answers reads; writes are a failure of the server, and nothing is claimed to be done."""
        primary = start_redis()
        replica = start_redis(config={"replicaof": f"{LOOPBACK} {primary.port}"})
        face = face_of(make_cache(replica.url, RULES=SYNCED, DEADLINE=10))
        assert await face.get("a", DEFAULT) is DEFAULT
        assert await face.set("a", 1) is False
        assert await face.set_many({"a": 1}) == ["a"]
        assert await face.delete("a") is False
        assert await face.touch("a", None) is False
        assert await face.touch("a", 5) is False
        assert await face.clear() is True
        for method, arguments in RECORDING.items():
            if method in {
                "incr_version",
                "decr",
                "persist",
                "expire",
                "touch",
                "pexpire_at",
                "incr",
                "touch_many",
            }:
                continue  # they find nothing that they would have to write
            with pytest.raises(SyncNotRecorded):
                await getattr(face, method)(*arguments)
        face = face_of(make_cache(replica.url, ON_ERROR="raise", DEADLINE=10))
        with pytest.raises(RedisUnavailable, match="failing over"):
            await face.set("a", 1)


class TestFailover:
    async def test_demoted__connects_anew(self, face_of, make_cache, start_redis, undisturbed):
        """A connection whose server turns out to be no primary is not used again: the next may be one's."""
        server = start_redis()
        with Proxy(server.port) as proxy, redis.Redis.from_url(server.url) as admin:
            face = face_of(make_cache(proxy.url, DEADLINE=10))
            await face.set("a", "old")
            admin.replicaof(LOOPBACK, free_port())
            before = proxy.connections
            assert await face.set("a", "new") is False
            assert await face.get("a") in {None, "old"}
            assert proxy.connections > before
            admin.replicaof("no", "one")
            for _ in range(100):
                if await face.set("a", "newest") is True:
                    break
            assert await face.get("a") == "newest"


class TestFaultOf:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (redis_errors.ConnectionError("Error 111 connecting"), RedisUnavailable),
            (redis_errors.TimeoutError("Timeout reading"), RedisUnavailable),
            (redis_errors.BusyLoadingError("Redis is loading"), RedisUnavailable),
            (ConnectionResetError(), RedisUnavailable),
            (TimeoutError(), RedisUnavailable),
            (redis_errors.AuthenticationError("WRONGPASS"), RedisMisconfigured),
            (
                redis_errors.ConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate"),
                RedisMisconfigured,
            ),
        ],
    )
    def test_fault_of__kind(self, error, kind):
        """Outage and wrong configuration are told apart; both name the server."""
        fault = fault_of(error, "redis.example:1", sent=True)
        assert type(fault) is kind
        assert "redis.example:1" in str(fault)

    def test_fault_of__fault(self):
        """What is a fault already stays the same."""
        fault = RedisUnavailable("x")
        assert fault_of(fault, "y", sent=True) is fault


class TestFaultIn:
    @pytest.mark.parametrize(
        ("reply", "kind"),
        [
            (redis_errors.OutOfMemoryError("command not allowed"), RedisRefused),
            (redis_errors.ResponseError("MISCONF Redis is configured to save"), RedisRefused),
            (redis_errors.ResponseError("NOREPLICAS Not enough good replicas"), RedisRefused),
            (redis_errors.ResponseError("ERR Error running script: -OOM command not allowed"), RedisRefused),
            (redis_errors.ReadOnlyError("You can't write against a read only replica."), RedisUnavailable),
            (redis_errors.MasterDownError("Link with MASTER is down"), RedisUnavailable),
            (redis_errors.ClusterDownError("CLUSTERDOWN"), RedisUnavailable),
            (redis_errors.NoPermissionError("this user has no permissions"), RedisMisconfigured),
            (redis_errors.ResponseError("unknown command `UNLINK`"), RedisMisconfigured),
            (redis_errors.ResponseError("WRONGTYPE Operation against a key"), None),
            (redis_errors.ResponseError("value is not an integer or out of range"), None),
        ],
    )
    def test_fault_in__kind(self, reply, kind):
        """A reply blames the server, the configuration, or the call itself."""
        fault = fault_in(reply, "redis.example:1")
        assert fault is None if kind is None else type(fault) is kind
        assert not isinstance(fault, RedisFault) or str(reply) not in str(fault)
