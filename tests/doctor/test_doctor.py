"""Each failure is staged for real; the doctor must name it before all else."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

import pytest
from django.core.management import CommandError, call_command

from django_callcache.admin.server import server_of
from django_callcache.conf import get_settings
from django_callcache.doctor import diagnose, examine
from django_callcache.live import look
from django_callcache.sync.leader import Heartbeat
from django_callcache.watch import Watch
from tests.cache.conftest import APP
from tests.cache.proxy import Proxy
from tests.cache.waiting import wait_until

pytestmark = pytest.mark.django_db

KEYS = 50


def read_through(cache, rounds, *, timeout=None, after_round=lambda: None):
    """Ask for the same keys again and again, as sites do: what is not there is stored."""
    for _ in range(rounds):
        for number in range(KEYS):
            key = f"page:{number}"
            if cache.get(key) is None:
                cache.set(key, {"number": number}, timeout or 3600)
        after_round()


def first(cache, **options):
    """The name of what the doctor finds first."""
    return names(cache, **options)[0]


def names(cache, **options):
    """The names of what the doctor finds."""
    return [finding.name for finding in diagnose(examine(cache, **options))]


def spin(client, milliseconds):
    """Keep Redis busy with one command."""
    script = """
    local began = redis.call('TIME')
    local elapsed = 0
    while elapsed < tonumber(ARGV[1]) do
      local now = redis.call('TIME')
      elapsed = (now[1] - began[1]) * 1000 + (now[2] - began[2]) / 1000
    end
    """
    client.eval(script, 0, milliseconds)


class TestExpected:
    @pytest.mark.parametrize(
        ("limit", "policy", "evidence"),
        [
            ("64mb", "volatile-lru", None),
            ("64mb", "noeviction", {"maxmemory-policy": "noeviction instead of volatile-lru"}),
            ("0", "volatile-lru", {"maxmemory": "0 instead of 67108864"}),
        ],
    )
    def test_memory(self, patient, limit, policy, evidence):
        """A memory limit or policy that is not as the settings expect is found, by doctor, watch and page."""
        cache = patient(EXPECT_MAXMEMORY="64mb", EXPECT_EVICTION_POLICY="volatile-lru")
        client = cache.redis_client()
        client.config_set("maxmemory", limit)
        client.config_set("maxmemory-policy", policy)
        found = {finding.name: finding.evidence for finding in diagnose(examine(cache))}
        assert found.get("memory-unexpected") == evidence
        signals = Watch(lambda: cache).signals(cache, look(cache), get_settings())
        assert signals["memory_unexpected"] == (evidence is not None)
        assert ("unexpected" in server_of(cache, synced=False).advice) == (evidence is not None)


class TestStaged:
    def test_ttl_too_short(self, patient):
        """Entries end before they are read again."""
        cache = patient()
        ended = []

        def wait():
            wait_until(lambda: not cache.keys("page:*"))
            ended.append(1)

        read_through(cache, 5, timeout=0.05, after_round=wait)
        assert len(ended) == 5
        (finding,) = diagnose(examine(cache))
        assert finding.name == "ttl-too-short"
        assert finding.evidence["prefix"] == "page:"
        assert finding.evidence["misses"] == 5 * KEYS

    @pytest.mark.parametrize("way", ["pattern", "prefix", "clear", "keys"])
    def test_deleted_too_broadly(self, patient, way):
        """Entries are dropped by an invalidation that takes more than it should."""
        cache = patient()
        drop = {
            "pattern": lambda: cache.delete_pattern("page:*"),
            "prefix": lambda: cache.delete_prefix("page:"),
            "clear": cache.clear,
            "keys": lambda: cache.delete_many([f"page:{number}" for number in range(KEYS)]),
        }[way]
        read_through(cache, 6, after_round=drop)
        assert names(cache) == ["deleted-too-broadly"]

    def test_never_read_again(self, patient):
        """Each key is stored and nobody asks for it twice."""
        cache = patient()
        for number in range(300):
            if cache.get(f"once:{number}") is None:
                cache.set(f"once:{number}", number)
        assert names(cache) == ["never-read-again"]

    def test_never_read_at_all(self, patient):
        """Keys are stored that nobody asks for."""
        cache = patient()
        cache.set_many({f"once:{number}": number for number in range(300)})
        assert names(cache) == ["never-read-again"]

    def test_values_too_large(self, patient):
        """Values are of half a megabyte and more."""
        cache = patient(COMPRESS=False)
        for number in range(8):
            cache.set(f"report:{number}", bytes(600_000))
            cache.get(f"report:{number}")
        (finding,) = diagnose(examine(cache))
        assert finding.name == "large-values"
        assert finding.evidence["largest_bytes"] >= 600_000

    def test_evicts_unsynced(self, patient):
        """Memory is full, and the policy may take what waits for the remote store."""
        cache = patient(RULES={"call:": {"sync": "lww"}})
        client = cache.redis_client()
        cache.set("call:1", 1)
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 200_000)
        for number in range(200):
            cache.set(f"page:{number}", bytes(4000))
        assert first(cache) == "evicts-unsynced"

    def test_slow_network(self, patient):
        """The way to Redis is long."""
        with ExitStack() as proxies:

            def far(server):
                proxy = proxies.enter_context(Proxy(server.port))
                proxy.delay_seconds = 0.02
                return proxy.url

            cache = patient(far)
            read_through(cache, 1)
            (finding,) = diagnose(examine(cache))
            assert finding.name == "slow-network"
            assert finding.evidence["fastest_ms"] >= 19
            cache.blocking._runtime.close()

    def test_slow_command(self, patient):
        """Somebody keeps Redis busy with a long command; what it was called with is not told."""
        cache = patient(slow_milliseconds=50)
        read_through(cache, 2)
        spin(cache.redis_client(), 300)
        (finding,) = diagnose(examine(cache))
        assert finding.name == "slow-command"
        assert finding.evidence["seconds"]["EVAL"] >= 0.3
        assert "TIME" not in json.dumps(finding.as_json()["evidence"])

    def test_supabase_refuses_the_key(self, patient, supalite):
        """Supabase is there and refuses the key."""
        sync = {
            "NAMESPACE": "tests",
            "REMOTE": "supabase",
            "SUPABASE_URL": supalite.url,
            "SUPABASE_KEY": "sb_secret_wrong",
        }
        cache = patient(app={"SYNC": sync}, RULES={"call:": {"sync": "lww"}})
        cache.set("call:1", 1)
        (finding,) = diagnose(examine(cache))
        assert finding.name == "remote-refuses"
        assert "sb_secret_wrong" not in json.dumps(finding.as_json())

    def test_redis_down(self, make_cache, start_redis):
        """Redis is not there."""
        server = start_redis()
        cache = make_cache(server.url)
        server.stop()
        assert names(cache) == ["redis-unreachable"]

    @pytest.mark.parametrize(("required", "level"), [(False, "warning"), (True, "error")])
    def test_not_durable(self, patient, required, level):
        """Redis keeps no log on disk, which is worse where synced writes depend on one."""
        app = {**APP, "SYNC": {**APP["SYNC"], "REQUIRE_DURABLE": required}}
        cache = patient(append_only=False, app=app, RULES={"call:": {"sync": "lww"}})
        (finding,) = (each for each in diagnose(examine(cache)) if each.name == "not-durable")
        assert (finding.level, "refused" in finding.cause) == (level, required)

    def test_loop_missing(self, patient):
        """Nobody runs the loop."""
        cache = patient()
        cache.redis_client().delete(cache.redis_keys.heartbeat())
        assert names(cache) == ["loop-missing"]


class TestHealthy:
    def test_traffic(self, patient, supalite):
        """On traffic as it should be nothing is found, by command with code 0."""
        sync = {
            "NAMESPACE": "tests",
            "REMOTE": "supabase",
            "SUPABASE_URL": supalite.url,
            "SUPABASE_KEY": supalite.secret_key,
        }
        cache = patient(app={"SYNC": sync}, RULES={"call:": {"sync": "lww"}, "page:": {"ttl": 600}})
        read_through(cache, 10)
        for number in range(60):
            cache.set(f"call:{number}", {"seconds": number})
            for _ in range(4):
                cache.get(f"call:{number}")
            if number % 10 == 0:
                cache.delete(f"call:{number}")
        assert diagnose(examine(cache)) == []

    def test_no_traffic(self, patient):
        """On a cache that nobody uses nothing is found either."""
        assert names(patient()) == []


class TestCommand:
    def test_text(self, patient, capsys):
        """A healthy cache is said to be so."""
        patient()
        call_command("callcache_doctor")
        assert capsys.readouterr().out == "default: nothing is wrong.\n"

    def test_findings(self, patient, capsys):
        """A finding has its evidence, its cause and what helps; the code is 1."""
        cache = patient()
        cache.set_many({f"once:{number}": number for number in range(300)})
        with pytest.raises(SystemExit) as caught:
            call_command("callcache_doctor")
        assert caught.value.code == 1
        shown = capsys.readouterr().out
        assert "default: warning never-read-again: Entries are written" in shown
        assert "evidence: prefix=once: " in shown
        assert "what helps: " in shown

    def test_json(self, patient, capsys):
        """All of it as one document."""
        cache = patient()
        cache.set_many({f"once:{number}": number for number in range(300)})
        with pytest.raises(SystemExit):
            call_command("callcache_doctor", as_json=True)
        ((finding,),) = json.loads(capsys.readouterr().out).values()
        assert finding.keys() == {"name", "level", "cause", "cure", "evidence"}

    def test_alias__unknown(self):
        """An alias that does not exist is wrong usage."""
        with pytest.raises(CommandError) as caught:
            call_command("callcache_doctor", aliases=["nowhere"])
        assert caught.value.returncode == 2

    def test_liveness(self, patient, capsys):
        """The loop lives as long as its last sign is young."""
        cache = patient()
        call_command("callcache_doctor", liveness=True)
        assert capsys.readouterr().out == "The loop is alive.\n"
        cache.redis_client().delete(cache.redis_keys.heartbeat())
        beat = Heartbeat(host="h", pid=1, started_at=0, alive_at=time.time() - 90)
        beat.write(cache.redis_client(), cache.redis_keys)
        with pytest.raises(CommandError, match=r"sign of life is \d+ s old") as caught:
            call_command("callcache_doctor", liveness=True)
        assert caught.value.returncode == 1
        call_command("callcache_doctor", liveness=True, max_age=300.0)
        cache.redis_client().delete(cache.redis_keys.heartbeat())
        with pytest.raises(CommandError, match="no sign of life"):
            call_command("callcache_doctor", liveness=True)

    def test_liveness__redis_down(self, make_cache, start_redis):
        """A Redis that cannot be asked is no life."""
        server = start_redis()
        make_cache(server.url)
        server.stop()
        with pytest.raises(CommandError, match="cannot be asked"):
            call_command("callcache_doctor", liveness=True)
