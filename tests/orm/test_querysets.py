"""Statements about many rows, for which Django sends no signal."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.db import connection, transaction
from django.db.models import F

from django_callcache.orm import InvalidatingManager, InvalidatingQuerySet
from testproject.crm.models import Call, Campaign, Contact

pytestmark = pytest.mark.django_db(transaction=True)

CALLS = {"keys": ["calls:{campaign}", "contact:{contact_id}"]}


def rows(model):
    return InvalidatingQuerySet(model)


def new_campaign(number, **changes):
    return Campaign(pk=number, name="May", starts_on=date(2008, 5, 1), **changes)


def new_call(number, campaign_id=1):
    started_at = datetime(2008, 5, 5, tzinfo=UTC)
    return Call(pk=number, campaign_id=campaign_id, contact_id=1, started_at=started_at, duration_seconds=60)


@pytest.fixture(autouse=True)
def _rows():
    Contact.objects.create(pk=1, age=30)
    Campaign.objects.bulk_create(new_campaign(number) for number in (1, 2, 3))
    Call.objects.bulk_create([new_call(1, 1), new_call(2, 2)])


class TestUpdate:
    def test_update(self, stale_by, kept, django_assert_num_queries):
        """The rows that match are stale, for one further query."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        with django_assert_num_queries(4):  # begin, select, update, commit
            assert rows(Campaign).filter(pk__lt=3).update(calls_made=F("calls_made") + 1) == 2
        assert kept() == {"campaign:1", "campaign:2"}

    def test_update__moved(self, stale_by, kept):
        """Where a named column is changed, what it was and what it is are stale."""
        stale_by(crm__Call=CALLS)
        rows(Call).filter(pk=1).update(campaign=Campaign(pk=3))
        assert kept() == {"calls:1", "calls:3", "contact:1"}

    def test_update__nothing(self, stale_by, kept):
        """What matches nothing deletes nothing."""
        stale_by(crm__Campaign=["campaign:{pk}", "campaign:5"])
        assert rows(Campaign).filter(pk=9).update(name="June") == 0
        assert kept() == set()

    def test_update__without_rules(self, cache, kept, django_assert_num_queries):
        """Without rules it is Django's own."""
        with django_assert_num_queries(1):
            rows(Campaign).update(name="June")
        assert kept() == set()

    def test_update__rolled_back(self, stale_by, kept):
        """What is rolled back deletes nothing."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        with suppress(LookupError), transaction.atomic():
            rows(Campaign).update(name="June")
            raise LookupError
        assert kept() == set()

    def test_update__sliced(self, stale_by, kept):
        """What Django refuses is refused, and deletes nothing."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        with pytest.raises(TypeError, match="slice"):
            rows(Campaign)[:1].update(name="June")
        assert kept() == set()

    def test_update__many(self, stale_by, cache):
        """More rows than fit into one query are read in portions."""
        Call.objects.bulk_create(new_call(number, 1) for number in range(10, 1210))
        stale_by(crm__Call=["call:{pk}:{duration_seconds}"])
        cache.set_many({f"call:{number}:{seconds}": 1 for number in (10, 1209) for seconds in (60, 61, 62)})
        rows(Call).update(duration_seconds=F("duration_seconds") + 1)
        assert sorted(cache.keys("call:*")) == ["call:10:62", "call:1209:62"]

    async def test_aupdate(self, stale_by, kept):
        """The asynchronous method does the same."""
        await sync_to_async(stale_by)(crm__Campaign=["campaign:{pk}"])
        await rows(Campaign).filter(pk=2).aupdate(name="June")
        assert await sync_to_async(kept)() == {"campaign:2"}


class TestBulkUpdate:
    def test_bulk_update(self, stale_by, kept):
        """Rows that are updated in bulk are stale, as they were and as they are."""
        stale_by(crm__Call=CALLS)
        calls = list(Call.objects.order_by("pk"))
        for call in calls:
            call.campaign_id = 3
        assert rows(Call).bulk_update(calls, ["campaign"]) == 2
        assert kept() == {"calls:1", "calls:2", "calls:3", "contact:1"}


class TestBulkCreate:
    def test_bulk_create(self, stale_by, kept):
        """New rows make stale what they belong to."""
        stale_by(crm__Call=CALLS, crm__Campaign=["campaign:{pk}"])
        rows(Call).bulk_create([new_call(3, 2), new_call(4, 3)])
        assert kept() == {"calls:2", "calls:3", "contact:1"}
        rows(Campaign).bulk_create(iter([new_campaign(4)]))
        assert "campaign:4" in kept()

    def test_bulk_create__update_conflicts(self, stale_by, kept):
        """Rows that are updated instead are stale as they were too."""
        stale_by(crm__Call={"keys": ["calls:{campaign}"]})
        rows(Call).bulk_create(
            [new_call(1, 3)], update_conflicts=True, update_fields=["campaign"], unique_fields=["pk"]
        )
        assert kept() == {"calls:1", "calls:3"}

    def test_bulk_create__read_back(self, stale_by, cache):
        """What the database keeps in another form is read from it."""
        stale_by(crm__Contact=["last:{last_called_at}"])
        key = "last:2008-05-05T14:00:00+00:00"
        cache.set(key, 1)
        at = datetime.fromisoformat("2008-05-05T09:00:00-05:00")
        rows(Contact).bulk_create([Contact(age=30, last_called_at=at)])
        assert key not in cache


class TestDelete:
    def test_delete(self, stale_by, kept):
        """A queryset deletes row by row where there are rules."""
        stale_by(crm__Call=CALLS)
        rows(Call).filter(pk=2).delete()
        assert kept() == {"calls:2", "contact:1"}


class TestInvalidate:
    def test_invalidate(self, stale_by, kept):
        """After SQL that Django did not write, one says which rows it changed."""
        stale_by(crm__Campaign=["campaign:{pk}"])
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("update crm_campaign set name = 'June' where id = 2")
            rows(Campaign).filter(name="June").invalidate()
            assert kept() == set()
        assert kept() == {"campaign:2"}


class TestManager:
    def test_manager(self, stale_by, kept):
        """A manager has the same methods."""
        manager = InvalidatingManager()
        manager.model = Campaign
        stale_by(crm__Campaign=["campaign:{pk}"])
        manager.filter(pk=1).update(name="June")
        assert kept() == {"campaign:1"}
        assert caches["default"].get("campaign:2") == "old"
