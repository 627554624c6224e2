"""Models as sources of records."""

from __future__ import annotations

from datetime import date

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_callcache.cache.loading import sources
from django_callcache.conf import ModelSource
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
