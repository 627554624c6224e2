"""Processes that share dictionaries through Redis; another process is another runtime, or a real one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from django_callcache.cache.flusher import Flusher
from django_callcache.codec.blob import START_BYTES, dictionary_id_of
from django_callcache.codec.compression import train
from django_callcache.codec.dictionary_records import CURRENT, field_of
from testproject import settings as sample
from tests.cache.conftest import APP
from tests.training.records import leads

RECORDS = leads(600)
ROOT = Path(__file__).parents[2]
HASH = "callcache@t:dictionaries"

READER = """
import django, json, sys
django.setup()
from django.core.cache import cache
print(json.dumps(cache.get("lead:0")), flush=True)
for line in sys.stdin:
    key = line.strip()
    if key.startswith("="):
        cache.set(key[1:], cache.get("lead:0"))
        print("null", flush=True)
    else:
        print(json.dumps(cache.get(key)), flush=True)
"""


def payloads(cache, number=500):
    codec = cache.codec_for("lead:")
    return [codec.serialized(codec.encode(record, b"k"), b"k") for record in RECORDS[:number]]


def share(cache, dictionary, prefix="lead:"):
    """Put a dictionary where the processes of a cache look for it."""
    name, records = cache.redis_keys.dictionaries(), cache.dictionary_records
    cache.redis_client().hset(name, field_of(dictionary.id), records.seal(dictionary))
    cache.redis_client().hset(name, CURRENT, records.seal_current({prefix: dictionary.id}))


def dictionary_of(client, key):
    """The id of the dictionary that a stored value needs."""
    return dictionary_id_of(client.getrange(key, 0, START_BYTES - 1))


@pytest.fixture
def trained(make_cache):
    """A cache whose process writes with a dictionary."""
    cache = make_cache()
    share(cache, train(payloads(cache), 2048))
    cache.read_dictionaries()
    return cache


class TestSharing:
    async def test_set__small_record(self, trained, face_of, redis_client):
        """Every kind of write of the prefix is compressed, and every kind of read gives it back."""
        face = face_of(trained)
        await face.set("lead:1", RECORDS[501])
        await face.add("lead:2", RECORDS[502])
        await face.set_many({"lead:3": RECORDS[503]})
        await face.get_or_set("lead:4", lambda: RECORDS[504])

        found = await face.get_many([f"lead:{number}" for number in range(1, 5)])
        assert found == {f"lead:{number}": RECORDS[500 + number] for number in range(1, 5)}
        assert all(dictionary_of(redis_client, f"t:1:lead:{number}") for number in range(1, 5))
        assert await face.incr_version("lead:1") == 2
        assert await face.get("lead:1", version=2) == RECORDS[501]

    async def test_set__other_prefix(self, trained, redis_client):
        """Values of other prefixes are written as ever."""
        trained.set("call:1", RECORDS[501])

        assert dictionary_of(redis_client, "t:1:call:1") is None

    async def test_get__dictionary_not_known_yet(self, trained, make_cache, face_of):
        """A process that meets a value before its dictionary fetches that in the same call."""
        trained.set_many({f"lead:{number}": RECORDS[number] for number in range(20)})
        for read in (
            lambda face: face.get("lead:1"),
            lambda face: face.get_many([f"lead:{number}" for number in range(20)]),
            lambda face: face.incr_version("lead:3"),
        ):
            assert await read(face_of(make_cache())) not in (None, {})

    async def test_get__once_known(self, trained, redis_client):
        """A read of a value with a dictionary is one command, as any other."""
        trained.set("lead:1", RECORDS[501])
        trained.get("lead:1")
        before = redis_client.info("commandstats")
        for _ in range(50):
            trained.get("lead:1")
        after = redis_client.info("commandstats")

        calls = {name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after}
        assert calls["cmdstat_get"] == 50
        assert calls.get("cmdstat_hmget", 0) == calls.get("cmdstat_hget", 0) == 0

    @pytest.mark.needs_server("counts commands of one server")
    async def test_get__missing_dictionary(self, trained, make_cache, face_of, redis_client):
        """A value whose dictionary is gone is a miss, counted; Redis is not asked for it at every read."""
        trained.set("lead:1", RECORDS[501])
        redis_client.delete(HASH)
        reader = make_cache()
        face = face_of(reader)
        before = redis_client.info("commandstats").get("cmdstat_hmget", {"calls": 0})["calls"]
        for _ in range(5):
            assert await face.get("lead:1", "a miss") == "a miss"
            assert await face.get_many(["lead:1"]) == {}
        after = redis_client.info("commandstats")["cmdstat_hmget"]["calls"]

        assert after - before == 1
        assert reader.counted()["lead:"]["undecodable"] == 10
        assert reader.counted()["lead:"]["misses"] == 10

    async def test_get__forged_dictionary(self, trained, make_cache, face_of, redis_client):
        """A dictionary that was changed in Redis is not used: its values are misses, nothing is loaded."""
        trained.set("lead:1", RECORDS[501])
        known = trained.codec_for("lead:1")._dictionary
        forged = bytearray(redis_client.hget(HASH, field_of(known.id)))
        forged[-100] ^= 1
        for record in (bytes(forged), known.data, b"", train(payloads(trained), 1024).data):
            redis_client.hset(HASH, field_of(known.id), record)
            face = face_of(make_cache())

            assert await face.get("lead:1", "a miss") == "a miss"

    @pytest.mark.parametrize("damage", ["flipped", "of another kind", "wrong type", "names a missing one"])
    async def test_set__damaged_current(self, trained, make_cache, redis_client, damage):
        """Where it cannot be told which dictionary is current, values are written without, and read."""
        if damage == "flipped":
            redis_client.hset(HASH, CURRENT, redis_client.hget(HASH, CURRENT)[:-1] + b"?")
        elif damage == "of another kind":
            redis_client.hset(HASH, CURRENT, b"7")
        elif damage == "names a missing one":
            redis_client.hset(HASH, CURRENT, trained.dictionary_records.seal_current({"lead:": b"DICT"}))
        else:
            redis_client.delete(HASH)
            redis_client.set(HASH, "text")
        cache = make_cache()
        if damage != "wrong type":
            cache.read_dictionaries()
        cache.set("lead:1", RECORDS[501])

        assert dictionary_of(redis_client, "t:1:lead:1") is None
        assert cache.get("lead:1") == RECORDS[501]

    async def test_get__after_retraining(self, trained, redis_client):
        """Values of the dictionary before are read; new ones are written with the new one."""
        trained.set("lead:1", RECORDS[501])
        later = train(payloads(trained, 400), 1024)
        share(trained, later)
        trained.read_dictionaries()
        trained.set("lead:2", RECORDS[502])

        assert trained.get_many(["lead:1", "lead:2"]) == {"lead:1": RECORDS[501], "lead:2": RECORDS[502]}
        assert (
            dictionary_of(redis_client, "t:1:lead:2") == later.id != dictionary_of(redis_client, "t:1:lead:1")
        )

    async def test_set__no_longer_current(self, trained, redis_client):
        """When Redis names no dictionary any more, the next look at it ends the use."""
        redis_client.delete(HASH)
        trained.read_dictionaries()
        trained.set("lead:1", RECORDS[501])

        assert dictionary_of(redis_client, "t:1:lead:1") is None

    async def test_sets__members(self, make_cache, face_of):
        """Members of sets are found again after a dictionary has come into use."""
        cache = make_cache()
        face = face_of(cache)
        await face.sadd("lead:set", "x" * 60)
        share(cache, train(payloads(cache), 2048))
        cache.read_dictionaries()

        assert await face.sismember("lead:set", "x" * 60)
        assert await face.sadd("lead:set", "x" * 60) == 0
        assert await face.smembers("lead:set") == {"x" * 60}

    async def test_prefix__of_a_rule(self, make_cache, redis_client):
        """A rule's prefix has its own dictionary, and its compression level."""
        cache = make_cache(RULES={"lead:hot:": {"compress_level": 9}})
        share(cache, train(payloads(cache), 2048), prefix="lead:hot:")
        cache.read_dictionaries()
        cache.set_many({"lead:hot:1": RECORDS[501], "lead:1": RECORDS[502]})

        assert dictionary_of(redis_client, "t:1:lead:hot:1") is not None
        assert dictionary_of(redis_client, "t:1:lead:1") is None
        assert cache.get("lead:hot:1") == RECORDS[501]

    def test_flush__reads_what_is_current(self, trained, make_cache):
        """A process learns with its first flush what to compress new values with."""
        current = trained.codec_for("lead:1")._dictionary.id
        cache = make_cache(app={**APP, "STATS": {"FLUSH_INTERVAL": 0.05}})
        codec = cache.codec_for("lead:1")
        thread = Flusher()
        thread.start()
        deadline = time.monotonic() + 30
        while codec._dictionary is None and time.monotonic() < deadline:
            time.sleep(0.01)
        thread.finish()

        assert codec._dictionary.id == current


class TestProcesses:
    def test_get__trained_while_another_runs(self, redis_url, redis_client, make_caches):
        """A process that was running before reads what one with a dictionary writes, and the other way."""
        [cache] = make_caches(sample.CACHES)
        cache.set("lead:0", RECORDS[500])
        with subprocess.Popen(
            [sys.executable, "-c", READER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"REDIS_URL": redis_url, "DJANGO_SETTINGS_MODULE": "testproject.settings"},
        ) as other:

            def ask(line):
                other.stdin.write(line + "\n")
                other.stdin.flush()
                return json.loads(other.stdout.readline())

            assert json.loads(other.stdout.readline()) == RECORDS[500]
            share(cache, train(payloads(cache), 2048))
            cache.read_dictionaries()
            cache.set("lead:1", RECORDS[501])
            assert dictionary_of(redis_client, "crm:1:lead:1") is not None
            assert ask("lead:1") == RECORDS[501]
            ask("=lead:2")
            assert cache.get("lead:2") == RECORDS[500]
            other.stdin.close()
        assert other.returncode == 0
