"""The table of prefixes, one prefix, and the hours of the week."""

from __future__ import annotations

import datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_callcache.admin.heat import heat_of

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
