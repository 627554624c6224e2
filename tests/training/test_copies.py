"""Dictionaries in Redis and in the database: kept, restored, sealed anew, pruned."""

from __future__ import annotations

import base64
import datetime

import pytest
from django.conf import settings
from django.utils import timezone
from django_redis.cache import RedisCache

from django_callcache.codec import Codec, Encoding, KeyRing
from django_callcache.codec.blob import START_BYTES, dictionary_id_of
from django_callcache.codec.compression import train
from django_callcache.codec.dictionary_records import CURRENT
from django_callcache.exceptions import TrainingRefused
from django_callcache.maintenance import run_once
from django_callcache.models import CompressionDictionary
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.sync.memory import MemoryStore
from django_callcache.training import Trial, copies, keep, learn, prune, restore
from tests.cache.conftest import APP
from tests.training.conftest import NUMBER
from tests.training.records import contacts, leads

pytestmark = pytest.mark.django_db

HASH = "callcache@t:dictionaries"
TOMORROW = datetime.timedelta(days=1, minutes=1)


def trained(cache, prefix="contact:", *, limit=500, size=2048):
    """Train and keep a dictionary, as the command does."""
    return keep(cache, prefix, learn(cache, prefix, limit=limit, size=size))


def another(cache, prefix="contact:", samples=300, size=1024):
    """Keep a dictionary that is not the present one, good or not."""
    codec = cache.codec_for(prefix)
    payloads = [codec.serialized(codec.encode(each, b"k"), b"k") for each in contacts(NUMBER)[:samples]]
    dictionary = train(payloads, size)
    return keep(
        cache,
        prefix,
        Trial(
            dictionary=dictionary,
            samples=samples,
            held_back=1,
            raw_bytes=2,
            payload_bytes=1,
            bytes_before=2,
            bytes_after=1,
            bytes_now=None,
            microseconds_before=0.0,
            microseconds_after=1.0,
        ),
    )


def dictionary_of(client, key):
    found = dictionary_id_of(client.getrange(key, 0, START_BYTES - 1))
    return found and found.hex()


class TestKeep:
    def test_keep__values_shrink(self, site, redis_client):
        """New values of the prefix take at most 0.35 of their plain payload, seal and header included."""
        codec = site.codec_for("contact:")
        plain = sum(
            len(codec.serialized(codec.encode(record, b"k"), b"k")) for record in contacts(NUMBER)[500:]
        )
        row = trained(site)
        for number, record in enumerate(contacts(NUMBER)[500:]):
            site.set(f"contact:new{number}", record)
        names = [f"t:1:contact:new{number}" for number in range(NUMBER - 500)]

        assert sum(map(redis_client.strlen, names)) <= 0.35 * plain
        assert {dictionary_of(redis_client, name) for name in names} == {row.dictionary_id}
        assert [site.get(f"contact:new{number}") for number in range(NUMBER - 500)] == list(
            contacts(NUMBER)[500:]
        )

    @pytest.mark.parametrize("records", [contacts, leads])
    @pytest.mark.needs_server("django-redis knows no cluster")
    def test_keep__memory(self, make_cache, redis_url, redis_client, records):
        """An entry takes at most 0.60 of the memory that django-redis takes for it."""
        cache, other = make_cache(), RedisCache(redis_url, {"KEY_PREFIX": "d"})
        entries = {f"person:{number:06d}": record for number, record in enumerate(records(2000))}
        cache.set_many(entries)
        trained(cache, "person:", limit=3000, size=4096)
        cache.set_many(entries)
        other.set_many(entries)

        ours, theirs = (
            sum(redis_client.memory_usage(f"{prefix}:1:{key}") for key in entries) for prefix in "td"
        )
        assert ours <= 0.60 * theirs

    def test_keep__retrained(self, site, redis_client):
        """The later dictionary is the current one; the earlier is kept, and its values are read."""
        first = trained(site)
        site.set("contact:0", contacts(NUMBER)[0])
        second = another(site)
        site.set("contact:1", contacts(NUMBER)[1])

        assert list(CompressionDictionary.objects.current()) == [second]
        assert CompressionDictionary.objects.get(pk=first.pk).retired_at is not None
        assert dictionary_of(redis_client, "t:1:contact:0") == first.dictionary_id
        assert dictionary_of(redis_client, "t:1:contact:1") == second.dictionary_id
        assert site.get("contact:0") == contacts(NUMBER)[0]

    def test_keep__the_first_again(self, site):
        """Going back to an earlier dictionary makes it the current one, once."""
        first = another(site, samples=300)
        another(site, samples=400)
        again = another(site, samples=300)

        assert again.pk == first.pk
        assert [row.pk for row in CompressionDictionary.objects.current()] == [first.pk]
        assert CompressionDictionary.objects.get(pk=first.pk).retired_at is None

    def test_keep__same_name(self, site, monkeypatch):
        """Two dictionaries never go by one name."""
        first = another(site)
        later = another(site, size=600)
        CompressionDictionary.objects.filter(pk=first.pk).update(
            dictionary_id=later.dictionary_id, prefix="a:"
        )
        monkeypatch.setattr(copies, "_data_of", lambda cache, row: b"another dictionary")

        with pytest.raises(TrainingRefused, match="is named"):
            another(site, size=600)


class TestRestore:
    def test_restore__after_flushdb(self, site, make_cache, redis_client):
        """The loop gives Redis back what it lost, and values written meanwhile are read by all."""
        row = trained(site)
        redis_client.flushdb()
        site.set("contact:0", contacts(NUMBER)[0])  # this process has it still
        newcomer = make_cache()
        assert newcomer.get("contact:0") is None

        report = run_once("default", remote=MemoryStore())

        assert report.errors == []
        assert make_cache().get("contact:0") == contacts(NUMBER)[0]
        assert set(redis_client.hkeys(HASH)) == {row.dictionary_id.encode(), CURRENT}
        assert restore(site) == 0

    @pytest.mark.parametrize("forged", [b"", b"7", b"forged"])
    def test_restore__altered(self, site, make_cache, redis_client, forged):
        """What was altered in Redis is put right."""
        row = trained(site)
        site.set("contact:0", contacts(NUMBER)[0])
        redis_client.hset(HASH, mapping={row.dictionary_id: forged, CURRENT: forged})

        assert restore(site) == 2
        assert make_cache().get("contact:0") == contacts(NUMBER)[0]

    def test_restore__nothing_trained(self, site, redis_client):
        """Without dictionaries nothing is written."""
        assert restore(site) == 0
        assert not redis_client.exists(HASH)

    def test_restore__rotated_secret(self, site, make_cache):
        """A dictionary outlives the secret that it was sealed with: the loop seals it anew."""
        row = trained(site)
        for secrets in (["new", *site._runtime.settings.secrets], ["new"]):
            cache = make_cache(app={**APP, "SECRETS": secrets})
            restore(cache)
            cache.set("contact:0", contacts(NUMBER)[0])
            assert dictionary_of(cache.redis_client(), "t:1:contact:0") == row.dictionary_id
            assert cache.get("contact:0") == contacts(NUMBER)[0]

    def test_restore__unreadable_copy(self, site, caplog):
        """A copy that no secret opens is told of, and keeps nothing else from being restored."""
        row = trained(site)
        other = another(site, prefix="contact:")
        CompressionDictionary.objects.filter(pk=row.pk).update(record=b"\x02\x00\x00\x00" + bytes(100))

        restore(site)
        assert f"dictionary={row.dictionary_id} unreadable" in caplog.text
        site.set("contact:0", contacts(NUMBER)[0])
        assert dictionary_of(site.redis_client(), "t:1:contact:0") == other.dictionary_id


class TestPrune:
    def test_prune__what_values_need(self, site, redis_client):
        """A dictionary stays as long as a value of any version names it; the current one stays anyway."""
        first = trained(site)
        site.set("contact:0", contacts(NUMBER)[0], version=5)
        second = another(site)
        site.sadd("contact:set", "member")

        assert prune(site) == []
        assert prune(site, now=timezone.now() + TOMORROW) == []
        site.delete("contact:0", version=5)
        assert prune(site) == []
        assert [row.dictionary_id for row in prune(site, now=timezone.now() + TOMORROW)] == [
            first.dictionary_id
        ]
        assert list(CompressionDictionary.objects.all()) == [second]
        assert set(redis_client.hkeys(HASH)) == {second.dictionary_id.encode(), CURRENT}

    def test_prune__what_stale_copies_need(self, make_cache, redis_client):
        """A dictionary stays as long as a stale copy needs it, though the value is gone."""
        cache = make_cache(RULES={"contact:": {"grace": 600}})
        first = another(cache)
        cache.get_or_set("contact:0", lambda: contacts(NUMBER)[0])
        another(cache, size=600)
        redis_client.delete("t:1:contact:0")

        assert prune(cache, now=timezone.now() + TOMORROW) == []
        redis_client.delete(cache.redis_keys.side(b"t:1:contact:0"))
        assert [row.pk for row in prune(cache, now=timezone.now() + TOMORROW)] == [first.pk]

    def test_prune__what_waits_for_the_remote_store(self, make_cache, redis_client):
        """A dictionary stays as long as an entry that waits needs it, though the value is gone."""
        cache = make_cache(RULES={"contact:": {"sync": "lww"}})
        first = another(cache)
        cache.set("contact:0", contacts(NUMBER)[0])
        another(cache, size=600)
        cache.clear()

        assert prune(cache, now=timezone.now() + TOMORROW) == []
        run_once("default", remote=MemoryStore())
        assert [row.pk for row in prune(cache, now=timezone.now() + TOMORROW)] == [first.pk]

    def test_prune__outbox_of_another_release(self, make_cache, redis_client):
        """Where it cannot be told what is needed nothing is deleted."""
        cache = make_cache(RULES={"contact:": {"sync": "lww"}})
        another(cache)
        another(cache, size=600)
        redis_client.hset(cache.redis_keys.outbox(b"t:1:contact:9").payload, "t:1:contact:9", b"9|strange")

        with pytest.raises(TrainingRefused, match="another release"):
            prune(cache, now=timezone.now() + TOMORROW)
        assert CompressionDictionary.objects.count() == 2


class TestSync:
    def test_push__no_dictionary_needed(self, make_cache):
        """What reaches the remote store as sealed bytes is read by a cache without any dictionary."""
        cache = make_cache(RULES={"contact:": {"sync": "lww"}})
        another(cache)
        value = {**contacts(NUMBER)[0], "tags": ("a", "b")}  # JSON would make a list of the tuple
        cache.set("contact:0", value)
        remote = MemoryStore()
        run_once("default", remote=remote)
        payload = base64.b64decode(remote.stored("tests", "1:contact:0").row.payload)

        assert dictionary_of(cache.redis_client(), "t:1:contact:0") is not None
        assert dictionary_id_of(payload[:START_BYTES]) is None
        assert (
            Codec("default", KeyRing([settings.SECRET_KEY]), Encoding()).decode(payload, b"t:1:contact:0")
            == value
        )

    def test_push__missing_dictionary(self, make_cache, redis_client):
        """An entry whose dictionary is nowhere waits, and goes when the dictionary is back."""
        cache = make_cache(RULES={"contact:": {"sync": "lww"}})
        row = another(cache)
        cache.set("contact:0", contacts(NUMBER)[0])
        saved = redis_client.hgetall(HASH)
        redis_client.delete(HASH)
        CompressionDictionary.objects.all().delete()

        cache = make_cache(RULES={"contact:": {"sync": "lww"}})
        report = run_once("default", remote=MemoryStore())
        assert (report.sync.pushed, report.sync.unknown, report.sync.backlog) == (0, 1, 1)
        assert row.dictionary_id

        redis_client.hset(HASH, mapping=saved)
        cache = make_cache(RULES={"contact:": {"sync": "lww"}})
        outbox = DirtyEntries(cache.redis_client(), cache.redis_keys)
        redis_client.zadd(cache.redis_keys.outbox(b"t:1:contact:0").due, {"t:1:contact:0": 0})
        assert run_once("default", remote=MemoryStore()).sync.pushed == 1
        assert outbox.depth() == 0
