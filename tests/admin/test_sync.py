"""The page of sync: what it says, and what people decide there."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.core.cache import caches
from django.utils import timezone

from django_callcache.models import CacheHour, CacheOperation, SyncConflict, SyncRejection, SyncRun
from django_callcache.outbox.dirty import DirtyEntries
from django_callcache.replication import requests
from django_callcache.replication.keeper import digest_of
from django_callcache.sync.leader import Heartbeat
from tests.admin.conftest import DEFAULT

pytestmark = pytest.mark.django_db

SYNC = "/admin/django_callcache/dashboard/sync/"
SYNCED = {"call:": {"ttl": 60, "sync": "manual"}}


@pytest.fixture
def cache(settings, redis_url, two_caches):
    """The default cache, whose calls are synced."""
    options = {"CALLCACHE": {"RULES": SYNCED}}
    settings.CACHES = {"default": {**DEFAULT, "LOCATION": redis_url, "OPTIONS": options}}
    settings.CALLCACHE = {"SYNC": {"REMOTE": "postgres", "NAMESPACE": "admin"}}
    return caches["default"]


@pytest.fixture
def entry(cache):
    """A key that was written and waits, as the outbox holds it."""
    cache.set("call:1", "local")
    (found,) = DirtyEntries(cache.redis_client(), cache.redis_keys).claim(10, 1 << 20, 30).entries
    return found


@pytest.fixture
def rejection(cache, entry):
    DirtyEntries(cache.redis_client(), cache.redis_keys).acknowledge([(entry, 0)])
    return SyncRejection.objects.create(
        alias="default",
        key="1:call:1",
        digest=digest_of(entry.redis_key),
        redis_key=entry.redis_key,
        version=entry.version,
        remote_version=0,
        payload=entry.blob,
        reason="<b>too long</b>",
    )


@pytest.fixture
def conflict(cache, entry):
    DirtyEntries(cache.redis_client(), cache.redis_keys).acknowledge([(entry, 0)])
    redis_key = entry.redis_key
    return SyncConflict.objects.create(
        alias="default",
        key="1:call:1",
        digest=digest_of(redis_key),
        redis_key=redis_key,
        local_version=entry.version,
        local_payload=entry.blob,
        remote_version=7,
        remote_order=entry.version + 1,
        remote_origin="elsewhere",
        remote_payload=cache.codec_for("call:1").encode("remote", redis_key),
    )


def backlog(cache):
    return DirtyEntries(cache.redis_client(), cache.redis_keys).depth()


class TestShown:
    @pytest.fixture(autouse=True)
    def _logged_in(self, client, boss):
        client.force_login(boss)

    def test_page__nothing_yet(self, client, cache, page):
        """Without a loop the page says how to start one."""
        response = client.get(SYNC)
        assert "manage.py runcachesync" in response.content.decode()
        assert response.context["loop"]["level"] == "error"
        assert page(response).refused == []

    def test_page__not_synced(self, client):
        """A cache without a synced rule is told so."""
        assert "nothing is meant for a remote store" in client.get(SYNC).content.decode()

    @pytest.mark.parametrize(("passed_ago", "level"), [(10, "ok"), (700, "warning"), (1600, "error")])
    def test_page__loop(self, client, cache, passed_ago, level):
        """A pass that is late by two intervals is worth a warning, by five an alarm."""
        now = time.time()
        sign = Heartbeat(host="box", pid=7, started_at=now - 5000, alive_at=now, passed_at=now - passed_ago)
        sign.write(cache.redis_client(), cache.redis_keys)
        assert client.get(SYNC).context["loop"]["level"] == level

    def test_page__redis_down(self, client, settings):
        """With Redis down the history of passes stays."""
        SyncRun.objects.create(alias="default", pushed=5, started_at=timezone.now())
        settings.CACHES = {"default": {**DEFAULT, "LOCATION": "redis://:hush@127.0.0.1:1/0"}}
        text = client.get(SYNC).content.decode()
        assert "Redis does not answer" in text
        assert "hush" not in text
        assert len(client.get(SYNC).context["runs"]) == 1

    def test_page__waiting(self, client, cache, conflict, rejection, page):
        """What waits for a person is listed, escaped, without any value."""
        response = client.get(SYNC)
        text = response.content.decode()
        assert response.context["conflicts_number"] == response.context["rejections_number"] == 1
        assert "<b>too long" not in text
        assert "call:1" in text
        assert page(response).refused == []

    def test_page__no_names(self, client, make_user, cache, conflict):
        """Who may not see names of keys sees none here."""
        client.force_login(make_user("view_dashboard"))
        response = client.get(SYNC)
        assert "call:1" not in response.content.decode()
        assert "Keep local" not in response.content.decode()


class TestDecided:
    @pytest.fixture(autouse=True)
    def _logged_in(self, client, make_user):
        client.force_login(make_user("view_dashboard", "view_keys", "run_sync"))

    def test_run(self, client, cache):
        """A pass is asked for, and the operations say by whom."""
        assert client.post(SYNC, {"alias": "default", "act": "run"}).status_code == 302
        assert requests.is_asked_for(cache)
        operation = CacheOperation.objects.get()
        assert (operation.kind, operation.outcome, operation.reason) == ("sync", "ok", "run")

    def test_keep_local(self, client, cache, conflict):
        """The local value stays and waits to be pushed."""
        client.post(SYNC, {"alias": "default", "act": "keep_local", "id": conflict.pk})
        conflict.refresh_from_db()
        assert conflict.decision == "local"
        assert conflict.decided_by.startswith("user")
        assert cache.get("call:1") == "local"
        assert backlog(cache) == 1

    def test_keep_remote(self, client, cache, conflict):
        """The remote value replaces the local one, and nothing is pushed."""
        client.post(SYNC, {"alias": "default", "act": "keep_remote", "id": conflict.pk})
        conflict.refresh_from_db()
        assert conflict.decision == "remote"
        assert cache.get("call:1") == "remote"
        assert backlog(cache) == 0

    def test_decided_meanwhile(self, client, cache, conflict):
        """A second decision changes nothing and is recorded as failed."""
        for _ in range(2):
            client.post(SYNC, {"alias": "default", "act": "keep_local", "id": conflict.pk})
        assert sorted(each.outcome for each in CacheOperation.objects.all()) == ["failed", "ok"]

    def test_requeue(self, client, cache, rejection):
        """A rejected entry waits for the next pass again."""
        client.post(SYNC, {"alias": "default", "act": "requeue", "id": rejection.pk})
        assert not SyncRejection.objects.exists()
        assert backlog(cache) == 1
        assert CacheOperation.objects.get().pattern == "1:call:1"

    def test_discard(self, client, cache, rejection):
        """A rejected entry is given up; the cached value stays."""
        client.post(SYNC, {"alias": "default", "act": "discard", "id": rejection.pk})
        assert not SyncRejection.objects.exists()
        assert backlog(cache) == 0
        assert cache.get("call:1") == "local"

    @pytest.mark.parametrize(
        "sent", [{"act": "explode"}, {"act": "discard", "id": "x"}, {"act": "discard", "id": "9" * 30}, {}]
    )
    def test_nonsense(self, client, cache, rejection, sent):
        """Nonsense changes nothing."""
        assert client.post(SYNC, {"alias": "default"} | sent).status_code == 302
        assert SyncRejection.objects.count() == 1

    def test_redis_down(self, client, settings, rejection):
        """With Redis down nothing is decided, and the attempt is recorded."""
        down = {**DEFAULT, "LOCATION": "redis://127.0.0.1:1/0", "OPTIONS": {"CALLCACHE": {"RULES": SYNCED}}}
        settings.CACHES = {"default": down}
        client.post(SYNC, {"alias": "default", "act": "requeue", "id": rejection.pk})
        assert SyncRejection.objects.count() == 1
        assert CacheOperation.objects.get().outcome == "failed"


class TestDoors:
    @pytest.mark.parametrize(
        "codenames", [(), ("view_dashboard", "view_keys"), ("clear_cache", "manage_alerts")]
    )
    def test_permission(self, client, make_user, cache, rejection, codenames):
        """Every decision asks for the permission to run sync."""
        client.force_login(make_user(*codenames))
        sent = {"alias": "default", "act": "discard", "id": rejection.pk}
        assert client.post(SYNC, sent).status_code == 403
        assert SyncRejection.objects.exists()

    def test_read_only(self, client, boss, cache, settings, rejection):
        """In read-only mode nobody decides here."""
        settings.CALLCACHE = {**settings.CALLCACHE, "ADMIN": {"READ_ONLY": True}}
        client.force_login(boss)
        sent = {"alias": "default", "act": "discard", "id": rejection.pk}
        assert client.post(SYNC, sent).status_code == 403
        assert SyncRejection.objects.exists()


class TestPause:
    def test_pause_and_resume(self, client, boss, cache, page):
        """Sync is paused and goes on from the page, which says by whom; each leaves its trace."""
        client.force_login(boss)
        client.post(SYNC, {"alias": "default", "act": "pause"})
        shown = client.get(SYNC)
        assert shown.context["live"].held.by == "boss"
        assert "Sync was paused by boss" in shown.content.decode()
        assert [page(shown).inputs["act"], page(shown).refused] == ["resume", []]
        client.post(SYNC, {"alias": "default", "act": "pause"})
        client.post(SYNC, {"alias": "default", "act": "resume"})
        assert client.get(SYNC).context["live"].held is None
        assert requests.is_asked_for(cache)
        kept = list(CacheOperation.objects.order_by("pk").values_list("reason", "outcome"))
        assert kept == [("pause", "ok"), ("pause", "failed"), ("resume", "ok")]

    def test_pause__on_the_overview(self, client, boss, cache):
        """The overview warns of a pause."""
        client.force_login(boss)
        client.post(SYNC, {"alias": "default", "act": "pause"})
        overview = client.get("/admin/django_callcache/dashboard/")
        assert "Sync is paused by boss" in overview.content.decode()

    def test_pause__permission(self, client, make_user, cache):
        """It takes the permission to run sync."""
        client.force_login(make_user("view_dashboard", "clear_cache"))
        assert client.post(SYNC, {"alias": "default", "act": "pause"}).status_code == 403
        assert client.get(SYNC).context["live"].held is None


class TestCharts:
    def test_charts(self, client, boss, cache, page, django_assert_max_num_queries):
        """What waited and what passes carried is drawn by the hour, with failed passes marked."""
        hour = timezone.now().replace(minute=0, second=0, microsecond=0)
        for back in (0, 1, 3):
            CacheHour.objects.create(
                alias="default", hour=hour - timedelta(hours=back), backlog=back, oldest_seconds=back * 60
            )
        for minute in (0, 5):
            SyncRun.objects.create(
                alias="default", started_at=hour - timedelta(hours=2, minutes=-minute), pushed=10, pulled=1
            )
        SyncRun.objects.create(alias="default", started_at=hour, outcome="failed", error_class="X")
        client.force_login(boss)
        with django_assert_max_num_queries(8):
            shown = client.get(SYNC)
        backlog_chart, waited, carried = shown.context["charts"]
        assert [values for _, values in backlog_chart.rows] == [(3,), (1,), (0,)]
        assert [values for _, values in waited.rows] == [(180,), (60,), (0,)]
        assert [values for _, values in carried.rows] == [(20, 2), (0, 0)]
        assert len(carried.marks) == 1
        assert page(shown).refused == []

    def test_charts__month(self, client, boss, cache):
        """A month is drawn by days."""
        SyncRun.objects.create(alias="default", pushed=5)
        client.force_login(boss)
        shown = client.get(SYNC, {"period": "30d"})
        assert [values for _, values in shown.context["charts"][2].rows] == [(5, 0)]
