from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime

import pytest

from django_callcache.cache.operations.learning import Remembered
from django_callcache.ttl import KeyRecord
from django_callcache.ttl.change_tables import ALL_CHANGES, ALL_EXPOSURE, OBSERVATIONS
from tests.cache.conftest import APP
from tests.cache.waiting import wait_until

pytestmark = pytest.mark.usefixtures("undisturbed")

RULE = {"ttl": "adaptive"}
KINDS = {"plain": RULE, "synced": {**RULE, "sync": "lww"}}


@pytest.fixture(params=KINDS)
def learning(request, make_cache, face_of):
    """One face of a cache whose rows are learnt about, synced and not."""
    return face_of(make_cache(NEAR=False, RULES={"row:": KINDS[request.param]}))


def side_of(face, key):
    return face.cache.redis_keys.side(face.cache.make_key(key).encode())


def record_of(face, client, key):
    return KeyRecord.unpack(client.hget(side_of(face, key), "e"))


def sums_of(face, prefix="row:"):
    return face.cache._runtime.learners()[prefix].tables.added


def remember(face, client, key, value, *, loaded=1000.0, expired=10.0):
    """Let a key have been loaded and have expired some seconds ago."""
    seconds, _ = client.time()
    codec = face.cache.codec_for(key)
    redis_key = face.cache.make_key(key).encode()
    digest = face.cache._runtime.digest_of(
        codec.opened(codec.encode(value, redis_key), redis_key)[1], redis_key
    )
    record = KeyRecord(seconds - loaded, seconds - expired, seconds - loaded - 60, False, digest)
    client.hset(side_of(face, key), "e", record.pack())
    client.expire(side_of(face, key), 3600)


class TestRecord:
    @pytest.mark.parametrize("write", ["set", "add", "set_many", "get_or_set"])
    async def test_write__leaves_a_record(self, learning, redis_client, write):
        """Every write whose TTL the policy decides leaves a record that outlives the value by an hour."""
        arguments = ({"row:1": "a"},) if write == "set_many" else ("row:1", "a")
        await getattr(learning, write)(*arguments)
        record = record_of(learning, redis_client, "row:1")
        assert abs(record.loaded_at - redis_client.time()[0]) < 60
        value_left = redis_client.pttl(learning.cache.make_key("row:1"))
        side_left = redis_client.pttl(side_of(learning, "row:1"))
        assert record.expires_at - record.loaded_at == pytest.approx(value_left / 1000, abs=30)
        assert side_left - value_left >= 3_600_000 - 30_000

    async def test_set__value_expires(self, make_cache, face_of, redis_client):
        """The record is still there when the value has expired, and the reload learns of the change."""
        face = face_of(
            make_cache(
                app=APP | {"TTL": {"MIN_TTL": 0.05, "MAX_TTL": 0.05}}, NEAR=False, RULES={"row:": RULE}
            )
        )
        await face.set("row:1", "a")
        wait_until(lambda: not redis_client.exists(face.cache.make_key("row:1")))
        await face.set("row:1", "b")
        assert sums_of(face)[OBSERVATIONS] == sums_of(face)[ALL_CHANGES] == 1

    async def test_set__explicit_timeout(self, learning, redis_client):
        """Nothing is remembered of a write whose timeout the caller gives."""
        await learning.set("row:1", "a", 60)
        assert record_of(learning, redis_client, "row:1") is None

    async def test_set__record_of_another_release(self, learning, redis_client):
        """Bytes that are no record of ours are overwritten."""
        redis_client.hset(side_of(learning, "row:1"), "e", b"\xffgarbage")
        assert await learning.set("row:1", "a")
        assert record_of(learning, redis_client, "row:1") is not None

    @pytest.mark.needs_server("counts round trips to one server")
    async def test_get__no_extra_command(self, make_cache, face_of, redis_client):
        """A read of a prefix that is learnt about asks Redis for the value and nothing else."""
        face = face_of(make_cache(NEAR=False, RULES={"row:": RULE}))
        await face.set("row:1", "a")
        before = calls(redis_client)
        for _ in range(20):
            assert await face.get("row:1") == "a"
        asked = calls(redis_client) - before
        assert asked["get"] == 20
        assert not {"hget", "hmget", "hgetall", "time", "exists", "eval", "evalsha"} & asked.keys()

    async def test_set__one_round_trip_to_write(self, make_cache, face_of, redis_client):
        """A write asks for what is remembered, and sends value and record together."""
        face = face_of(make_cache(NEAR=False, RULES={"row:": RULE}))
        await face.set("row:0", "a")
        io = face.cache.native._io if face.is_native else face.cache.blocking._io
        trips = count_trips(io)
        await face.set("row:1", "a")
        assert len(trips) == 2

    async def test_set__redis_down(self, make_cache, face_of):
        """Without Redis a write fails as any other does."""
        face = face_of(make_cache("redis://127.0.0.1:1/0", NEAR=False, RULES={"row:": RULE}))
        assert await face.set("row:1", "a") is False


class TestLearning:
    async def test_set__reload(self, learning, redis_client):
        """A reload after the expiry tells whether the value changed, and how long it waited for a read."""
        remember(learning, redis_client, "row:1", "a")
        await learning.set("row:1", "b")
        remember(learning, redis_client, "row:2", "a")
        await learning.set("row:2", "a")
        assert (sums_of(learning)[OBSERVATIONS], sums_of(learning)[ALL_CHANGES]) == (2, 1)
        record = record_of(learning, redis_client, "row:1")
        assert (record.changes, record.gaps) == (1, 1)
        assert record.gap_seconds == pytest.approx(10, abs=30)

    async def test_set_many__reloads(self, learning, redis_client):
        """Many writes at once are learnt from as one by one."""
        for number in range(5):
            remember(learning, redis_client, f"row:{number}", "a")
        await learning.set_many({f"row:{number}": "a" if number else "b" for number in range(5)})
        assert (sums_of(learning)[OBSERVATIONS], sums_of(learning)[ALL_CHANGES]) == (5, 1)

    @pytest.mark.parametrize("remove", ["delete", "delete_many"])
    async def test_set__after_delete(self, learning, redis_client, remove):
        """A value deleted by who changed it counts as unchanged until then."""
        remember(learning, redis_client, "row:1", "a", expired=-500)
        redis_client.set(learning.cache.make_key("row:1"), "1")
        await getattr(learning, remove)("row:1" if remove == "delete" else ["row:1"])
        await learning.set("row:1", "b")
        assert (sums_of(learning)[OBSERVATIONS], sums_of(learning)[ALL_CHANGES]) == (1, 0)
        assert sums_of(learning)[ALL_EXPOSURE] > 900
        assert redis_client.hget(side_of(learning, "row:1"), "i") is None

    async def test_set__after_poll(self, learning, redis_client):
        """A value deleted because a poll found it changed had been stale: the change counts."""
        remember(learning, redis_client, "row:1", "a", expired=-500)
        await learning.delete_many(["row:1"], polled=True)
        await learning.set("row:1", "b")
        assert (sums_of(learning)[OBSERVATIONS], sums_of(learning)[ALL_CHANGES]) == (1, 1)

    async def test_delete__nothing_remembered(self, make_cache, face_of, redis_client):
        """Deleting what nothing is known of leaves nothing behind."""
        face = face_of(make_cache(NEAR=False, RULES={"row:": RULE}))
        await face.delete("row:1")
        await face.delete_many(["row:2"])
        assert redis_client.keys("callcache@t:side:*") == []

    async def test_set__over_a_live_value(self, learning, redis_client):
        """Who writes over a value knows that it changed: the old copy was never stale."""
        await learning.set("row:1", "a")
        remember(learning, redis_client, "row:1", "a", expired=-500)
        await learning.set("row:1", "b")
        assert (sums_of(learning)[OBSERVATIONS], sums_of(learning)[ALL_CHANGES]) == (1, 0)

    @pytest.mark.parametrize(("is_reload", "changes"), [(True, 1), (False, 0)])
    def test_taken__live_value(self, make_cache, is_reload, changes):
        """A value computed anew before its end tells of a change; who writes over it has dealt with it."""
        cache = make_cache(NEAR=False, RULES={"row:": RULE})
        prefix = cache._runtime.prefixes.of("row:1")
        record = KeyRecord(1000.0, 2000.0, 1000.0, False, b"12345678")
        known = Remembered(1500.0, record, exists=True)
        blob = prefix.codec.encode("b", b"t:1:row:1")
        cache.blocking._taken(prefix, b"t:1:row:1", "b", blob, known, is_reload=is_reload)
        assert prefix.learner.tables.added[ALL_CHANGES] == changes
        assert prefix.learner.tables.added[OBSERVATIONS] == 1

    async def test_set__evicted(self, learning, redis_client):
        """Nothing is learnt where a value vanished before its time and nobody said when."""
        remember(learning, redis_client, "row:1", "a", expired=-500)
        await learning.set("row:1", "b")
        assert sums_of(learning)[OBSERVATIONS] == 0

    @pytest.mark.parametrize("form", ["datetime", "text", "unix"])
    async def test_set__updated_at(self, make_cache, face_of, redis_client, form):
        """The value's own word for when it changed is its age."""
        face = face_of(make_cache(NEAR=False, RULES={"row:": {**RULE, "updated_at": "changed"}}))
        at = datetime(2026, 1, 5, 12, tzinfo=UTC)
        forms = {"datetime": at, "text": at.isoformat(), "unix": at.timestamp()}
        await face.set("row:1", {"changed": forms[form]})
        record = record_of(face, redis_client, "row:1")
        assert (record.has_updated_at, record.born_at) == (True, at.timestamp())

    @pytest.mark.parametrize("value", [{"changed": "soon"}, {"changed": None}, {"changed": True}, {}, "text"])
    async def test_set__no_updated_at(self, make_cache, redis_client, value, face_of):
        """Where the value does not say, its age counts from when it was first seen."""
        face = face_of(make_cache(NEAR=False, RULES={"row:": {**RULE, "updated_at": "changed"}}))
        await face.set("row:1", value)
        record = record_of(face, redis_client, "row:1")
        assert not record.has_updated_at
        assert record.born_at == record.loaded_at


class TestExplain:
    async def test_explain_ttl__warm_up(self, learning):
        """At first the hour decides, and the answer says so."""
        decision = await learning.explain_ttl("row:1")
        assert decision.policy == "adaptive"
        assert decision.reason.startswith("0 of 10 reloads seen")

    async def test_explain_ttl__known_key(self, learning, redis_client):
        """The answer is by what is remembered of the key, and nothing is learnt from asking."""
        for number in range(12):
            remember(learning, redis_client, f"row:{number}", "a")
            await learning.set(f"row:{number}", "b" if number % 2 else "a")
        before = list(sums_of(learning))
        quiet, busy = [await learning.explain_ttl(key) for key in ("row:0", "row:1")]
        assert busy.terms["frailty"] > quiet.terms["frailty"]
        assert busy.terms["observations"] == 12
        assert sums_of(learning) == before

    async def test_explain_ttl__redis_down(self, make_cache, face_of):
        """Without Redis the hour's answer is given."""
        face = face_of(make_cache("redis://127.0.0.1:1/0", NEAR=False, RULES={"row:": RULE}))
        assert (await face.explain_ttl("row:1")).policy == "adaptive"


class TestJitter:
    def test_set_many__mass_expiry(self, make_cache, redis_client):
        """Of 20,000 entries written at once no second sees more expire than a twentieth of them."""
        busiest = {}
        for jitter in (0.0, 0.1):
            # At whatever hour: an hour that begins meanwhile changes nothing.
            app = APP | {"TTL": {"JITTER": jitter, "PEAK_TTL": 3600}}
            cache = make_cache(app=app, NEAR=False, RULES={"row:": RULE})
            assert cache.set_many({f"row:{number}": number for number in range(20_000)}) == []
            pipeline = redis_client.pipeline(transaction=False)
            for number in range(20_000):
                pipeline.hget(cache.redis_keys.side(cache.make_key(f"row:{number}").encode()), "e")
            # By the records, not by the time left: writing takes some seconds by itself.
            lives = [
                record.expires_at - record.loaded_at for record in map(KeyRecord.unpack, pipeline.execute())
            ]
            busiest[jitter] = max(Counter(int(life) for life in lives).values())
            assert max(lives) <= 3600
            redis_client.flushdb()
        assert busiest[0.0] == 20_000
        assert busiest[0.1] <= 20_000 / 20


def calls(client):
    """How often each command was called."""
    stats = client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): found["calls"] for name, found in stats.items()})


def count_trips(io):
    """Note each round trip that a driver makes from now on."""
    trips = []
    for name in ("ask", "ask_many"):
        real = getattr(io, name)

        def counted(*arguments, real=real, **how):
            trips.append(arguments)
            return real(*arguments, **how)

        setattr(io, name, counted)
    return trips


class TestRefresh:
    """Values computed anew while they are still there teach the policy, over a real Redis."""

    async def refreshed(self, face, redis_client, how):
        """Compute an entry anew in one of the ways there are."""
        loader, options = loader_of(face), {}
        if how == "force":
            return await face.get_or_set("row:1", loader, force=True)
        if how == "refresh_ahead":
            # So slow was the last load that the entry is due by now.
            redis_client.hset(side_of(face, "row:1"), "t", 10**9)
            options = {"refresh_ahead": 1000.0}
        else:
            redis_client.pexpire(face.cache.make_key("row:1"), 1)
            wait_until(lambda: not redis_client.exists(face.cache.make_key("row:1")))
            options = {"grace": 60.0}
        return await face.get_or_set("row:1", loader, **options)

    @pytest.mark.parametrize("how", ["force", "refresh_ahead", "grace"])
    async def test_get_or_set__refreshed(self, learning, redis_client, how):
        """An entry that is computed anew, and found changed, counts as changed: nobody had told of it."""
        await learning.get_or_set("row:1", "old", grace=60.0)
        remember(learning, redis_client, "row:1", "old", expired=10 if how == "grace" else -500)
        await self.refreshed(learning, redis_client, how)
        await settled(lambda: sums_of(learning)[OBSERVATIONS] == 1)
        assert sums_of(learning)[ALL_CHANGES] == 1
        await settled(lambda: record_of(learning, redis_client, "row:1").changes == 1)

    async def test_get_or_set__forced_and_the_same(self, learning, redis_client):
        """An entry that is computed anew, and found as it was, counts as unchanged for all that time."""
        await learning.set("row:1", "new")
        remember(learning, redis_client, "row:1", "new", expired=-500)
        await learning.get_or_set("row:1", loader_of(learning), force=True)
        assert (sums_of(learning)[OBSERVATIONS], sums_of(learning)[ALL_CHANGES]) == (1, 0)
        assert sums_of(learning)[ALL_EXPOSURE] > 900


def loader_of(face):
    """What computes a new value, for the face that asks."""

    async def aload():
        return "new"

    return aload if face.is_native else lambda: "new"


async def settled(condition):
    """Wait for what goes on behind, on this loop or in another thread."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        await asyncio.sleep(0.002)
