"""Models as sources of records."""

from __future__ import annotations

from datetime import date

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from django_callcache.cache.loading import sources
from django_callcache.conf import ModelSource
from django_callcache.orm import InvalidatingQuerySet
from django_callcache.orm.sources import ModelLoader, stale_by
from testproject.crm.models import Campaign
from testproject.crm.records import campaign_record


def campaigns(*numbers):
    for number in numbers:
        Campaign.objects.create(pk=number, name=f"May {number}", starts_on=date(2008, 5, 1))


@pytest.mark.django_db
class TestModelLoader:
    def load(self, names, **stated):
        return ModelLoader(ModelSource(model="crm.Campaign", **stated))(names)

    def test_call(self, django_assert_num_queries):
        """The rows of all names are read at once, each a dict of its columns."""
        campaigns(1, 2, 3)
        with django_assert_num_queries(1):
            found = self.load(["1", "3"])
        assert list(found) == ["1", "3"]
        assert found["3"] == Campaign.objects.values().get(pk=3)

    def test_call__fields(self):
        """A record has the columns that are asked for, in their order."""
        campaigns(1)
        assert self.load(["1"], fields=("name", "calls_made")) == {"1": {"name": "May 1", "calls_made": 0}}

    @pytest.mark.parametrize("record", [campaign_record, "testproject.crm.records.campaign_record"])
    def test_call__record(self, record):
        """A callable makes the record of an instance."""
        campaigns(1)
        assert self.load(["1"], record=record) == {"1": campaign_record(Campaign.objects.get())}

    @pytest.mark.parametrize("name", ["9", "", "x", "1.0", "01", " 1", "9" * 30, "-1"])
    def test_call__absent(self, name):
        """What is no row's own name finds nothing, and does not keep the others from being found."""
        campaigns(1)
        assert list(self.load([name, "1"])) == ["1"]

    def test_call__many(self, django_assert_num_queries):
        """More names than fit into one query are read in portions."""
        Campaign.objects.bulk_create(
            Campaign(pk=number, name="May", starts_on=date(2008, 5, 1)) for number in range(1, 1201)
        )
        with django_assert_num_queries(3):
            assert len(self.load([str(number) for number in range(1, 1201)])) == 1200

    @pytest.mark.parametrize(
        ("stated", "words"),
        [
            ({"model": "crm.Campain"}, "Did you mean 'crm.Campaign'"),
            ({"model": "crm.Campaign", "by": "name"}, "not unique"),
            ({"model": "crm.Campaign", "fields": ("nam",)}, "Did you mean 'name'"),
        ],
    )
    def test_init__wrong(self, stated, words):
        """What is not there is refused."""
        with pytest.raises(ImproperlyConfigured, match=words):
            ModelLoader(ModelSource(**stated))


class TestRegistration:
    def test_register_sources(self, make_caches, redis_url):
        """A rule's model is known to the cache of its alias as long as the settings say so."""
        rules = {"campaign:": {"source": "crm.Campaign"}, "c": {"source": "crm.Contact"}, "x:": {"ttl": 1}}
        options = {"OPTIONS": {"CALLCACHE": {"RULES": rules, "ALIAS": "main"}}}
        make_caches({"default": {"LOCATION": redis_url, "KEY_PREFIX": "t", **options}})
        assert sources.prefixes("main") == ("campaign:", "c")
        assert sources.of("main", "campaign:7").loader.model is Campaign
        make_caches({"default": {"LOCATION": redis_url, "KEY_PREFIX": "t"}})
        assert sources.prefixes("main") == ()

    def test_register_sources__wrong(self, make_caches, redis_url, caplog):
        """A source that is not there is logged and left out."""
        rules = {"campaign:": {"source": "crm.Campain"}}
        options = {"OPTIONS": {"CALLCACHE": {"RULES": rules}}}
        make_caches({"default": {"LOCATION": redis_url, "KEY_PREFIX": "t", **options}})
        assert sources.prefixes("default") == ()
        assert "source=crm.Campain of prefix=campaign: left out" in caplog.text

    def test_stale_by(self):
        """A row's record has the key that its column's value makes, braces in a prefix included."""
        rule = stale_by("{c}:", ModelSource(model="crm.Campaign", by="id"), "default")
        assert rule.keys[0].render({"id": 7}.__getitem__) == "{c}:7"


def overtaken_record(campaign):
    """A record of a row that somebody else changes just after it was read."""
    if campaign.name == "old":
        Campaign.objects.get(pk=campaign.pk).save()
        InvalidatingQuerySet(Campaign).filter(pk=campaign.pk).update(name="new")
    return {"name": campaign.name}


@pytest.mark.django_db(transaction=True)
class TestLoad:
    @pytest.fixture
    def cache(self, make_cache):
        rules = {
            "campaign:": {"ttl": 60, "source": "crm.Campaign", "absent_ttl": 60},
            "brief:": {"source": {"model": "crm.Campaign", "fields": ["name"]}},
            "overtaken:": {"source": {"model": "crm.Campaign", "record": overtaken_record}},
        }
        return make_cache(RULES=rules)

    def test_load__changed(self, cache, django_assert_num_queries):
        """A record is read once, and once more when its row was changed, under every prefix it is kept."""
        campaigns(1)
        with django_assert_num_queries(2):
            for _ in range(2):
                assert cache.load("campaign:1")["name"] == "May 1"
                assert cache.load("brief:1") == {"name": "May 1"}
        row = Campaign.objects.get()
        row.name = "June"
        row.save()
        assert cache.load("campaign:1")["name"] == "June"
        assert cache.load("brief:1") == {"name": "June"}

    def test_load__created_and_deleted(self, cache, django_assert_num_queries):
        """A row that comes to be or goes is seen at once, though its absence was remembered."""
        with django_assert_num_queries(1):
            assert [cache.load("campaign:1"), cache.load("campaign:1")] == [None, None]
        campaigns(1)
        assert cache.load("campaign:1")["name"] == "May 1"
        Campaign.objects.all().delete()
        assert cache.load("campaign:1") is None

    def test_load_many(self, cache, django_assert_num_queries):
        """Many records are one query."""
        campaigns(1, 2, 3)
        with django_assert_num_queries(1):
            for _ in range(2):
                found = cache.load_many(["campaign:1", "campaign:2", "campaign:9"])
                assert sorted(found) == ["campaign:1", "campaign:2"]

    def test_load__rolled_back(self, cache):
        """A change that is rolled back leaves the record in the cache."""
        campaigns(1)
        cache.load("campaign:1")
        with transaction.atomic():
            InvalidatingQuerySet(Campaign).update(name="June")
            transaction.set_rollback(True)
        assert cache.get("campaign:1")["name"] == "May 1"

    @pytest.mark.parametrize("is_many", [False, True])
    def test_load__overtaken(self, cache, is_many):
        """A record that was read before a change, and would be stored after it, is not stored."""
        Campaign.objects.create(pk=1, name="old", starts_on=date(2008, 5, 1))
        key = "overtaken:1"
        seen = cache.load_many([key])[key] if is_many else cache.load(key)
        assert seen == {"name": "old"}
        assert cache.load(key) == {"name": "new"}

    async def test_aload(self, cache):
        """Asynchronous code reads and invalidates the same."""
        await sync_to_async(campaigns)(1, 2)
        assert (await cache.aload("campaign:1"))["name"] == "May 1"
        row = await Campaign.objects.aget(pk=1)
        row.name = "June"
        await row.asave()
        found = await cache.aload_many(["campaign:1", "campaign:2", "campaign:3"])
        assert {key: record["name"] for key, record in found.items()} == {
            "campaign:1": "June",
            "campaign:2": "May 2",
        }
