from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

from django_callcache.models import CacheOperation

RULES = {"row:": {"ttl": "adaptive"}, "stats:": {"ttl": 30}, "ever:": {"ttl": None}}


@pytest.fixture
def site(make_cache):
    """A cache with a policy that learns, and with fixed TTLs."""
    return make_cache(NEAR=False, RULES=RULES)


def run(*keys, **options):
    out = io.StringIO()
    call_command("callcache_ttl", *keys, stdout=out, **options)
    return out.getvalue()


@pytest.mark.usefixtures("undisturbed")
class TestCallcacheTtl:
    def test_ttl__learning(self, site):
        """The policy, what it goes by, its bounds, jitter and answer are told."""
        site.set("row:1", "a")
        (line,) = run("row:1", as_json=True).splitlines()
        facts = json.loads(line)
        assert (facts["policy"], facts["prefix"], facts["jitter"]) == ("adaptive", "row:", 0.1)
        assert facts["terms"]["observations"] == 0
        assert 0 < facts["left_seconds"] <= facts["ttl_seconds"] <= 3600
        text = run("row:1")
        assert "less up to 10% at random" in text
        assert "0 of 10 reloads seen" in text

    def test_ttl__measured(self, make_cache, redis_client):
        """What was measured is told apart from what the policy reckons, and only where something was."""
        cache = make_cache(NEAR=False, RULES={"row:": {"ttl": "adaptive", "stale_target": 0.02}})
        assert json.loads(run("row:1", as_json=True))["measured"] is None
        assert "measured" not in run("row:1")
        seconds, _ = redis_client.time()
        found = {"n": 100, "s": 10, "log": -2, "at": seconds, "fresh": 90, "stale": 10}
        redis_client.hset(cache.redis_keys.checked("row:"), mapping=found)
        facts = json.loads(run("row:1", as_json=True))
        assert facts["measured"]["stale"] == facts["terms"]["stale_measured"] == 0.1
        assert facts["measured"]["low"] < 0.1 < facts["measured"]["high"]
        assert facts["terms"]["factor"] < 0.14
        text = run("row:1")
        assert "10.0% of about the last 100 hits compared with their origin (95 %: " in text
        assert "the TTL is shortened to 14%" in text

    def test_ttl__what_others_learnt(self, site, make_cache):
        """A process that has just started answers by what all have learnt."""
        learner = site._runtime.learners()["row:"]
        for _ in range(40):
            learner.tables.observed(1.8e9, 1.8e9, learner.bins)
        site._runtime.exchange.share_learning()
        make_cache(NEAR=False, RULES=RULES)
        facts = json.loads(run("row:1", as_json=True))
        assert facts["terms"]["observations"] == 40
        assert {"frailty", "eta", "changes_an_hour", "wanted", "max_ttl"} <= facts["terms"].keys()

    @pytest.mark.parametrize(("key", "seconds"), [("stats:1", 30), ("ever:1", None)])
    def test_ttl__fixed(self, site, key, seconds):
        """A fixed TTL is told as what it is."""
        facts = json.loads(run(key, as_json=True))
        assert (facts["policy"], facts["ttl_seconds"], facts["jitter"]) == ("fixed", seconds, 0)

    def test_ttl__several_keys(self, site):
        """Each key has its own line."""
        keys = [json.loads(line)["key"] for line in run("stats:1", "row:1", as_json=True).splitlines()]
        assert keys == ["stats:1", "row:1"]
        assert run("ever:1").count("never expires") == 1

    def test_ttl__unknown_alias(self, site):
        """An alias that is none is wrong usage."""
        with pytest.raises(CommandError) as refused:
            run("row:1", alias="gone")
        assert refused.value.returncode == 2

    def test_ttl__redis_down(self, make_cache):
        """Without Redis there is no answer."""
        make_cache("redis://127.0.0.1:1/0", NEAR=False, RULES=RULES)
        with pytest.raises(CommandError, match="Redis failed") as refused:
            run("row:1")
        assert refused.value.returncode == 1


@pytest.mark.django_db
@pytest.mark.usefixtures("undisturbed")
class TestDecisions:
    def test_pin(self, site):
        """A pin is written through the cache, told of, and left in the audit."""
        text = run(pin=["stats:", "120"], lasts=7200.0, reason="reports run")
        assert text.startswith("stats: is pinned to 120 s by ")
        assert text.rstrip().endswith(": reports run")
        facts = json.loads(run("stats:1", as_json=True))
        assert (facts["ttl_seconds"], facts["policy"], facts["jitter"]) == (120, "pinned", 0)
        assert facts["terms"] == {"own_policy": "fixed", "own_ttl": 30}
        assert "policy that it replaces" in run("stats:1")
        operation = CacheOperation.objects.get()
        assert (operation.kind, operation.scope, operation.pattern) == ("pin", "prefix", "stats:")
        assert (operation.outcome, operation.reason) == ("ok", "120 s for 7200 s: reports run")
        assert operation.username.endswith("manage.py)")

    def test_pin__words(self, site):
        """The options read as operators write them."""
        call_command("callcache_ttl", "--pin", "row:", "60", "--for", "2h", stdout=io.StringIO())
        pin = site.ttl_overrides().pins["row:"]
        assert pin.ttl_seconds == 60
        assert pin.until == pytest.approx(pin.since + 7200, abs=1)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--pin", "row:", "7200"], "give 1 to 3600 seconds"),
            (["--pin", "row:", "soon"], "'soon' is no TTL"),
            (["--pin", "row:7", "60"], "belong to 'row:'"),
            (["--pin", "row:", "60", "--for", "soon"], "'soon' is no duration"),
            (["--pin", "row:", "60", "row:1"], "Name keys to explain, or"),
            ([], "Name keys to explain, or"),
        ],
    )
    def test_pin__refused(self, site, words, message):
        """What cannot be is refused with the cure, exit code 2, and changes nothing."""
        with pytest.raises(CommandError, match=message) as raised:
            call_command("callcache_ttl", *words)
        assert raised.value.returncode in {1, 2} if "duration" in message else raised.value.returncode == 2
        assert site.ttl_overrides().pins == {}

    def test_refused__is_audited(self, site):
        """A pin that was refused leaves its row too."""
        with pytest.raises(CommandError):
            run(pin=["row:", "7200"])
        operation = CacheOperation.objects.get()
        assert (operation.outcome, operation.error_class) == ("failed", "PinRefused")

    def test_unpin(self, site):
        """Who takes a pin away is told when there was none."""
        run(pin=["row:", "60"])
        assert run(unpin="row:") == "Nothing is pinned or paused.\n"
        with pytest.raises(CommandError, match="was not pinned") as raised:
            run(unpin="row:")
        assert raised.value.returncode == 1
        outcomes = list(CacheOperation.objects.order_by("pk").values_list("kind", "outcome"))
        assert outcomes == [("pin", "ok"), ("unpin", "ok"), ("unpin", "failed")]

    def test_pause(self, site):
        """A pause and its end, each once."""
        assert run(pause=True, reason="we look").startswith("what adapts is paused by ")
        with pytest.raises(CommandError, match="paused already"):
            run(pause=True)
        (line,) = run(decisions=True, as_json=True).splitlines()
        assert json.loads(line)["decision"] == "pause"
        assert json.loads(run("row:1", as_json=True))["policy"] == "paused"
        run(resume=True)
        with pytest.raises(CommandError, match="Nothing was paused"):
            run(resume=True)

    def test_redis_down(self, make_cache):
        """A decision that Redis has not taken ends in exit code 1 and in a row that says so."""
        make_cache("redis://127.0.0.1:1/0", NEAR=False, RULES=RULES)
        with pytest.raises(CommandError, match="Redis failed") as raised:
            run(pin=["row:", "60"])
        assert raised.value.returncode == 1
        assert CacheOperation.objects.get().outcome == "failed"
