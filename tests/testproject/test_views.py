"""The API of the sample project, through the real cache."""

from __future__ import annotations

import pytest
from django.core.cache import caches

from testproject.crm.loading import load_calls
from testproject.crm.models import Call, Campaign, Contact

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]

NEW_CALL = {
    "campaign": 1,
    "contact": 2,
    "duration_seconds": 75,
    "channel": "cellular",
    "attempt": 2,
    "days_since_previous": None,
    "previous_attempts": 0,
    "subscribed": True,
}


@pytest.fixture(autouse=True)
def _calls():
    load_calls(limit=5)


def record(client, **changes):
    return client.post("/calls/", {**NEW_CALL, **changes}, content_type="application/json")


class TestReading:
    @pytest.mark.parametrize(
        ("path", "key"),
        [("/campaigns/1/", "campaign:1"), ("/contacts/1/", "contact:1"), ("/calls/1/", "call:1")],
    )
    def test_get__caches(self, client, django_assert_num_queries, path, key):
        """The first look reads the database once and fills the cache; the second needs no database."""
        with django_assert_num_queries(1):
            first = client.get(path).json()
        assert caches["default"].get(key) == first
        with django_assert_num_queries(0):
            assert client.get(path).json() == first

    def test_get__record(self, client):
        """A call is answered with every column."""
        assert client.get("/calls/1/").json() == {
            "id": 1,
            "campaign": 1,
            "contact": 1,
            "started_at": "2008-05-05T14:00:00+00:00",
            "duration_seconds": 261,
            "channel": "telephone",
            "attempt": 1,
            "days_since_previous": None,
            "previous_attempts": 0,
            "subscribed": False,
        }

    @pytest.mark.parametrize(
        "path", ["/campaigns/99/", "/contacts/99/", "/calls/99/", "/campaigns/99/stats/"]
    )
    def test_get__unknown(self, client, path):
        """What does not exist is 404, each time."""
        assert client.get(path).status_code == 404
        assert client.get(path).status_code == 404

    def test_get__newer_entry_meanwhile(self, client, monkeypatch):
        """A reader that was overtaken by a writer does not put its older record over the newer one."""
        cache = caches["default"]

        def overtaken(contact):
            cache.set("contact:1", {"newer": True})
            return {"newer": False}

        monkeypatch.setattr("testproject.crm.views.contact_record", overtaken)
        client.get("/contacts/1/")
        assert cache.get("contact:1") == {"newer": True}

    def test_get__not_recorded_for_sync(self, client, redis_client):
        """A reader gets the record though Redis refuses to take it."""
        before = redis_client.config_get("maxmemory")["maxmemory"]
        redis_client.config_set("maxmemory", 1)
        try:
            assert client.get("/contacts/1/").status_code == 200
        finally:
            redis_client.config_set("maxmemory", before)
        assert caches["default"].get("contact:1") is None

    def test_stats__half_a_minute_old(self, client, django_assert_num_queries):
        """Figures come from the cache until their rule's 30 seconds are over."""
        before = client.get("/campaigns/1/stats/").json()
        assert before["calls"] == 5
        record(client)
        with django_assert_num_queries(0):
            assert client.get("/campaigns/1/stats/").json() == before
        assert 0 < caches["default"].ttl("stats:1") <= 30


@pytest.mark.django_db(transaction=True)
class TestOverview:
    async def test_overview__through_the_service(self, async_client):
        """The asynchronous view answers what the others do, and fills the same cache entry."""
        answer = (await async_client.get("/campaigns/1/overview/")).json()
        assert answer["name"] == "May 2008"
        assert await caches["default"].aget("campaign:1") == answer
        await Campaign.objects.filter(pk=1).aupdate(name="changed behind the cache")
        assert (await async_client.get("/campaigns/1/overview/")).json() == answer

    async def test_overview__unknown(self, async_client):
        """What does not exist is 404."""
        assert (await async_client.get("/campaigns/99/overview/")).status_code == 404


class TestRecording:
    def test_post__records_and_counts(self, client):
        """A call is saved, and counted for its campaign and its contact."""
        before = client.get("/campaigns/1/").json()
        answer = record(client)
        assert answer.status_code == 201
        assert Call.objects.get(pk=answer.json()["call"]["id"]).duration_seconds == 75
        campaign = Campaign.objects.get(pk=1)
        assert campaign.calls_made == before["calls_made"] + 1
        assert campaign.subscriptions == before["subscriptions"] + 1
        assert campaign.talk_seconds == before["talk_seconds"] + 75
        assert Contact.objects.get(pk=2).calls_made == 2

    def test_post__next_look(self, client, django_assert_num_queries):
        """Who looks next sees the call and the new counters, from the cache."""
        for path in ("/campaigns/1/", "/contacts/2/"):
            client.get(path)
        written = record(client).json()
        with django_assert_num_queries(0):
            assert client.get(f"/calls/{written['call']['id']}/").json() == written["call"]
            assert client.get("/campaigns/1/").json() == written["campaign"]
            assert client.get("/contacts/2/").json() == written["contact"]
        assert written["campaign"]["calls_made"] == 6

    def test_post__same_as_the_database(self, client):
        """What is cached is what the database would give."""
        number = record(client).json()["call"]["id"]
        paths = ("/campaigns/1/", "/contacts/2/", f"/calls/{number}/")
        cached = [client.get(path).json() for path in paths]
        caches["default"].clear()
        assert [client.get(path).json() for path in paths] == cached

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"contact": 99}, "contact"),
            ({"channel": "pigeon"}, "channel"),
            ({"duration_seconds": -1}, "duration_seconds"),
        ],
    )
    def test_post__wrong(self, client, changes, field):
        """A call that cannot be is refused with the field at fault, and nothing is recorded."""
        answer = record(client, **changes)
        assert answer.status_code == 400
        assert list(answer.json()["errors"]) == [field]
        assert Call.objects.count() == 5

    @pytest.mark.parametrize(("body", "status"), [("{", 400), ("[]", 400), ("null", 400)])
    def test_post__not_a_record(self, client, body, status):
        """What is no JSON object is refused."""
        assert client.post("/calls/", body, content_type="application/json").status_code == status

    def test_post__form(self, client):
        """A form, which another site's page could send, is refused."""
        assert client.post("/calls/", {"campaign": 1}).status_code == 415
