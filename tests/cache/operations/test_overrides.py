from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from django_callcache.exceptions import PinRefused, RedisFault
from tests.cache.conftest import APP, BACKEND
from tests.cache.waiting import wait_until

RULES = {
    "row:": {"ttl": "adaptive", "max_ttl": 900},
    "fixed:": {"ttl": 7200},
    "ever:": {"ttl": None},
    "busy:": {"ttl": "peak-hour"},
    "checked:": {"ttl": "adaptive", "stale_target": 0.02},
}

pytestmark = pytest.mark.usefixtures("undisturbed")


@pytest.fixture
def ruled(make_cache, face_of):
    """One face of a cache with policies of all sorts."""
    return face_of(make_cache(NEAR=False, RULES=RULES))


def elsewhere(make_cache):
    """The same cache as another process has it, which has just started."""
    return make_cache(app={**APP, "RELEASE": "another"}, NEAR=False, RULES=RULES)


@pytest.fixture
def closed_port():
    """Where nobody listens."""
    return "redis://127.0.0.1:1/0"


class TestPin:
    @pytest.mark.parametrize("prefix", ["row:", "busy:", "fixed:", "ever:", "free:"])
    async def test_pin__all_policies(self, ruled, prefix):
        """Whatever decides the TTL of a prefix, its entries get the pinned one to the millisecond."""
        await ruled.pin_ttl(prefix, 600, by="maria")
        await ruled.set(f"{prefix}1", "a")
        await ruled.set_many({f"{prefix}2": "b"})
        await ruled.get_or_set(f"{prefix}3", lambda: "c")
        for number in (1, 2, 3):
            assert 540_000 < await ruled.pttl(f"{prefix}{number}") <= 600_000
        decision = await ruled.explain_ttl(f"{prefix}1")
        assert (decision.ttl_seconds, decision.policy, decision.is_override) == (600, "pinned", True)
        assert ruled.cache.jitter_of(f"{prefix}1") == 0

    async def test_pin__explicit_timeout(self, ruled):
        """A timeout that the caller gives holds as ever."""
        await ruled.pin_ttl("row:", 600, by="maria")
        await ruled.set("row:1", "a", 30)
        await ruled.set("row:2", "a", None)
        assert 0 < await ruled.pttl("row:1") <= 30_000
        assert await ruled.ttl("row:2") is None

    async def test_pin__others_keep_theirs(self, ruled):
        """Other prefixes are decided as before."""
        await ruled.pin_ttl("row:", 600, by="maria")
        assert (await ruled.explain_ttl("fixed:1")).ttl_seconds == 7200

    async def test_pin__is_told(self, ruled):
        """Why a TTL is what it is names the person, the time, the reason, and what would hold without."""
        pin = await ruled.pin_ttl("fixed:", 600, by="maria", reason="{import} runs", lasts=7200)
        assert pin.until == pytest.approx(pin.since + 7200, abs=1)
        decision = await ruled.explain_ttl("fixed:1")
        assert decision.reason.startswith("Pinned by maria since 20")
        assert decision.reason.endswith("Reason: {import} runs")
        assert decision.terms == {"own_policy": "fixed", "own_ttl": 7200}
        assert decision.valid_until == pin.until

    async def test_pin__ends(self, ruled, redis_client):
        """A pin with an end ends by itself, and the next one takes it out of Redis."""
        await ruled.pin_ttl("fixed:", 600, by="maria", lasts=0.01)
        name = ruled.cache.redis_keys.overrides()
        field = redis_client.hget(name, "pin:fixed:")
        past = json.loads(field) | {"until": redis_client.time()[0] - 5}
        redis_client.hset(name, "pin:fixed:", json.dumps(past))
        assert (await ruled.ttl_overrides()).pins == {}
        assert (await ruled.explain_ttl("fixed:1")).ttl_seconds == 7200
        await ruled.pin_ttl("row:", 60, by="maria")
        assert redis_client.hkeys(name) == [b"pin:row:"]

    async def test_pin__takes_the_place(self, ruled):
        """The second pin of a prefix is the one that holds."""
        await ruled.pin_ttl("row:", 600, by="maria")
        await ruled.pin_ttl("row:", 60, by="jose")
        pins = (await ruled.ttl_overrides()).pins
        assert {prefix: (pin.ttl_seconds, pin.by) for prefix, pin in pins.items()} == {"row:": (60, "jose")}

    @pytest.mark.parametrize("seconds", [0, -1, 0.5, 901, math.nan, math.inf])
    async def test_pin__out_of_bounds(self, ruled, seconds):
        """Seconds outside the rule's bounds are refused, and the message says the bounds."""
        with pytest.raises(PinRefused, match="give 1 to 900 seconds"):
            await ruled.pin_ttl("row:", seconds, by="maria")
        assert (await ruled.ttl_overrides()).pins == {}

    async def test_pin_bounds(self, ruled):
        """Bounds are the rule's, and what its policy answers anyway lies within."""
        assert ruled.cache.pin_bounds("row:") == (1, 900)
        assert ruled.cache.pin_bounds("fixed:") == (1, 7200)
        assert ruled.cache.pin_bounds("ever:") == ruled.cache.pin_bounds("free:") == (1, 3600)

    @pytest.mark.parametrize(
        ("prefix", "message"),
        [("row:7:", "belong to 'row:'"), ("bare", "give it a rule"), ("", "give it a rule")],
    )
    async def test_pin__no_prefix(self, ruled, prefix, message):
        """What is no group of keys by itself is refused with what to do."""
        with pytest.raises(PinRefused, match=message):
            await ruled.pin_ttl(prefix, 60, by="maria")

    @pytest.mark.parametrize("lasts", [0, -5, math.nan, 10**9])
    async def test_pin__no_duration(self, ruled, lasts):
        """A duration that makes no sense is refused."""
        with pytest.raises(PinRefused, match="cannot last"):
            await ruled.pin_ttl("row:", 60, by="maria", lasts=lasts)

    async def test_unpin(self, ruled):
        """The policy decides again; there is nothing to take away twice."""
        await ruled.pin_ttl("fixed:", 600, by="maria")
        assert await ruled.unpin_ttl("fixed:") is True
        assert await ruled.unpin_ttl("fixed:") is False
        assert (await ruled.explain_ttl("fixed:1")).ttl_seconds == 7200

    async def test_pin__goes_on_learning(self, ruled):
        """Reloads teach the policy while it is not asked."""
        await ruled.pin_ttl("row:", 600, by="maria")
        for value in ("a", "b"):
            await ruled.set("row:1", value)
        assert ruled.cache._runtime.learners()["row:"].tables.observations == 1

    async def test_clear__leaves_pins(self, ruled):
        """Clearing the cache deletes values, not what people have decided."""
        await ruled.pin_ttl("row:", 600, by="maria")
        await ruled.clear()
        assert "row:" in (await ruled.ttl_overrides()).pins

    async def test_unreadable_field(self, ruled, redis_client):
        """What somebody else has put there is left out, and disturbs nothing."""
        name = ruled.cache.redis_keys.overrides()
        fields = {
            "pin:row:": '{"ttl_seconds": -1, "by": "x", "since": 0}',
            "pin:fixed:": "\xff",
            "pause": "[]",
        }
        redis_client.hset(name, mapping={**fields, "what": "ever"})
        overrides = await ruled.ttl_overrides()
        assert (overrides.pins, overrides.pause) == ({}, None)
        assert (await ruled.explain_ttl("fixed:1")).ttl_seconds == 7200

    @pytest.mark.parametrize("on_error", ["degrade", "raise"])
    async def test_redis_down(self, make_cache, face_of, closed_port, on_error):
        """A decision that Redis has not taken raises, whatever ``ON_ERROR`` says: nobody may rely on it."""
        face = face_of(make_cache(closed_port, ON_ERROR=on_error, NEAR=False, RULES=RULES))
        calls = (
            lambda: face.pin_ttl("row:", 60, by="maria"),
            lambda: face.unpin_ttl("row:"),
            lambda: face.pause_ttl(by="maria"),
            lambda: face.resume_ttl(),
            lambda: face.ttl_overrides(),
        )
        for call in calls:
            with pytest.raises(RedisFault):
                await call()


class TestPause:
    async def test_pause(self, ruled, settings):
        """Where a policy adapts the default TTL holds, within the rule's bounds; the rest stays."""
        await ruled.pin_ttl("busy:", 60, by="maria")
        assert await ruled.pause_ttl(by="jose", reason="we look") is True
        given = {prefix: await ruled.explain_ttl(f"{prefix}1") for prefix in (*RULES, "free:", "bare")}
        assert {prefix: decision.ttl_seconds for prefix, decision in given.items()} == {
            "row:": 900, "fixed:": 7200, "ever:": None, "busy:": 60, "checked:": 3600,
            "free:": 3600, "bare": 3600,
        }  # fmt: skip
        assert (given["row:"].policy, given["busy:"].policy) == ("paused", "pinned")
        assert given["free:"].reason.startswith("What adapts is paused by jose")
        await ruled.set("row:1", "a")
        assert 840_000 < await ruled.pttl("row:1") <= 900_000

    async def test_pause__twice(self, ruled):
        """The first pause stays; ending it lets the policies decide again."""
        assert await ruled.pause_ttl(by="jose") is True
        assert await ruled.pause_ttl(by="maria") is False
        assert (await ruled.ttl_overrides()).pause.by == "jose"
        assert await ruled.resume_ttl() is True
        assert await ruled.resume_ttl() is False
        assert (await ruled.explain_ttl("row:1")).policy == "adaptive"

    async def test_pause__after_one_that_ended(self, ruled, redis_client):
        """A pause that has ended by itself keeps nobody from the next."""
        await ruled.pause_ttl(by="jose", lasts=60)
        name = ruled.cache.redis_keys.overrides()
        past = json.loads(redis_client.hget(name, "pause")) | {"until": redis_client.time()[0] - 5}
        redis_client.hset(name, "pause", json.dumps(past))
        assert (await ruled.explain_ttl("row:1")).policy in {"paused", "adaptive"}
        assert await ruled.pause_ttl(by="maria") is True
        assert (await ruled.ttl_overrides()).pause.by == "maria"


class TestOthers:
    def test_follow_overrides(self, make_cache):
        """A process that starts later obeys what was decided before it."""
        make_cache(NEAR=False, RULES=RULES).pin_ttl("fixed:", 600, by="maria")
        other = elsewhere(make_cache)
        assert other.explain_ttl("fixed:1").ttl_seconds == 7200
        other.read_learning()
        assert other.explain_ttl("fixed:1").ttl_seconds == 600
        assert other.is_ttl_overridden("fixed:1")

    def test_two_processes(self, make_cache, redis_url):
        """Processes that run obey within seconds, without a call of theirs, and let go in the same way."""
        cache = make_cache(NEAR=False, RULES=RULES)
        own = {"NEAR": False, "RULES": RULES, "STATS": False, "DEADLINE": 10}
        stated = {"BACKEND": BACKEND, "LOCATION": redis_url, "KEY_PREFIX": "t", "OPTIONS": {"CALLCACHE": own}}
        words = [sys.executable, "-m", "tests.cache.pin_process", json.dumps(stated)]
        root = Path(__file__).parents[3]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        with (
            subprocess.Popen(words, cwd=root, **pipes) as one,
            subprocess.Popen(words, cwd=root, **pipes) as two,
        ):

            def given(key):
                answers = []
                for process in (one, two):
                    process.stdin.write(f"{key}\n")
                    process.stdin.flush()
                    answers.append(int(process.stdout.readline()))
                return answers

            try:
                assert all(left > 3_600_000 for left in given("fixed:1"))
                cache.pin_ttl("fixed:", 600, by="maria")
                wait_until(lambda: all(left <= 600_000 for left in given("fixed:1")))
                cache.pause_ttl(by="maria")
                wait_until(lambda: all(840_000 < left <= 900_000 for left in given("row:1")))
                cache.unpin_ttl("fixed:")
                wait_until(lambda: all(left > 3_600_000 for left in given("fixed:1")))
            finally:
                one.stdin.close()
                two.stdin.close()

    def test_no_round_trip(self, make_cache, redis_client):
        """A write of a pinned prefix asks Redis nothing more than before."""
        cache = make_cache(NEAR=False, RULES=RULES)
        cache.set("fixed:0", "a")

        def commands():
            return redis_client.info("commandstats").get("cmdstat_hgetall", {}).get("calls", 0)

        cache.pin_ttl("fixed:", 600, by="maria")
        before = commands()
        for number in range(20):
            cache.set(f"fixed:{number}", "a")
        assert commands() == before


class TestTarget:
    @pytest.mark.parametrize("is_pinned", [True, False])
    def test_factor(self, make_cache, is_pinned):
        """While a prefix is pinned, comparisons go on, and do not move the factor of its target."""
        rule = {"ttl": "adaptive", "stale_target": 0.02, "revalidate": 1}
        cache = make_cache(NEAR=False, RULES={"checked:": rule})
        if is_pinned:
            cache.pin_ttl("checked:", 600, by="maria")
        cache.set("checked:1", "old")
        cache.get_or_set("checked:1", lambda: "new")
        wait_until(lambda: cache.measured_staleness()["checked:"].stale_count)
        assert (cache.measured_staleness()["checked:"].log_factor == 0) is is_pinned
