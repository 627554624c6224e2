"""Putting what is stored under the newest secret, and encrypting what became sensitive."""

from __future__ import annotations

import io
import json
import threading

import pytest
from django.core.management import CommandError, call_command

from django_callcache.codec import blob
from django_callcache.models import SyncConflict, SyncRejection
from django_callcache.outbox.buckets import used_buckets
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.replication.keeper import digest_of
from django_callcache.replication.resealing import reseal_rows
from django_callcache.rotation import Rotated, rotate
from tests.cache.conftest import APP

RULES = {
    "contact:": {"sensitive": True},
    "call:": {"sync": "lww", "sensitive": True},
    "plain:": {"sync": "lww"},
}
CLEAR = {prefix: {**rule, "sensitive": False} for prefix, rule in RULES.items()}
LONG = ["text"] * 1000


def secrets(*names):
    return {**APP, "SECRETS": list(names)}


def fill(cache):
    """Write every kind of thing that is sealed; return what reads it."""
    cache.set_many({f"contact:{n}": {"n": n} for n in range(30)}, timeout=1000)
    cache.set_many({"free": LONG, "none": None, "number": 5, "contact:number": 6}, timeout=None)
    cache.set_many({f"call:{n}": [n] for n in range(20)})
    cache.set_many({f"plain:{n}": (n, "x") for n in range(20)})
    cache.delete("plain:19")
    cache.sadd("members", "a", "b", ("c", 1))
    cache.zadd("scores", {"a": 1.5, "b": 2})
    cache.hset("contact:hash", mapping={"one": "1", "two": 2})
    cache.hset("hash", "field", "x")
    return lambda cache: {
        **cache.get_many([f"contact:{n}" for n in range(30)]),
        **cache.get_many([f"call:{n}" for n in range(20)]),
        **cache.get_many([f"plain:{n}" for n in range(20)]),
        **cache.get_many(["free", "none", "number", "contact:number"]),
        "members": cache.smembers("members"),
        "scores": cache.zrange("scores", 0, -1, withscores=True),
        "hashes": (cache.hgetall("contact:hash"), cache.hgetall("hash")),
    }


class TestRows:
    @pytest.mark.django_db
    def test_rotate__what_waits_for_a_person(self, make_cache):
        """Rejected entries and open conflicts can be decided after the old secret is gone."""
        old = make_cache(RULES=RULES, app=secrets("old"))
        key = b"t:1:call:7"
        blob = old.codec_for("call:7").encode({"n": 7}, key)
        common = {"alias": old.alias, "key": "1:call:7", "digest": digest_of(key), "redis_key": key}
        rejection = SyncRejection.objects.create(
            **common, version=1, remote_version=0, payload=blob, reason="too long"
        )
        conflict = SyncConflict.objects.create(
            **common, local_version=1, local_payload=b"", local_deleted=True,
            remote_version=2, remote_order=3, remote_origin="b", remote_payload=blob,
        )  # fmt: skip
        cache = make_cache(RULES=RULES, app=secrets("new", "old"))
        call_command("callcache_rotate", alias="default", stdout=io.StringIO(), verbosity=0)
        again, rotated = Rotated(), Rotated()
        reseal_rows(cache, again)
        reseal_rows(make_cache(RULES=RULES, app=secrets("new")), rotated)
        assert (again.seen, again.resealed, rotated.unreadable) == (2, 0, 0)
        codec = make_cache(RULES=RULES, app=secrets("new")).codec_for("call:7")
        for row, field in ((rejection, "payload"), (conflict, "remote_payload")):
            row.refresh_from_db()
            assert codec.decode(bytes(getattr(row, field)), key) == {"n": 7}
            assert bytes(getattr(row, field)) != blob

    @pytest.mark.django_db
    def test_rotate__unreadable_row(self, make_cache):
        """A row that no secret opens is counted and stays as it is."""
        key = b"t:1:call:7"
        row = SyncRejection.objects.create(
            alias="default", key="1:call:7", digest=digest_of(key), redis_key=key,
            version=1, remote_version=0, payload=b"rubbish" * 9, reason="odd",
        )  # fmt: skip
        rotated = Rotated()
        reseal_rows(make_cache(RULES=RULES, app=secrets("new", "old")), rotated)
        assert (rotated.unreadable, rotated.resealed) == (1, 0)
        row.refresh_from_db()
        assert bytes(row.payload) == b"rubbish" * 9


def payloads_of(client, names):
    """What waits in the outbox, as it lies there, by Redis key."""
    buckets = used_buckets(client, names)
    return {key: text for bucket in buckets for key, text in client.hgetall(bucket.payload).items()}


class TestRotate:
    def test_rotate__old_secret_can_be_dropped(self, make_cache, redis_client):
        """After a rotation the old secret is not needed: values, members, times to live and outbox (F-S8)."""
        read = fill(make_cache(RULES=RULES, app=secrets("old")))
        expected = read(make_cache(RULES=RULES, app=secrets("new", "old")))
        names = make_cache(RULES=RULES, app=secrets("new", "old")).redis_keys
        versions = {key: text.split(b"|")[1] for key, text in payloads_of(redis_client, names).items()}
        left = {key: redis_client.pttl(key) for key in redis_client.keys("t:*")}
        rotated = rotate(make_cache(RULES=RULES, app=secrets("new", "old")), batch=7)
        assert rotated == Rotated(seen=rotated.seen, resealed=rotated.resealed)
        # 103 values with a seal, 8 members and fields, 39 entries with a value in the outbox.
        assert rotated.resealed == 30 + 20 + 19 + 2 + 1 + 3 + 2 + 3 + 39
        cache = make_cache(RULES=RULES, app=secrets("new"))
        assert read(cache) == expected
        payloads = payloads_of(redis_client, names)
        assert {key: text.split(b"|")[1] for key, text in payloads.items()} == versions
        assert DirtyEntries(redis_client, names).payload_bytes() == sum(map(len, payloads.values()))
        assert {key: redis_client.pttl(key) // 100_000 for key in left} == {
            k: v // 100_000 for k, v in left.items()
        }
        entries = DirtyEntries(redis_client, cache.redis_keys).claim(100, 10**9, 30).entries
        for entry in entries:
            if not entry.deleted:
                cache.codec_for(entry.remote_key.partition(":")[2]).decode(entry.blob, entry.redis_key)
        assert len(entries) == 40

    def test_rotate__twice(self, make_cache, redis_client):
        """What is done is not done again, so that a rotation can be stopped and started at any time."""
        fill(make_cache(RULES=RULES, app=secrets("old")))
        cache = make_cache(RULES=RULES, app=secrets("new", "old"))
        first = rotate(cache)
        dumped = {key: redis_client.dump(key) for key in redis_client.keys("t:*")}
        second = rotate(cache)
        assert (second.seen, second.resealed, second.changed) == (first.seen, 0, 0)
        assert {key: redis_client.dump(key) for key in redis_client.keys("t:*")} == dumped

    def test_rotate__becomes_sensitive(self, make_cache, redis_client):
        """What was stored before its prefix became sensitive is encrypted, in the outbox too."""
        make_cache(RULES=CLEAR, app=secrets("s")).set_many({"call:1": "planted", "contact:n": 41887766})
        cache = make_cache(RULES=RULES, app=secrets("s"))
        assert rotate(cache).resealed == 3
        keys = redis_client.keys("t:*") + [
            name for bucket in used_buckets(redis_client, cache.redis_keys) for name in bucket
        ]
        assert all(b"planted" not in redis_client.dump(key) for key in keys if redis_client.exists(key))
        assert redis_client.get("t:1:contact:n")[1] & blob.AEAD
        assert cache.get_many(["call:1", "contact:n"]) == {"call:1": "planted", "contact:n": 41887766}

    def test_rotate__stale_copies(self, make_cache, redis_client):
        """A stale copy beside a value is sealed anew as the value is."""
        old = make_cache(RULES=RULES, app=secrets("old"))
        side, key = old.redis_keys.side(b"t:1:contact:1"), b"t:1:contact:1"
        old.set("contact:1", "fresh")
        redis_client.hset(side, "g", old.codec_for("contact:1").encode("stale", key))
        assert rotate(make_cache(RULES=RULES, app=secrets("new", "old"))).resealed == 2
        codec = make_cache(RULES=RULES, app=secrets("new")).codec_for("contact:1")
        assert codec.decode(redis_client.hget(side, "g"), key) == "stale"

    def test_rotate__under_load(self, make_cache):
        """No write is lost to a rotation that goes on at the same time, and no read fails (F-S8)."""
        make_cache(RULES=RULES, app=secrets("old")).set_many({f"call:{n}": 0 for n in range(50)})
        cache = make_cache(RULES=RULES, app=secrets("new", "old"), DEADLINE=10)
        wrong, rounds = [], 30
        rotated = threading.Event()

        def write():
            for number in range(1, rounds + 1):
                for n in range(50):
                    cache.set(f"call:{n}", number)
                    if cache.get(f"call:{n}") != number:
                        wrong.append((n, number))

        def turn():
            while not rotated.is_set():
                rotate(cache, batch=5)

        turning = threading.Thread(target=turn)
        turning.start()
        write()
        rotated.set()
        turning.join()
        rotate(cache)
        assert wrong == []
        cache = make_cache(RULES=RULES, app=secrets("new"))
        assert cache.get_many([f"call:{n}" for n in range(50)]) == {f"call:{n}": rounds for n in range(50)}

    def test_rotate__unreadable(self, make_cache, redis_client):
        """What no secret opens is counted and left; a foreign type too."""
        make_cache(app=secrets("lost")).set("a", "x")
        redis_client.rpush("t:1:list", "x")
        rotated = rotate(make_cache(app=secrets("new", "old")))
        assert (rotated.seen, rotated.resealed, rotated.unreadable) == (1, 0, 1)


@pytest.mark.django_db
class TestCommand:
    def test_command__facts(self, make_cache):
        """The command tells what it did, as text and as JSON, and exits with 0."""
        make_cache(app=secrets("old")).set("a", "x")
        make_cache(app=secrets("new", "old"))
        told = io.StringIO()
        call_command("callcache_rotate", "--json", stdout=told, stderr=io.StringIO())
        facts = json.loads(told.getvalue())
        assert (facts["alias"], facts["seen"], facts["resealed"], facts["changed"]) == ("default", 1, 1, 0)
        told = io.StringIO()
        call_command(
            "callcache_rotate", "--alias", "default", "--batch", "9", stdout=told, stderr=io.StringIO()
        )
        assert "sealed 0 anew" in told.getvalue()

    @pytest.mark.parametrize("arguments", [["--alias", "nowhere"], ["--batch", "0"], ["--batch", "x"]])
    def test_command__wrong_usage(self, make_cache, arguments):
        """Wrong usage ends with 2 and says what is wrong."""
        make_cache()
        with pytest.raises(CommandError) as raised:
            call_command("callcache_rotate", *arguments, stderr=io.StringIO())
        assert raised.value.returncode in (1, 2)
        assert arguments[1] in str(raised.value)

    def test_command__redis_fails(self, make_cache):
        """A Redis that cannot be reached ends it with 1, without a password in the message."""
        make_cache("redis://:secret@127.0.0.1:1/0")
        with pytest.raises(CommandError, match="again") as raised:
            call_command("callcache_rotate", stderr=io.StringIO())
        assert raised.value.returncode == 1
        assert "secret" not in str(raised.value)
