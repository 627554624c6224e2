"""The numbers of charts and tables as files."""

from __future__ import annotations

import csv
import datetime
import io
import json
from itertools import count

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from django_callcache.admin import browsing, scan
from django_callcache.admin.sheet_pages import SHEETS
from django_callcache.admin.sheets import Sheet, csv_lines, json_lines
from django_callcache.models import CacheHour, CacheOperation, CacheStat, SyncRun
from django_callcache.outbox.stat_buckets import TTL_BANDS
from tests.admin.conftest import DEFAULT

pytestmark = pytest.mark.django_db

ROOT = "/admin/django_callcache/dashboard/"
HOSTILE = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=cmd|" /C calc"!A0', "\N{FULLWIDTH EQUALS SIGN}1")


def get(client, sheet, form="csv", **asked):
    return client.get(f"{ROOT}data/{sheet}.{form}", asked)


def rows_of(response):
    text = b"".join(response).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def hours(stats):
    """What the loop has sampled, beside the rows of the prefixes."""
    hour = stats[0].hour
    for back in range(3):
        CacheHour.objects.filter(hour=hour - datetime.timedelta(hours=back)).update(
            backlog=back,
            oldest_seconds=back * 60,
            used_memory=1000 + back,
            read_latency=[0] * 8 + [100] + [0] * 15,
            ttl_bands=[5] + [0] * (TTL_BANDS - 2) + [2],
        )
    SyncRun.objects.create(alias="default", started_at=timezone.now(), pushed=7, pulled=1)


class TestSheet:
    def test_csv__formulas(self):
        """No text becomes a formula in a spreadsheet, in whatever column."""
        lines = "".join(csv_lines(Sheet("s", ("one", "two"), [(text, 1) for text in HOSTILE])))
        cells = [row[0] for row in csv.reader(io.StringIO(lines, newline=""))][1:]
        assert cells == [f"'{text}" for text in HOSTILE]

    def test_csv__cells(self):
        """Numbers stay numbers, moments are ISO 8601, what is not known is empty."""
        moment = datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC)
        sheet = Sheet("s", ("a",), [(1234567.5,), (-3,), (None,), (True,), (moment,), (moment.date(),)])
        assert "".join(csv_lines(sheet)).splitlines() == [
            "a", "1234567.5", "-3", '""', "true", "2026-01-02T03:00:00+00:00", "2026-01-02",
        ]  # fmt: skip

    def test_json(self):
        """JSON has the same in objects, with what the sheet is about."""
        moment = datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC)
        sheet = Sheet("s", ("a", "b"), [("=1", None), (moment, 2.5)], {"alias": "default"}, {"total": 2})
        found = json.loads("".join(json_lines(sheet)))
        assert found == {
            "sheet": "s",
            "alias": "default",
            "total": 2,
            "rows": [{"a": "=1", "b": None}, {"a": "2026-01-02T03:00:00+00:00", "b": 2.5}],
        }

    def test_json__empty(self):
        """A sheet without rows is an object too."""
        assert json.loads("".join(json_lines(Sheet("s", ("a",), []))))["rows"] == []

    def test_response__sent_as_it_is_made(self):
        """Rows are taken one after the other, as they are sent: no number of them is held at once."""
        taken = []
        response = Sheet("s", ("a",), ((taken.append(number) or number,) for number in count())).response(
            "csv"
        )
        lines = iter(response)
        assert [next(lines) for _ in range(4)] == [b"a\r\n", b"0\r\n", b"1\r\n", b"2\r\n"]
        assert len(taken) == 3

    def test_response__file_name(self):
        """A file is named after what it is about, by nothing that could break out of its header."""
        response = Sheet("s", ("a",), [], {"alias": 'a"\r\n/../b', "period": "7d", "none": None}).response(
            "csv"
        )
        assert response["Content-Disposition"] == 'attachment; filename="a_.._b-7d-s.csv"'
        assert response["X-Content-Type-Options"] == "nosniff"


class TestData:
    @pytest.fixture(autouse=True)
    def _logged_in(self, client, boss):
        client.force_login(boss)

    @pytest.mark.parametrize("sheet", SHEETS)
    def test_both_forms(self, client, cache, hours, sheet):
        """Every sheet comes as CSV and as JSON with the same rows, in plain numbers in any language."""
        cache.get("call:1")
        cache.flush_stats()
        with translation.override("es"), CaptureQueriesContext(connection) as queries:
            found = rows_of(get(client, sheet))
        told = json.loads(b"".join(get(client, sheet, "json")))
        assert [list(row) for row in told["rows"]] == [list(row) for row in found]
        assert found or sheet == "processes"
        assert (told["sheet"], told["alias"]) == (sheet, "default")
        assert len(queries) <= 8
        numbers = [value for row in told["rows"] for value in row.values() if isinstance(value, float)]
        assert all(str(number) in str(found) for number in numbers)

    def test_traffic(self, client, stats):
        """Traffic has a row for each step that was reported on."""
        response = get(client, "traffic", period="24h", alias="default")
        assert 'filename="default-24h-traffic.csv"' in response["Content-Disposition"]
        found = rows_of(response)
        assert len(found) == 24
        assert {(row["near_hits"], row["hits"], row["misses"], row["hit_ratio"]) for row in found} == {
            ("40", "120", "40", "0.8")
        }
        assert found[0]["start"].endswith("+00:00")

    def test_traffic__of_a_prefix(self, client, stats):
        """A prefix's page has its own numbers, and its name in the file's."""
        response = get(client, "traffic", period="7d", prefix="call:")
        assert 'filename="default-call-7d-traffic.csv"' in response["Content-Disposition"]
        assert {row["hits"] for row in rows_of(response)} == {"60"}

    def test_lifetimes(self, client, hours):
        """Bands are told by their bounds; what never expires has none."""
        found = rows_of(get(client, "lifetimes"))
        assert (found[0]["above_seconds"], found[0]["number"]) == ("", "15")
        assert (found[-1]["above_seconds"], found[-1]["up_to_seconds"], found[-1]["number"]) == ("", "", "6")

    @pytest.mark.parametrize("asked", [{"period": "24h"}, {"period": "24h", "prefix": "call:"}])
    def test_ttl(self, client, hours, asked):
        """How long writes live stands beside the hit ratio, step by step; what has no bound is not told."""
        newest = CacheHour.objects.latest("hour").hour
        for back, bands in enumerate(([0, 0, 7, 3], [0] * (TTL_BANDS - 1) + [5], [6, 4])):
            for model in (CacheHour, CacheStat):
                rows = model.objects.filter(hour=newest - datetime.timedelta(hours=back))
                rows.update(ttl_bands=bands + [0] * (TTL_BANDS - len(bands)))
        *_, before, forever, last = rows_of(get(client, "ttl", **asked))
        names = ("half_up_to_seconds", "nine_tenths_up_to_seconds", "hit_ratio")
        assert [before[name] for name in names] == ["1.0", "10.0", "0.8"]
        assert [forever[name] for name in names] == ["", "", "0.8"]
        assert [last[name] for name in names] == ["60.0", "300.0", "0.8"]

    def test_hours(self, client, cache, stats):
        """The strip of hours has all of the week, those without any report with nothing."""
        told = json.loads(b"".join(get(client, "hours", "json", prefix="call:")))
        assert len(told["rows"]) == 7 * 24
        assert sum(row["gets"] or 0 for row in told["rows"]) == 30 * 100
        assert told["time_zone"]

    def test_prefixes(self, client, stats):
        """The table of prefixes has all of them, as filtered and sorted, and none is a formula."""
        found = rows_of(get(client, "prefixes", period="30d", sort="prefix"))
        assert [row["prefix"] for row in found] == ['"><script>alert(1)</script>:', "call:"]
        assert found[1]["ttl_seconds"] == "60.0"
        assert len(rows_of(get(client, "prefixes", q="call"))) == 1

    def test_passes(self, client, hours):
        """Sync passes of the period come one by one."""
        (found,) = rows_of(get(client, "passes", period="24h"))
        assert (found["pushed"], found["outcome"]) == ("7", "ok")

    @pytest.mark.parametrize("address", ["data/nothing.csv", "data/traffic.xls", "keys.csv", "keys.xls?q=a"])
    def test_unknown(self, client, address):
        """What does not exist is not found."""
        assert client.get(ROOT + address).status_code == 404

    @pytest.mark.parametrize("sheet", SHEETS)
    def test_redis_down(self, client, settings, hours, sheet):
        """With Redis down the history is there all the same."""
        settings.CACHES = {"default": {**DEFAULT, "LOCATION": "redis://127.0.0.1:1/0"}}
        response = get(client, sheet, "json", period="24h")
        assert response.status_code == 200
        assert json.loads(b"".join(response))["sheet"] == sheet

    def test_links(self, client, cache, hours, page):
        """Every chart and table has its links, and each leads to a file with rows or a head."""
        cache.get("call:1")
        cache.flush_stats()
        pages = (
            "",
            "?period=1h",
            "cache/",
            "prefixes/?q=call",
            "prefix/?prefix=call:&period=24h",
            "sync/",
            "keys/",
        )
        links = {}
        for address in pages:
            shown = page(client.get(ROOT + address))
            charts = [1 for _, attributes in shown.tags if "cc-drawing" in (attributes.get("class") or "")]
            here = [
                attributes["href"] for tag, attributes in shown.tags if "/data/" in attributes.get("href", "")
            ]
            assert len(here) >= 2 * len(charts), address
            links |= dict.fromkeys(here, address)
        for link in links:
            response = client.get(link)
            assert response.status_code == 200, link
            assert b"".join(response), link
        assert {link.partition("/data/")[2].partition(".")[0] for link in links} >= set(SHEETS) - {
            "processes"
        }


class TestKeys:
    @pytest.fixture(autouse=True)
    def _logged_in(self, client, make_user):
        client.force_login(make_user("view_keys"))

    def test_names(self, client, cache):
        """Names of the keys that a search finds, hostile ones as text, and nothing else of them."""
        for key in HOSTILE[:4]:
            cache.set(f"{key}:call", "a secret value")
        response = client.get(f"{ROOT}keys.csv", {"q": "call"})
        text = b"".join(response).decode()
        assert 'filename="default-keys.csv"' in response["Content-Disposition"]
        found = list(csv.reader(io.StringIO(text, newline="")))
        assert found[0] == ["key", "redis_key"]
        assert sorted(row[0] for row in found[1:]) == sorted(f"'{key}:call" for key in HOSTILE[:4])
        assert "secret value" not in text

    def test_denied(self, client, cache):
        """Keys that are kept from pages are counted and not named."""
        cache.set_many({"user:password": 1, "call:password": 2, "call:1": 3})
        found = json.loads(b"".join(client.get(f"{ROOT}keys.json", {"q": "*"})))
        assert [row["key"] for row in found["rows"]] == ["call:1"]
        assert found["hidden"] == 2

    def test_no_text(self, client, cache):
        """Bytes that are no text are escaped in Redis's name."""
        cache.redis_client().set(b"admintest:1:call:\xff", b"x")
        (found,) = json.loads(b"".join(client.get(f"{ROOT}keys.json", {"q": "call*"})))["rows"]
        assert found["redis_key"] == "admintest:1:call:\\xff"

    def test_spent(self, client, cache, monkeypatch):
        """What one look cannot afford is in the next part, whose address comes along."""
        monkeypatch.setattr(scan, "COUNT", 10)
        monkeypatch.setattr(scan, "CALLS", 2)
        cache.set_many({f"call:{number}": number for number in range(300)})
        found, link = [], f"{ROOT}keys.json?q=call:*"
        while link:
            response = client.get(link)
            found += [row["key"] for row in json.loads(b"".join(response))["rows"]]
            assert "part" in response["Content-Disposition"]
            link = response.get("Link", "").partition("<")[2].partition(">")[0]
        assert set(found) == {f"call:{number}" for number in range(300)}

    def test_redis_down(self, client, settings):
        """Without Redis there is no file, and no password in the reason."""
        settings.CACHES = {"default": {**DEFAULT, "LOCATION": "redis://:hush@127.0.0.1:1/0"}}
        response = client.get(f"{ROOT}keys.csv", {"q": "call"})
        assert response.status_code == 503
        assert "hush" not in response.content.decode()

    def test_hot_keys__permission(self, client, make_user, stats):
        """Names of keys ask for the permission to see keys, also where they come from statistics."""
        assert rows_of(get(client, "hot-keys"))[0]["key"] == "<img src=x onerror=alert(1)>"
        assert get(client, "traffic").status_code == 403
        client.force_login(make_user("view_dashboard"))
        assert get(client, "hot-keys").status_code == 403

    def test_nothing_written(self, client, cache):
        """A download leaves nothing behind."""
        client.get(f"{ROOT}keys.csv", {"q": "call"})
        assert not CacheOperation.objects.exists()


class TestSpent:
    def test_page__spent(self, client, boss, cache, monkeypatch):
        """A search that stopped for its cost says that there may be more, and goes on where it stopped."""
        monkeypatch.setattr(browsing, "PAGE", 40)
        monkeypatch.setattr(scan, "COUNT", 10)
        monkeypatch.setattr(scan, "CALLS", 2)
        cache.set_many({f"call:{number}": number for number in range(300)})
        client.force_login(boss)
        shown = client.get(f"{ROOT}keys/", {"q": "call:29"})
        found = shown.context["found"]
        assert (found.is_spent, found.looked_at <= 50, found.total >= 300) == (True, True, True)
        assert "at least" in shown.content.decode()
        keys, cursor = [line.key for line in found.lines], found.cursor
        while cursor:
            found = client.get(f"{ROOT}keys/", {"q": "call:29", "cursor": cursor}).context["found"]
            keys += [line.key for line in found.lines]
            cursor = found.cursor
        assert set(keys) == {"call:29", *(f"call:29{digit}" for digit in range(10))}
        assert not found.is_spent
