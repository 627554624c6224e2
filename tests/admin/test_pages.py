"""Every page, by everybody who may come by, in every state it has."""

from __future__ import annotations

import datetime

import pytest
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.core.cache import caches
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation

import django_callcache.admin
from django_callcache.admin.overview_page import OverviewPage
from django_callcache.models import (
    CacheAlert,
    CacheHour,
    CacheOperation,
    CacheStat,
    CompressionDictionary,
    Dashboard,
    SyncConflict,
    SyncRejection,
    SyncRun,
)
from django_callcache.outbox.stat_buckets import Growth, StatBuckets

pytestmark = pytest.mark.django_db

OVERVIEW = "/admin/django_callcache/dashboard/"
DICTIONARIES = "/admin/django_callcache/compressiondictionary/"
CLEAR = f"{OVERVIEW}clear/"
STATS = "/admin/django_callcache/cachestat/"
RUNS = "/admin/django_callcache/syncrun/"
OPERATIONS = "/admin/django_callcache/cacheoperation/"
KEYS = f"{OVERVIEW}keys/"
KEY = f"{OVERVIEW}key/?alias=default&key=call:1"
PREFIXES = f"{OVERVIEW}prefixes/"
PREFIX = f"{OVERVIEW}prefix/?alias=default&prefix=call:"
SERVER = f"{OVERVIEW}server/"
FIGURES = f"{OVERVIEW}figures/"
PREVIEW = f"{CLEAR}?alias=default&scope=prefix&text=call:"

OPENED_BY = [
    (OVERVIEW, {"view_dashboard"}),
    (CLEAR, {"delete_keys", "clear_cache"}),
    (PREVIEW, {"delete_keys"}),
    (KEYS, {"view_keys"}),
    (f"{KEYS}?q=call", {"view_keys"}),
    (KEY, {"view_keys"}),
    (PREFIXES, {"view_dashboard"}),
    (PREFIX, {"view_dashboard"}),
    (f"{OVERVIEW}sync/", {"view_dashboard"}),
    (f"{OVERVIEW}alerts/", {"view_dashboard"}),
    (SERVER, {"view_dashboard"}),
    (STATS, {"view_dashboard"}),
    (RUNS, {"view_dashboard"}),
    (DICTIONARIES, {"view_dashboard"}),
    (OPERATIONS, {"view_keys", "delete_keys", "clear_cache"}),
]


class TestDoors:
    @pytest.fixture(autouse=True)
    def _a_key(self, cache):
        cache.set("call:1", {"id": 1})

    @pytest.mark.parametrize("url", [url for url, _ in OPENED_BY])
    def test_open__anonymous(self, client, url):
        """A stranger is sent to the login."""
        response = client.get(url)
        assert response.status_code == 302
        assert "/login/" in response["Location"]

    @pytest.mark.parametrize("url", [url for url, _ in OPENED_BY])
    def test_open__staff_without_permission(self, client, make_user, url):
        """Staff without our permissions are refused by the page itself."""
        client.force_login(make_user())
        assert client.get(url).status_code == 403

    @pytest.mark.parametrize(
        ("url", "codename"), [(url, one) for url, some in OPENED_BY for one in sorted(some)]
    )
    def test_open__each_permission(self, client, make_user, page, url, codename):
        """Each permission opens what it is for."""
        client.force_login(make_user(codename))
        response = client.get(url)
        assert response.status_code == 200
        assert page(response).refused == []

    @pytest.mark.parametrize("url", [url for url, _ in OPENED_BY])
    def test_open__superuser(self, client, boss, page, stats, url):
        """A superuser sees every page, and none needs an unsafe content policy."""
        client.force_login(boss)
        response = client.get(url)
        assert response.status_code == 200
        assert page(response).refused == []

    def test_open__every_other_permission(self, client, make_user):
        """The permissions of other powers open neither page."""
        client.force_login(make_user("view_values", "change_ttl", "run_sync", "manage_alerts"))
        for url, _ in OPENED_BY:
            assert client.get(url).status_code == 403

    def test_index__links_by_permission(self, client, make_user):
        """The admin's index lists our pages for whom they are open."""
        client.force_login(make_user("view_dashboard"))
        assert OVERVIEW in client.get("/admin/").content.decode()
        client.force_login(make_user())
        assert "django_callcache" not in client.get("/admin/").content.decode()

    def test_refused__inside_the_admin(self, client, make_user, page):
        """The refusal is a page of the admin with the ways that are open."""
        client.force_login(make_user("clear_cache"))
        refused = page(client.get(OVERVIEW))
        assert "cc-notice-error" in refused.classes()
        assert ("a", {"href": CLEAR}) in refused.tags
        assert refused.refused == []

    def test_alias_rule__hides_a_cache(self, client, make_user, settings, stats):
        """A cache that the site's rule closes to a user has no page, no rows and cannot be cleared."""
        settings.CALLCACHE = {"ADMIN": {"CAN_ACCESS_ALIAS": "tests.admin.test_pages.nobody"}}
        client.force_login(make_user("view_dashboard", "delete_keys"))
        overview = client.get(OVERVIEW)
        assert overview.context["overview"] is None
        assert "cc-tiles" not in overview.content.decode()
        assert client.get(STATS).context["cl"].result_count == 0
        assert client.get(PREVIEW).context["form"].errors["alias"]

    def test_read_only__no_way_to_clear(self, client, boss, settings, stats):
        """In read-only mode the controls that clear are gone, and their page refuses."""
        settings.CALLCACHE = {"ADMIN": {"READ_ONLY": True}}
        client.force_login(boss)
        overview = client.get(OVERVIEW)
        assert CLEAR not in overview.content.decode()
        assert "read-only" in overview.content.decode()
        assert client.get(CLEAR).status_code == 403


def nobody(user, alias):
    return False


class TestOverview:
    @pytest.fixture(autouse=True)
    def _logged_in(self, client, boss):
        client.force_login(boss)

    @pytest.mark.parametrize("period", ["1h", "24h", "7d", "30d"])
    def test_overview__periods(self, client, stats, page, period):
        """Every period is drawn and tabled."""
        response = client.get(OVERVIEW, {"period": period, "alias": "default"})
        shown = response.context["overview"]
        assert shown.period.name == period
        assert page(response).refused == []
        if period != "1h":
            assert shown.figures.totals.hit_ratio == pytest.approx(0.8)
            assert "polyline" in {tag for tag, _ in page(response).tags}

    def test_overview__day(self, client, stats):
        """The day has 24 hours, compared with what is known of the 24 before."""
        shown = client.get(OVERVIEW).context["overview"]
        assert len(shown.figures.points) == 24
        assert shown.figures.totals.gets == 24 * 200
        assert shown.figures.before.gets == 6 * 200
        assert shown.figures.ratio_change == pytest.approx(0)
        assert shown.figures.p95_seconds == pytest.approx(2**18 / 1e9, rel=0.1)

    def test_overview__unknown_period_and_alias(self, client, stats):
        """Nonsense in the address leads to the first cache and its last day."""
        shown = client.get(OVERVIEW, {"period": "x", "alias": "<script>"}).context["overview"]
        assert (shown.period.name, shown.alias.name) == ("24h", "default")

    def test_overview__last_hour_from_redis(self, client, cache):
        """The last hour is drawn minute by minute from Redis, before any row exists."""
        buckets = StatBuckets(cache.redis_client(), cache.redis_keys)
        buckets.add(Growth({"call:": {"hits": 3, "misses": 1, "r8": 4}}))
        (minute,) = buckets.minutes()
        cache.redis_client().rename(
            cache.redis_keys.stat_minute(minute), cache.redis_keys.stat_minute(minute - 2)
        )
        shown = client.get(OVERVIEW, {"period": "1h"}).context["overview"]
        assert shown.from_minutes
        assert shown.figures.totals.gets == 4
        assert [line.prefix for line in shown.prefixes] == ["call:"]

    def test_overview__ttl_and_its_reason(self, client, stats):
        """The table of prefixes says what a write would live now, and why."""
        response = client.get(OVERVIEW)
        lines = {line.prefix: line.ttl for line in response.context["overview"].prefixes}
        assert lines["call:"].ttl_seconds == 60
        assert lines["call:"].reason in response.content.decode()

    def test_overview__hostile_prefix(self, client, stats, page):
        """A prefix that is markup is shown as text."""
        response = client.get(OVERVIEW)
        assert "<script>alert" not in response.content.decode()
        assert "&lt;script&gt;alert" in response.content.decode()
        assert page(response).refused == []

    def test_overview__first_run(self, client, cache):
        """Without any number the page says which steps lead to the first one, and which are done."""
        steps = client.get(OVERVIEW).context["overview"].first_steps
        assert [(step.topic, step.is_done) for step in steps] == [
            ("backend", True),
            ("traffic", False),
            ("loop", None),
        ]
        cache.set("call:1", 1)
        cache.flush_stats()
        SyncRun.objects.create(alias="default")
        steps = client.get(OVERVIEW).context["overview"].first_steps
        assert all(step.is_done for step in steps)

    def test_overview__redis_down(self, client, settings, stats, page):
        """With Redis down the history is drawn all the same, live figures are missing with a reason."""
        settings.CACHES = {
            "default": {
                **settings.CACHES["default"],
                "LOCATION": "redis://:sekret-of-redis@127.0.0.1:1/0",
            }
        }
        response = client.get(OVERVIEW, {"period": "24h"})
        shown = response.context["overview"]
        assert shown.figures.totals.gets == 24 * 200
        assert shown.worst == "error"
        assert (shown.live.keys, shown.live.used_memory) == (None, None)
        assert "sekret" not in response.content.decode()
        assert "Redis does not answer" in response.content.decode()
        assert page(response).refused == []
        assert client.get(OVERVIEW, {"period": "1h"}).status_code == 200

    def test_overview__other_backends_are_listed(self, client):
        """A cache of another backend is listed as limited."""
        assert "LocMemCache" in client.get(OVERVIEW).content.decode()

    def test_overview__only_other_backends(self, client, settings):
        """Without a cache of ours the page says what to set."""
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
        response = client.get(OVERVIEW)
        assert response.context["overview"] is None
        assert "django_callcache.cache.CallCache" in response.content.decode()

    def test_overview__collector_late(self, client, cache, stats):
        """Counts that wait long for a collector are announced."""
        for model in (CacheStat, CacheHour):
            model.objects.filter(hour__gte=timezone.now() - datetime.timedelta(hours=3)).delete()
        client_, keys = cache.redis_client(), cache.redis_keys
        minute = client_.time()[0] // 60 - 90
        client_.hset(keys.stat_minute(minute), "hits|call:", 1)
        client_.zadd(keys.stat_minutes(), {minute: minute})
        shown = client.get(OVERVIEW).context["overview"]
        assert "stats_late" in {finding.topic for finding in shown.health}

    def test_overview__events_are_marked(self, client, stats):
        """Clears and failed passes of the period are lines in the chart."""
        before = timezone.now() - datetime.timedelta(hours=3)
        CacheOperation.objects.create(
            kind="clear", scope="prefix", alias="default", pattern="<b>", deleted=1, started_at=before
        )
        SyncRun.objects.create(
            alias="default", started_at=before, outcome="failed", error_class="RemoteUnavailable"
        )
        SyncRun.objects.create(
            alias="default", started_at=before - datetime.timedelta(days=9), outcome="failed"
        )
        response = client.get(OVERVIEW)
        marks = response.context["overview"].chart.marks
        assert sorted((mark.event.kind, mark.event.text) for mark in marks) == [
            ("clear", "<b>"),
            ("sync", "RemoteUnavailable"),
        ]
        assert ": <b>" not in response.content.decode()

    @pytest.mark.parametrize("period", ["1h", "24h", "30d"])
    def test_overview__queries_bounded(self, client, stats, period):
        """The page takes at most eight queries, session and user included."""
        with CaptureQueriesContext(connection) as queries:
            client.get(OVERVIEW, {"period": period})
        assert len(queries) <= 8

    def test_overview__queries_with_permissions(self, client, stats, make_user):
        """For people who are not superusers their permissions are asked for too, in two more."""
        client.force_login(make_user("view_dashboard"))
        with CaptureQueriesContext(connection) as queries:
            client.get(OVERVIEW)
        assert len(queries) <= 10

    @pytest.mark.parametrize("language", ["es", "ar"])
    def test_overview__other_languages(self, client, stats, settings, page, language):
        """Coordinates stay numbers where people write a decimal comma, keys stay left to right."""
        settings.LANGUAGE_CODE = language
        settings.USE_THOUSAND_SEPARATOR = True
        with translation.override(language):
            shown = page(client.get(OVERVIEW))
        rects = [attributes for tag, attributes in shown.tags if tag == "rect"]
        assert len(rects) > 50
        for attributes in rects:
            for name in {"x", "y", "width", "height"} & attributes.keys():
                float(attributes[name])
        assert ("bdi", {"dir": "ltr"}) in shown.tags


class TestSites:
    def test_register__another_site(self, boss):
        """The pages work on any admin site, with its own names and links."""
        site = AdminSite(name="backoffice")
        django_callcache.admin.register(site)
        django_callcache.admin.register(site)
        assert site.is_registered(Dashboard)
        assert len(site._registry) == 8

    @pytest.mark.urls("tests.admin.backoffice_urls")
    def test_open__another_site(self, client, boss, stats, page):
        """On another site pages link within it, also where it is the only one."""
        client.force_login(boss)
        for url in (OVERVIEW, PREVIEW, STATS):
            shown = page(client.get(url.replace("/admin/", "/office/")))
            links = [
                attributes["href"] for tag, attributes in shown.tags if tag == "a" and "href" in attributes
            ]
            assert [link for link in links if link.startswith("/office/django_callcache/")]
            assert not [link for link in links if link.startswith("/admin/")]

    def test_register__default_site(self):
        """The default site has the pages without being told."""
        assert reverse("admin:django_callcache_dashboard_changelist") == OVERVIEW
        assert reverse("admin:django_callcache_clear") == CLEAR


LISTED = (
    "syncrun", "cacheoperation", "cachealert", "compressiondictionary", "syncrejection", "syncconflict",
)  # fmt: skip


class TestHistories:
    @pytest.fixture
    def rows(self, dictionary):
        """One row of each."""
        common = {"pk": 1, "alias": "default"}
        sealed = {"key": "1:user:password", "digest": "d", "redis_key": b"k"}
        SyncRun.objects.create(**common)
        CacheOperation.objects.create(**common, kind="clear", scope="prefix", pattern="call:")
        CacheAlert.objects.create(**common, rule="degraded", state="firing", began_at=timezone.now())
        CompressionDictionary.objects.filter(pk=dictionary.pk).update(id=1)
        SyncRejection.objects.create(
            **common, **sealed, version=1, remote_version=0, payload=b"", reason="large"
        )
        SyncConflict.objects.create(
            **common, **sealed, local_version=1, remote_version=1, remote_order=1, remote_origin="elsewhere"
        )

    @pytest.fixture
    def operation(self, boss):
        return CacheOperation.objects.create(
            user=boss, username="boss", kind="clear", scope="prefix", alias="default", pattern="<b>call:</b>"
        )

    @pytest.fixture
    def dictionary(self):
        return CompressionDictionary.objects.create(
            alias="default",
            prefix="<b>call:</b>",
            dictionary_id="463f16a5",
            record=b"sealed",
            size=4096,
            samples=2250,
            bytes_before=1000,
            bytes_after=262,
        )

    def test_dictionaries__listed(self, client, boss, dictionary):
        """A dictionary is listed with what it saves; its bytes are not shown."""
        client.force_login(boss)
        listed = client.get(DICTIONARIES).content.decode()
        shown = client.get(f"{DICTIONARIES}{dictionary.pk}/change/").content.decode()
        for text in (listed, shown):
            assert "463f16a5" in text
            assert "73.8" in text
            assert "<b>call:</b>" not in text
            assert "sealed" not in text

    def test_change__read_only(self, client, boss, stats, operation, dictionary):
        """Rows are shown, not changed: neither added, nor saved, nor deleted."""
        client.force_login(boss)
        run = SyncRun.objects.create(alias="default")
        rows = (
            (STATS, stats[0].pk),
            (RUNS, run.pk),
            (OPERATIONS, operation.pk),
            (DICTIONARIES, dictionary.pk),
        )
        for base, pk in rows:
            assert client.get(f"{base}{pk}/change/").status_code == 200
            assert client.post(f"{base}{pk}/change/", {"alias": "x"}).status_code == 403
            assert client.get(f"{base}{pk}/delete/").status_code == 403
            assert client.post(f"{base}{pk}/delete/", {"post": "yes"}).status_code == 403
            assert client.get(f"{base}add/").status_code == 403

    def test_hot_keys__need_their_permission(self, client, make_user, stats):
        """Names of keys are shown to people who may see keys, protected ones to nobody."""
        url = f"{STATS}{stats[0].pk}/change/"
        client.force_login(make_user("view_dashboard"))
        assert "onerror" not in client.get(url).content.decode()
        client.force_login(make_user("view_dashboard", "view_keys"))
        shown = client.get(url).content.decode()
        assert "&lt;img src=x onerror=alert(1)&gt;" in shown
        assert "user:password" not in shown

    def test_download__csv(self, client, boss, stats):
        """The chosen rows leave as numbers; what a spreadsheet takes for a formula does not stay one."""
        CacheStat.objects.filter(pk=stats[0].pk).update(prefix="=cmd|' /C calc'!A0")
        client.force_login(boss)
        response = client.post(STATS, {"action": "download", "_selected_action": [stats[0].pk, stats[1].pk]})
        lines = b"".join(response).decode().splitlines()
        assert lines[0].startswith("alias,prefix,hour,hits,near_hits,misses")
        assert len(lines) == 3
        assert any("'=cmd" in line for line in lines[1:])
        assert all(",60,20,20,20," in line for line in lines[1:])

    @pytest.mark.parametrize("model", [*LISTED, "cachestat"])
    def test_download__every_list(self, client, boss, stats, rows, model):
        """Rows of every list can be downloaded, without names of keys that are kept from pages."""
        client.force_login(boss)
        url = f"/admin/django_callcache/{model}/"
        pk = 1 if model in LISTED else stats[0].pk
        response = client.post(url, {"action": "download", "_selected_action": [pk]})
        assert f'filename="{model}.csv"' in response["Content-Disposition"]
        lines = b"".join(response).decode().splitlines()
        assert len(lines) == 2
        assert "default" in lines[1]
        assert "password" not in lines[1]

    def test_download__needs_view(self, client, make_user, stats):
        """Staff without permission cannot download."""
        client.force_login(make_user())
        response = client.post(STATS, {"action": "download", "_selected_action": [stats[0].pk]})
        assert response.status_code == 403

    def test_list__hostile_pattern(self, client, boss, operation):
        """A pattern that is markup is listed as text."""
        client.force_login(boss)
        assert "&lt;b&gt;call:" in client.get(OPERATIONS).content.decode()

    def test_list__filters(self, client, boss, stats):
        """Rows are filtered by prefix and by date."""
        client.force_login(boss)
        today = timezone.localtime(stats[0].hour)
        response = client.get(
            STATS,
            {"prefix": "call:", "hour__year": today.year, "hour__month": today.month, "hour__day": today.day},
        )
        shown = response.context["cl"]
        assert 0 < shown.result_count <= 24
        assert not shown.show_full_result_count


class TestFigures:
    def test_json__the_same_as_the_page(self, client, boss, stats):
        """What refreshes the page says the same words as the page."""
        client.force_login(boss)
        page = client.get(OVERVIEW, {"period": "7d"})
        fresh = client.get(FIGURES, {"period": "7d"}).json()
        shown = {tile.name: tile for tile in page.context["tiles"]}
        assert fresh["worst"] == page.context["overview"].worst
        for name, figure, note, look in fresh["tiles"]:
            assert f'data-cc-tile="{name}"' in page.content.decode()
            if name not in ("memory", "keys"):  # these move on by themselves
                assert (figure, note, look) == (shown[name].figure, shown[name].note, shown[name].look)
        assert {tile[0]: tile[1] for tile in fresh["tiles"]}["hit_ratio"] == "80.0 %"

    @pytest.mark.parametrize(
        ("codenames", "status"), [((), 403), (("view_keys",), 403), (("view_dashboard",), 200)]
    )
    def test_json__permission(self, client, make_user, codenames, status):
        """The figures ask for the permission of their page, and answer a refusal as JSON."""
        client.force_login(make_user(*codenames))
        response = client.get(FIGURES)
        assert response.status_code == status
        assert response["Content-Type"] == "application/json"

    def test_json__anonymous(self, client):
        """A stranger is sent to the login."""
        assert client.get(FIGURES).status_code == 302


class TestFilters:
    @pytest.fixture(autouse=True)
    def _logged_in(self, client, boss, stats):
        client.force_login(boss)

    @pytest.mark.parametrize(
        ("chosen", "rows"),
        [({}, 60), ({"period": "24h"}, 48), ({"prefix": "call:"}, 30), ({"alias": "default"}, 60),
         ({"alias": "other"}, 0), ({"prefix": "gone:"}, 0), ({"period": "nonsense"}, 60)],
    )  # fmt: skip
    def test_filter(self, client, chosen, rows):
        """Period, cache and prefix narrow the list; a prefix that a link names need not be a recent one."""
        assert client.get(STATS, chosen).context["cl"].result_count == rows

    def test_queries__no_look_at_the_whole_table(self, client):
        """The choices of the filters come from the last day's rows."""
        with CaptureQueriesContext(connection) as queries:
            client.get(STATS)
        distinct = [query["sql"] for query in queries if "DISTINCT" in query["sql"]]
        assert len(distinct) == 1
        assert ">=" in distinct[0]


class TestNonce:
    def test_nonce__given_by_the_policy(self, boss, stats):
        """Our own style sheet carries the nonce of the request, where there is one."""
        request = RequestFactory().get(OVERVIEW)
        request.user = User.objects.get(pk=boss.pk)
        request.csp_nonce = 'abc"<'
        text = OverviewPage(AdminSite()).overview(request).render().content.decode()
        assert 'nonce="abc&quot;&lt;"' in text
        assert caches["default"].alias == "default"
