"""The table of prefixes, one prefix, and the hours of the week."""

from __future__ import annotations

import datetime

import pytest
from django.core.cache import caches
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from django_callcache.admin.heat import heat_of
from django_callcache.admin.periods import period_of
from django_callcache.admin.ttl_history import ttl_history
from django_callcache.stats.series import Point
from django_callcache.templatetags.callcache_admin import sentence
from django_callcache.ttl import Sentence

pytestmark = pytest.mark.django_db

PREFIXES = "/admin/django_callcache/dashboard/prefixes/"
PREFIX = "/admin/django_callcache/dashboard/prefix/"
NOW = datetime.datetime(2026, 11, 20, 15, 30, tzinfo=datetime.UTC)
HOUR = int(NOW.timestamp() // 3600)


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.CALLCACHE = {"TTL": {"TIME_ZONE": "America/Bogota", "USAGE_THRESHOLD": 50, "WARMUP_HOURS": 0}}


class TestHeat:
    def test_heat__cells(self):
        """Seven days of the business's zone, today last; hours without a report are not zero."""
        heat = heat_of({HOUR: 100, HOUR - 1: 0, HOUR - 30: 7}, NOW)
        assert len(heat.rows) == 7
        assert heat.rows[-1].date == datetime.date(2026, 11, 20)
        today = {cell.hour: cell for cell in heat.rows[-1].cells}
        assert (today[10].reads, today[10].strength) == (100, 5)
        assert (today[9].reads, today[9].strength) == (0, 0)
        assert today[8].reads is None
        assert heat.rows[-2].cells[4].reads == 7
        assert heat.rows[-2].cells[4].strength == 1
        assert heat.busiest == 100

    def test_heat__peaks(self):
        """The peak hours are those that the rule would name."""
        heat = heat_of({HOUR - 24 * day: 80 for day in range(1, 8)}, NOW, shows_peaks=True)
        assert [hour.hour for hour in heat.hours if hour.is_peak] == [10]
        assert "80.0 reads on average" in heat.hours[10].reason

    def test_heat__older_hours(self):
        """What lies before the week does not dim it."""
        heat = heat_of({HOUR: 10, HOUR - 24 * 8: 1000}, NOW)
        assert heat.busiest == 10


class TestTtlHistory:
    def test_changes(self):
        """A change of the usual band counts between hours with writes, whatever lies between them."""
        bands = ([9, 1], [0, 0], [8, 2], [2, 8], [0, 9], [3, 0])
        hours = [(NOW + datetime.timedelta(hours=at), each) for at, each in enumerate(bands)]
        points = [Point(hour, 3600, None) for hour, _ in hours]
        history = ttl_history(period_of("24h", NOW), points, hours, [None] * len(hours))
        assert history.changes == 2
        assert history.chart.lines[0].values == [1.0, None, 1.0, 10.0, 10.0, 1.0]
        assert history.chart.lines[1].values == [1.0, None, 10.0, 10.0, 10.0, 1.0]


class TestPages:
    @pytest.fixture(autouse=True)
    def _logged_in(self, client, boss):
        client.force_login(boss)

    def test_prefixes(self, client, stats, page):
        """Every prefix has a line, escaped, in few queries."""
        with CaptureQueriesContext(
            connection,
        ) as queries:
            response = client.get(PREFIXES, {"period": "7d"})
        assert {line.prefix for line in response.context["shown"].lines} == {row.prefix for row in stats}
        assert "<script>alert" not in response.content.decode()
        assert page(response).refused == []
        assert len(queries) <= 8

    @pytest.mark.parametrize("sort", ["reads", "prefix", "misses", "ratio", "sets", "errors", "<script>"])
    def test_prefixes__sorted(self, client, stats, sort):
        """Any column sorts; nonsense sorts by reads."""
        shown = client.get(PREFIXES, {"sort": sort}).context["shown"]
        assert shown.sort == (sort if sort != "<script>" else "reads")
        assert len(shown.lines) == 2

    def test_prefixes__filtered(self, client, stats):
        """A filter leaves the prefixes that contain a text."""
        shown = client.get(PREFIXES, {"q": "all:"}).context["shown"]
        assert [line.prefix for line in shown.lines] == ["call:"]
        assert client.get(PREFIXES, {"q": "nothing"}).context["shown"].number == 0

    def test_prefix(self, client, stats, page):
        """One prefix is drawn, tabled and explained."""
        response = client.get(PREFIX, {"prefix": "call:", "period": "24h"})
        facts = response.context["facts"]
        assert facts.totals.gets == 24 * 100
        assert facts.rule.prefix == "call:"
        assert facts.decision.ttl_seconds == 60
        assert any(cell.reads == 100 and cell.ratio == 0.8 for row in facts.heat.rows for cell in row.cells)
        assert page(response).refused == []

    def test_prefix__unknown(self, client):
        """A prefix nobody has read is a page without numbers."""
        response = client.get(PREFIX, {"prefix": "<script>alert(1)</script>"})
        assert response.status_code == 200
        assert response.context["facts"].totals.gets == 0
        assert "<script>alert" not in response.content.decode()

    def test_prefix__nothing_measured(self, client, settings):
        """Without a comparison the page says that nothing was measured, and shows no estimate instead."""
        rules = {"call:": {"ttl": "adaptive", "stale_target": 0.05}}
        settings.CACHES["default"]["OPTIONS"] = {"CALLCACHE": {"RULES": rules}}
        settings.CACHES = {**settings.CACHES}
        text = client.get(PREFIX, {"prefix": "call:"}).content.decode()
        assert "Nothing has been measured yet" in text
        assert "confidence" not in text

    def test_prefix__measured(self, client, settings, redis_client, stats):
        """What was measured is shown with its interval, in the reader's language, as are reasons."""
        rules = {"call:": {"ttl": "adaptive", "stale_target": 0.05}}
        settings.CACHES["default"]["OPTIONS"] = {"CALLCACHE": {"RULES": rules}}
        settings.CACHES = {**settings.CACHES}
        cache = caches["default"]
        found = {"n": 200, "s": 3, "fresh": 500, "stale": 9, "unclear": 2}
        redis_client.hset(cache.redis_keys.checked("call:"), mapping=found)
        facts = client.get(PREFIX, {"prefix": "call:"}).context["facts"]
        assert facts.staleness.ratio == 0.015
        settings.LANGUAGE_CODE = "es"
        with translation.override("es"):
            text = client.get(PREFIX, {"prefix": "call:"}).content.decode()
        assert "Aciertos obsoletos, medidos" in text
        assert "1,5" in text
        assert "de los últimos 200 aciertos" in text
        assert "0 de 10 recargas vistas; hasta entonces decide la hora:" in text
        assert "reloads seen" not in text

    def test_prefix__redis_down(self, client, settings):
        """Without Redis the page is there all the same."""
        rules = {"call:": {"revalidate": 0.05}}
        stated = {"OPTIONS": {"CALLCACHE": {"RULES": rules}}, "LOCATION": "redis://127.0.0.1:1/0"}
        settings.CACHES = {**settings.CACHES, "default": {**settings.CACHES["default"], **stated}}
        response = client.get(PREFIX, {"prefix": "call:"})
        assert response.status_code == 200
        assert response.context["facts"].staleness is None


class TestSentence:
    def test_sentence__nested(self):
        """A sentence within another is translated too; numbers are filled in."""
        template = "{hour:02}:00 is within office hours, which decide since nothing is recorded yet."
        hour = Sentence(template, hour=9)
        outer = Sentence("No reload has been seen yet; until then: {hour}", hour=hour)
        assert outer.endswith("09:00 is within office hours, which decide since nothing is recorded yet.")
        with translation.override("es"):
            assert sentence(outer) == (
                "Aún no se ha visto ninguna recarga; hasta entonces: Las 09:00 están dentro del horario de "
                "oficina, que decide porque aún no hay nada registrado."
            )

    def test_sentence__any_text(self):
        """A text that nobody has translated stays as it is, braces and all."""
        with translation.override("es"):
            assert sentence("My own {policy}: 5 %") == "My own {policy}: 5 %"
            assert sentence("") == ""
            assert sentence("Few reads find a value.") == "Pocas lecturas hallan un valor."
