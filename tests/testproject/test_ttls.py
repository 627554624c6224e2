"""Which TTLs the demo says were chosen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.cache import caches

from testproject.demo.ttls import chosen_ttls, ttl_figures

pytestmark = pytest.mark.usefixtures("redis_url")


class TestChosenTtls:
    def test_chosen__by_age(self):
        """What is left and the age of a call give the TTL that it got."""
        cache = caches["default"]
        calls = {}
        for number, (age, left) in enumerate([(0, 3600), (120, 3480), (60, 1740), (1800, 1800)]):
            started_at = datetime.now(UTC) - timedelta(seconds=age)
            calls[f"call:{number}"] = {"started_at": started_at.isoformat()}
            cache.set(f"call:{number}", {}, timeout=left)
        calls["call:99"] = {"started_at": datetime.now(UTC).isoformat()}
        assert chosen_ttls(cache, calls) == {3600.0: 3, 1800.0: 1}


class TestTtlFigures:
    def test_figures__nothing_written(self):
        """Without a call there is still the policy's answer for now."""
        figures = ttl_figures(caches["default"], {})
        assert figures["TTLs chosen for calls"] == "none"
        assert "nothing is recorded yet" in figures["TTL chosen from now on"]
        assert figures["TTL of campaigns' figures"] == "30 s, by their rule"
