"""What changes of rows make stale, heard of by signals."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models, transaction
from django.db.models import F, signals
from django.test.utils import isolate_apps

from django_callcache.orm import invalidates
from testproject.crm.models import Call, Campaign, Contact

CALLS = {"keys": ["calls:{campaign}", "contact:{contact_id}"]}


def campaign(number=1, **changes):
    return Campaign.objects.create(pk=number, name="May", starts_on=date(2008, 5, 1), **changes)


def contact(number=1):
    return Contact.objects.create(pk=number, age=30)


def call(number=1, campaign_id=1, contact_id=1):
    return Call.objects.create(
        pk=number,
        campaign_id=campaign_id,
        contact_id=contact_id,
        started_at=datetime(2008, 5, 5, tzinfo=UTC),
        duration_seconds=60,
    )


@pytest.mark.django_db(transaction=True)
class TestSave:
    def test_save__created(self, stale_by, kept):
        """A new row makes stale what its key names: it may be known as absent."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        campaign(2)
        assert kept() == {"campaign:2"}

    def test_save__changed(self, stale_by, kept):
        """So does a row that is changed, and its neighbours' entries stay."""
        row = campaign(2)
        stale_by(crm__Campaign={"keys": ["campaign:{pk}", "calls:{id}"]})
        row.save()
        assert kept() == {"campaign:2", "calls:2"}

    def test_save__key_alone_needs_no_query(self, stale_by, kept, django_assert_num_queries):
        """Where a rule names the primary key alone, a save costs no further query."""
        row = campaign(2)
        stale_by(crm__Campaign=["campaign:{pk}"])
        with django_assert_num_queries(1):
            row.save()
        assert kept() == {"campaign:2"}

    def test_save__moved(self, stale_by, kept, django_assert_num_queries):
        """A column that changes makes stale what its old value names and what its new one does."""
        for number in (1, 2, 3):
            campaign(number)
        contact()
        row = call(campaign_id=1)
        stale_by(crm__Call=CALLS)
        row.campaign_id = 2
        with django_assert_num_queries(2):
            row.save()
        assert kept() == {"calls:1", "calls:2", "contact:1"}

    def test_save__moved_by_another(self, stale_by, kept):
        """What the row was is read from the database: others may have changed it since it was loaded."""
        for number in (1, 2, 3):
            campaign(number)
        contact()
        row = call(campaign_id=1)
        Call.objects.update(campaign_id=2)
        stale_by(crm__Call={"keys": ["calls:{campaign}"]})
        row.campaign_id = 3
        row.save()
        assert {"calls:2", "calls:3"} <= kept()

    def test_save__some_fields(self, stale_by, kept):
        """A value that was set but not saved does not hide the one in the database."""
        for number in (1, 2):
            campaign(number)
        contact()
        row = call(campaign_id=1)
        stale_by(crm__Call={"keys": ["calls:{campaign}"]})
        row.campaign_id = 2
        row.save(update_fields=["duration_seconds"])
        assert "calls:1" in kept()

    def test_save__expression(self, stale_by, cache):
        """What the database computes is read from it."""
        row = campaign(calls_made=4)
        stale_by(crm__Campaign=["made:{calls_made}"])
        cache.set_many({"made:4": 1, "made:5": 1, "made:6": 1})
        row.calls_made = F("calls_made") + 1
        row.save()
        assert [key for key in ("made:4", "made:5", "made:6") if key in cache] == ["made:6"]

    def test_save__deferred(self, stale_by, kept):
        """Columns that were not loaded are read."""
        for number in (1, 2):
            campaign(number)
        contact()
        call(campaign_id=2)
        stale_by(crm__Call=CALLS)
        Call.objects.only("duration_seconds").get().save()
        assert kept() == {"calls:2", "contact:1"}

    def test_save__time(self, stale_by, cache):
        """A time stands in a key as the database gives it, whatever zone it was written in."""
        stale_by(crm__Contact=["last:{last_called_at}"])
        key = "last:2008-05-05T14:00:00+00:00"
        cache.set(key, 1)
        Contact.objects.create(age=30, last_called_at=datetime.fromisoformat("2008-05-05T09:00:00-05:00"))
        assert key not in cache

    def test_save__text_for_a_number(self, stale_by, kept):
        """A value is named as its column reads it."""
        stale_by(crm__Campaign=["campaign:{calls_made}"])
        campaign(calls_made="03")
        assert kept() == {"campaign:3"}

    def test_save__prefix_and_alias(self, stale_by, cache):
        """Prefixes are deleted whole, in the cache that the rule names, and no further."""
        other = caches["other"]
        for each in (cache, other):
            each.set_many({"calls:1:today": 1, "calls:1:week": 1, "calls:10:today": 1})
        stale_by(crm__Campaign={"prefixes": ["calls:{pk}:"], "alias": "other"})
        campaign(1)
        assert sorted(other.keys("*")) == ["calls:10:today"]
        assert len(cache.keys("calls:*")) == 3

    def test_save__tags(self, stale_by, cache):
        """Entries are dropped by the tags that the row's columns name."""
        for number in (1, 2):
            cache.set(f"report:{number}", 1, tags=[f"campaign-{number}", "campaigns"])
        stale_by(crm__Campaign={"tags": ["campaign-{pk}"]})
        campaign(1)
        assert ("report:1" in cache, "report:2" in cache) == (False, True)

    def test_save__other_backend(self, stale_by):
        """Keys are deleted from a cache of another backend too."""
        caches["local"].set("campaign:1", 1)
        stale_by(crm__Campaign={"keys": ["campaign:{pk}"], "alias": "local"})
        campaign(1)
        assert "campaign:1" not in caches["local"]

    def test_save__other_model(self, stale_by, kept):
        """Models without a rule cost and delete nothing."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        contact(1)
        assert kept() == set()
        assert not signals.post_save.has_listeners(Contact)

    async def test_asave(self, stale_by, kept):
        """Asynchronous code publishes the same."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        row = await sync_to_async(campaign)(2)
        assert await sync_to_async(kept)() == {"campaign:2"}
        await caches["default"].aset("campaign:2", "old")
        await row.asave()
        assert await sync_to_async(kept)() == {"campaign:2"}


@pytest.mark.django_db(transaction=True)
class TestDelete:
    def test_delete(self, stale_by, kept):
        """A deleted row makes stale what it was part of, and so do those that go with it."""
        for number in (1, 2, 3):
            campaign(number)
        contact()
        row = call(1, campaign_id=1)
        call(2, campaign_id=2)
        stale_by(crm__Call=CALLS, crm__Campaign=["campaign:{pk}"])
        row.campaign_id = 3  # never saved
        row.delete()
        assert {"calls:1", "contact:1"} <= kept()
        Campaign.objects.get(pk=2).delete()
        assert {"campaign:2", "calls:2"} <= kept()
        assert "calls:4" not in kept()

    def test_delete__queryset(self, stale_by, kept):
        """A queryset deletes row by row where a model has rules."""
        for number in (1, 2):
            campaign(number)
        contact()
        call(1, campaign_id=1)
        call(2, campaign_id=2)
        stale_by(crm__Call=CALLS)
        Call.objects.only("duration_seconds").delete()
        assert kept() == {"calls:1", "calls:2", "contact:1"}


@pytest.mark.django_db(transaction=True)
class TestTransactions:
    def test_commit__once(self, stale_by, kept, monkeypatch):
        """What a transaction makes stale is deleted when it commits, all at once and each key once."""
        asked = []
        delete_many = type(caches["default"]).delete_many
        monkeypatch.setattr(
            type(caches["default"]),
            "delete_many",
            lambda self, keys, **kwargs: asked.append(list(keys)) or delete_many(self, keys, **kwargs),
        )
        stale_by(crm__Campaign=["campaign:{pk}"])
        with transaction.atomic():
            campaign(1).save()
            with transaction.atomic():
                campaign(2).save()
            campaign(3)
            assert kept() == set()
        assert asked == [["campaign:1", "campaign:2", "campaign:3"]]
        assert kept() == {"campaign:1", "campaign:2", "campaign:3"}

    def test_rollback(self, stale_by, kept):
        """A transaction that is rolled back deletes nothing, nor does a later commit of its."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        with suppress(LookupError), transaction.atomic():
            campaign(1)
            raise LookupError
        campaign(2)
        assert kept() == {"campaign:2"}

    def test_rollback__savepoint(self, stale_by, kept):
        """A savepoint that is rolled back deletes nothing; what is around it does."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        with transaction.atomic():
            campaign(1)
            with transaction.atomic():
                campaign(2)
                with suppress(LookupError), transaction.atomic():
                    campaign(3)
                    raise LookupError
            with suppress(LookupError), transaction.atomic():
                with transaction.atomic():
                    campaign(4)
                raise LookupError
        assert kept() == {"campaign:1", "campaign:2"}

    def test_rollback__by_hand(self, stale_by, kept):
        """So does a transaction that is told to roll back."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        with transaction.atomic():
            campaign(1)
            transaction.set_rollback(True)
        assert kept() == set()

    def test_commit__redis_down(self, stale_by, make_caches, caplog):
        """Where the cache cannot be reached and raises, the commit stands, and it is said in the log."""
        unreachable = {"LOCATION": "redis://127.0.0.1:1/0", "OPTIONS": {"CALLCACHE": {"ON_ERROR": "raise"}}}
        stale_by(crm__Campaign=["campaign:{pk}"])
        make_caches({"default": unreachable}, app={"INVALIDATE": {"crm.Campaign": ["campaign:{pk}"]}})
        campaign(1)
        assert Campaign.objects.filter(pk=1).exists()
        assert "Stale entries may still be in the cache" in caplog.text


class TestCaptured:
    """Within Django's TestCase nothing commits."""

    @pytest.mark.django_db
    def test_captured(self, stale_by, kept, django_capture_on_commit_callbacks):
        """What Django captures of a test's transaction publishes what was done within, each time."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        row = campaign(1)
        assert kept() == set()
        for _ in range(2):
            caches["default"].set("campaign:1", "old")
            with django_capture_on_commit_callbacks(execute=True):
                row.save()
            assert kept() == {"campaign:1"}


@pytest.mark.django_db(transaction=True)
class TestManyToMany:
    @pytest.fixture
    def _rows(self):
        for number in (1, 2, 3):
            User.objects.create(pk=number, username=f"user-{number}")
            Group.objects.create(pk=number, name=f"group-{number}")

    @pytest.mark.usefixtures("_rows")
    def test_add_and_remove(self, stale_by, kept):
        """Both ends of a relation are stale when it is made and when it ends, from either side."""
        cache = stale_by(auth__User=["user:{pk}"], auth__Group=["group:{pk}"])
        User.objects.get(pk=1).groups.add(2, 3)
        assert kept() == {"user:1", "group:2", "group:3"}
        cache.set_many(dict.fromkeys(kept(), "old"))
        Group.objects.get(pk=3).user_set.remove(1)
        assert kept() == {"user:1", "group:3"}

    @pytest.mark.usefixtures("_rows")
    @pytest.mark.parametrize("is_forward", [True, False])
    def test_clear(self, stale_by, kept, is_forward):
        """Those that a relation led to are stale when it is cleared."""
        User.objects.get(pk=1).groups.add(1, 2)
        User.objects.get(pk=2).groups.add(1)
        stale_by(auth__User=["user:{username}", "user:{pk}"], auth__Group=["group:{pk}"])
        if is_forward:
            User.objects.get(pk=1).groups.clear()
            assert kept() == {"user:1", "group:1", "group:2"}
        else:
            Group.objects.get(pk=1).user_set.clear()
            assert kept() == {"user:1", "user:2", "group:1"}

    @pytest.mark.usefixtures("_rows")
    def test_set__one_side(self, stale_by, kept):
        """A model without rules at the other end is none of their business."""
        stale_by(auth__Group=["group:{name}", "group:{pk}"])
        User.objects.get(pk=1).groups.set([1, 2])
        assert kept() == {"group:1", "group:2"}

    @pytest.mark.usefixtures("_rows")
    def test_add__rolled_back(self, stale_by, kept):
        """Nor is anything published that is rolled back."""
        stale_by(auth__User=["user:{pk}"])
        with transaction.atomic():
            User.objects.get(pk=1).groups.add(2)
            transaction.set_rollback(True)
        assert kept() == set()


@pytest.mark.django_db(transaction=True)
class TestInheritance:
    def test_save__proxy(self, stale_by, kept):
        """A proxy's rows are its model's."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        with isolate_apps("testproject.crm"):

            class Season(Campaign):
                class Meta:
                    app_label = "crm"
                    proxy = True

        Season.objects.create(pk=2, name="May", starts_on=date(2008, 5, 1))
        assert kept() == {"campaign:2"}

    def test_save__child(self, stale_by, kept):
        """A child's row is one of its parent's too."""
        stale_by(crm__Campaign=["campaign:{pk}", "calls:{calls_made}"])
        with isolate_apps("testproject.crm"):

            class Season(Campaign):
                weather = models.CharField(max_length=9)

                class Meta:
                    app_label = "crm"

        with connection.schema_editor() as editor:
            editor.create_model(Season)
        try:
            row = Season.objects.create(pk=2, name="May", starts_on=date(2008, 5, 1), calls_made=3)
            assert kept() == {"campaign:2", "calls:3"}
            caches["default"].set("campaign:2", "old")
            row.delete()
            assert "campaign:2" in kept()
        finally:
            with connection.schema_editor() as editor:
                editor.delete_model(Season)


@pytest.mark.django_db(transaction=True)
class TestRegistration:
    @pytest.mark.usefixtures("registered")
    def test_invalidates(self, stale_by, kept):
        """Code can say what a model makes stale; the settings' rules hold beside it."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        invalidates(Campaign, keys=["calls:{pk}"])
        campaign(1)
        assert kept() == {"campaign:1", "calls:1"}

    @pytest.mark.usefixtures("registered")
    @pytest.mark.parametrize(
        ("stated", "words"),
        [
            ({"keys": ["campaign:{nam}"]}, "Campaign has no column 'nam'. Did you mean 'name'"),
            ({"keys": ["campaign:{calls}"]}, "has no column 'calls'. Did you mean 'calls_made'"),
            ({"keys": ["campaign:{name"]}, "expected '}'"),
            ({"key": ["campaign:{pk}"]}, "Did you mean 'KEYS'"),
            ({}, "names nothing that becomes stale"),
            ({"keys": ["c:{pk}"], "alias": "defalt"}, "no cache 'defalt' in CACHES. Did you mean 'default'"),
        ],
    )
    def test_invalidates__wrong(self, cache, stated, words):
        """What cannot be is refused at once, with the nearest that can."""
        with pytest.raises(ImproperlyConfigured) as raised:
            invalidates(Campaign, **stated)
        assert words in str(raised.value)
        assert "crm.Campaign" in str(raised.value) or "cache" in str(raised.value)

    def test_read_rules__wrong(self, stale_by, kept, caplog):
        """A wrong rule of the settings is logged and left out; the others hold."""
        stale_by(crm__Campain=["campaign:{pk}"], crm__Contact=["contact:{pk}"])
        assert "crm.Campain left out: There is no model" in caplog.text
        contact(1)
        campaign(1)
        assert kept() == {"contact:1"}

    def test_read_rules__taken_back(self, stale_by, kept):
        """A rule that is gone from the settings is gone, and the model is listened to no more."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        assert signals.post_save.has_listeners(Campaign)
        stale_by()
        assert not signals.post_save.has_listeners(Campaign)
        campaign(1)
        assert kept() == set()
