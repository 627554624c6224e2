from __future__ import annotations

import json
import re

import pytest
from django.core.management import call_command
from prometheus_client.parser import text_string_to_metric_families

from django_callcache import metrics
from django_callcache.outbox.stat_buckets import StatBuckets
from django_callcache.sync.leader import Heartbeat
from testproject.parts.prometheus_server import promtool


@pytest.fixture
def dashboard(capsys):
    """The dashboard as the command prints it."""
    call_command("callcache_rules", dashboard=True)
    return json.loads(capsys.readouterr().out)


def expressions(dashboard):
    """Every query of every panel."""
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


class TestDashboard:
    def test_metrics__exist(self, dashboard, make_cache):
        """Every metric in it exists in a real scrape, and every family of a scrape is in it."""
        cache = make_cache(RULES={"call:": {"sync": "lww", "revalidate": 0.1}})
        cache.set("call:1", 1)
        cache.pin_ttl("call:", 60, by="maria")
        cache.flush_stats()
        client = cache.redis_client()
        StatBuckets(client, cache.redis_keys).note({"passes_ok": 1}, {"synced_at": 1, "collected_at": 1})
        client.hset(cache.redis_keys.checked("call:"), mapping={"n": 1, "s": 0, "fresh": 1})
        Heartbeat.of_this_process().write(client, cache.redis_keys)
        page = metrics.exposition("")[0].decode()
        families = list(text_string_to_metric_families(page))
        scraped = {sample.name for family in families for sample in family.samples}
        drawn = set(re.findall(r"callcache_\w+", " ".join(expressions(dashboard))))
        assert drawn <= scraped
        assert not [family.name for family in families if not any(family.name in name for name in drawn)]

    def test_expressions__parse(self, dashboard, tmp_path, prometheus_programs):
        """Every expression is one that Prometheus reads."""
        rules = [
            {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
            for number, expression in enumerate(expressions(dashboard))
        ]
        file = tmp_path / "rules.yml"
        file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        done = promtool("check", "rules", str(file))
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{len(rules)} rules found" in done.stdout

    def test_model(self, dashboard):
        """Panels have ids and places of their own, and variables for source, job and cache."""
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)
        taken = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
            assert at["x"] + at["w"] <= 24
            assert not taken & cells
            taken |= cells
        assert [each["name"] for each in dashboard["templating"]["list"]] == ["datasource", "job", "alias"]
        assert dashboard["uid"]
