"""The page of one cache: what it does, how fast, for how long it keeps, and how it is set up."""

from __future__ import annotations

import datetime

import pytest
from django.utils import timezone

from django_callcache.admin.aliases import aliases_of, chosen
from django_callcache.admin.cache_facts import cache_facts
from django_callcache.models import CacheHour, CacheOperation, SyncRun
from django_callcache.outbox.stat_buckets import LATENCY_SLOTS, TTL_BANDS

pytestmark = pytest.mark.django_db

CACHE = "/admin/django_callcache/dashboard/cache/"


@pytest.fixture
def hours(stats):
    """The last day as the collector and the loop saw it, but for one hour."""
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    fast, slow = [0] * LATENCY_SLOTS, [0] * LATENCY_SLOTS
    fast[8], slow[16] = 100, 10
    bands = [0] * TTL_BANDS
    bands[5], bands[6], bands[-1] = 30, 60, 10
    rows = CacheHour.objects.filter(alias="default")
    rows.filter(hour=hour - datetime.timedelta(hours=5)).delete()
    for back in range(24):
        rows.filter(hour=hour - datetime.timedelta(hours=back)).update(
            read_latency=fast,
            write_latency=slow,
            ttl_bands=bands,
            backlog=back,
            oldest_seconds=60.0 * back,
            used_memory=1_000_000 + back,
            keys=50,
        )


class TestCachePage:
    def test_page__shown(self, client, boss, hours, page):
        """Charts, distributions and options are there, each with its table, clean under a strict policy."""
        client.force_login(boss)
        response = client.get(CACHE)
        shown = page(response)
        assert shown.refused == []
        facts = response.context["facts"]
        assert facts.totals.gets == 23 * 200
        assert len(facts.latency.rows) == 23
        p50, p95, p99, writes = facts.latency.rows[0][1]
        assert 0.0001 < p50 < p95 < p99 < 0.0003 < 0.03 < writes < 0.07
        assert [line.paths != () for line in facts.latency.lines] == [True] * 4
        assert len(facts.latency.lines[0].paths) == 2  # the hour without a row is a gap
        assert [(bar.amount, round(bar.share, 2)) for bar in facts.lifetimes if bar.amount] == [
            (690, 0.3),
            (1380, 0.6),
            (230, 0.1),
        ]
        tables = [attributes for tag, attributes in shown.tags if tag == "table"]
        assert len(tables) >= 6
        drawings = [a for t, a in shown.tags if t == "svg" and a.get("role") == "img"]
        assert len(drawings) == 3
        assert all("aria-labelledby" in attributes for attributes in drawings)

    def test_page__options(self, client, boss, settings):
        """Options are shown as they hold and where they come from; credentials never are."""
        settings.CACHES = {
            "default": {
                **settings.CACHES["default"],
                "LOCATION": "redis://me:sekret@127.0.0.1:1/0?password=unspoken",
                "OPTIONS": {"CALLCACHE": {"DEADLINE": 0.3}, "PASSWORD": "shh"},
            }
        }
        client.force_login(boss)
        response = client.get(CACHE)
        options = {option.name: option for option in response.context["facts"].options}
        assert (options["DEADLINE"].value, options["DEADLINE"].is_stated) == ("0.3", True)
        assert not options["POOL_TIMEOUT"].is_stated
        text = response.content.decode()
        assert "127.0.0.1:1/0" in text
        assert not [secret for secret in ("sekret", "unspoken", "shh") if secret in text]

    def test_page__redis_down(self, client, boss, hours, settings):
        """With Redis down the history stays, and the reason is told."""
        settings.CACHES = {
            "default": {**settings.CACHES["default"], "LOCATION": "redis://:sekret@127.0.0.1:1/0"}
        }
        client.force_login(boss)
        response = client.get(CACHE)
        assert response.status_code == 200
        assert response.context["facts"].live.fault
        assert len(response.context["facts"].latency.rows) == 23

    def test_page__nothing_yet(self, client, boss, page):
        """Before the first row there are words in the place of charts."""
        client.force_login(boss)
        response = client.get(CACHE)
        assert response.context["facts"].latency.is_empty
        assert "cc-empty" in page(response).classes()

    def test_page__marks(self, client, boss, hours):
        """Deletions and failed passes are marked, with texts that cannot be markup."""
        CacheOperation.objects.create(
            kind="clear", scope="prefix", alias="default", pattern="<b>x</b>", deleted=3, outcome="ok"
        )
        SyncRun.objects.create(alias="default", outcome="failed", error_class="RemoteUnavailable")
        client.force_login(boss)
        response = client.get(CACHE)
        kinds = sorted(mark.event.kind for mark in response.context["facts"].latency.marks)
        assert kinds == ["clear", "sync"]
        assert "<b>x</b>" not in response.content.decode()

    @pytest.mark.parametrize("period", ["24h", "7d", "30d", "1h", "x"])
    def test_page__periods(self, client, boss, hours, period):
        """Rows tell of a day, a week and a month; anything else is a day."""
        client.force_login(boss)
        shown = client.get(CACHE, {"period": period}).context["facts"].period.name
        assert shown == (period if period in ("24h", "7d", "30d") else "24h")

    def test_page__permission(self, client, make_user):
        """It takes the permission to see the overview."""
        client.force_login(make_user("view_keys"))
        assert client.get(CACHE).status_code == 403
        client.force_login(make_user("view_dashboard"))
        assert client.get(CACHE).status_code == 200

    def test_page__queries(self, client, boss, hours, django_assert_max_num_queries):
        """It takes at most eight queries, however long the history."""
        client.force_login(boss)
        with django_assert_max_num_queries(8):
            client.get(CACHE, {"period": "30d"})

    def test_page__degraded(self, client, boss, cache, monkeypatch):
        """A process that has given Redis up is told of, with what it answers meanwhile."""
        alias = chosen(aliases_of(boss), "default")
        facts = cache_facts(alias, "24h")
        assert facts.degraded == 0
        for _ in range(3):
            cache._runtime.breaker.failed(timed_out=True)
        client.force_login(boss)
        response = client.get(CACHE)
        assert response.context["facts"].degraded == 1
        assert "has given Redis up" in response.content.decode()


class TestPrefixPage:
    def test_lifetimes(self, client, boss, stats, page):
        """The page of a prefix has the times to live that its writes were given."""
        for row in stats:
            row.ttl_bands = [0] * 4 + [2] + [0] * 8
            row.save()
        client.force_login(boss)
        response = client.get(
            "/admin/django_callcache/dashboard/prefix/", {"prefix": "call:", "period": "24h"}
        )
        assert [bar.amount for bar in response.context["facts"].lifetimes if bar.amount] == [48]
        assert page(response).refused == []
