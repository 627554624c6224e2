"""The rules for Prometheus, judged by Prometheus's own tool."""

from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_callcache.alerts.prometheus import EXPRESSIONS, RECORDS, alert_name
from django_callcache.conf.alert_rules import SHIPPED
from testproject.parts.prometheus_server import promtool

OPERATIONS = 'callcache_operations_total{%s,operation="get",result="%s"}'
LABELS = 'job="site",alias="default",instance="one"'


def series(name, values):
    """One input series; the notation is Prometheus's: start, step a minute, how often."""
    return {"series": f"{name}{{{LABELS}}}", "values": values}


def reads(hits, misses):
    """Reads a minute, as two addresses of the same site show them."""
    return [
        {"series": OPERATIONS % (LABELS.replace("one", instance), result), "values": f"0+{number}x120"}
        for instance in ("one", "two")
        for result, number in (("hit", hits), ("miss", misses))
    ]


def durations(le_of_all):
    """A thousand reads a minute that took less than one bound and no less than the one before."""
    name = "callcache_operation_duration_seconds_bucket"
    bounds = [0.033554432, 0.067108864, 0.134217728]
    return [
        {
            "series": f'{name}{{{LABELS},operation="read",le="{le}"}}',
            "values": f"0+{1000 if le >= le_of_all else 0}x120",
        }
        for le in (*bounds, float("inf"))
    ]


def was(name, seconds_ago):
    """A moment that lies so many seconds before the 60th minute, and stays there."""
    return series(name, f"{3600 - seconds_ago}x120")


BUSY = reads(900, 100)
CASES = {
    "redis-unreachable": ([series("callcache_redis_up", "0x120")], [series("callcache_redis_up", "1x120")]),
    "degraded": (
        [series("callcache_degraded", "1x120"), series("callcache_redis_up", "1x120")],
        [series("callcache_degraded", "1x120"), series("callcache_redis_up", "0x120")],
    ),
    "hit-ratio-low": (reads(400, 600), reads(600, 400)),
    "latency-high": (durations(0.134217728) + BUSY, durations(0.033554432) + BUSY),
    "errors-high": (
        [series("callcache_errors_total", "0+60x120"), *BUSY],
        [series("callcache_errors_total", "0+1x120"), *BUSY],
    ),
    "memory-high": (
        [
            series("callcache_redis_memory_used_bytes", "95x120"),
            series("callcache_redis_memory_max_bytes", "100x120"),
        ],
        [
            series("callcache_redis_memory_used_bytes", "95x120"),
            series("callcache_redis_memory_max_bytes", "0x120"),
        ],
    ),
    "evictions": (
        [series("callcache_redis_evicted_keys_total", "0+600x120")],
        [series("callcache_redis_evicted_keys_total", "0+6x120")],
    ),
    "near-stale": (
        [series("callcache_invalidation_lag_seconds", "30x120")],
        [series("callcache_invalidation_lag_seconds", "0.5x120")],
    ),
    "stats-stalled": (
        [was("callcache_stats_collected_timestamp_seconds", 3600)],
        [was("callcache_stats_collected_timestamp_seconds", 200)],
    ),
    "sync-stalled": (
        [
            was("callcache_sync_last_success_timestamp_seconds", 3600),
            series("callcache_outbox_entries", "3x120"),
        ],
        [
            was("callcache_sync_last_success_timestamp_seconds", 3600),
            series("callcache_outbox_entries", "0x120"),
        ],
    ),
    "memory-unexpected": (
        [series("callcache_redis_memory_unexpected", "1x120")],
        [series("callcache_redis_memory_unexpected", "0x120")],
    ),
    "near-inconsistent": (
        [series("callcache_inconsistent_total", "0x50 2x70")],
        [series("callcache_inconsistent_total", "7x120")],
    ),
    "redis-emptied": (
        [series("callcache_sync_paused", "1x120")],
        [series("callcache_sync_paused", "0x120")],
    ),
    "sync-refused": (
        [series("callcache_sync_refused", "1x120")],
        [series("callcache_sync_refused", "0x120")],
    ),
    "backlog-growing": (
        [series("callcache_outbox_oldest_age_seconds", "1300x120")],
        [series("callcache_outbox_oldest_age_seconds", "60x120")],
    ),
    "backlog-full": (
        [series("callcache_outbox_share", "0.9x120")],
        [series("callcache_outbox_share", "0.1x120")],
    ),
    "sync-rejected": (
        [series("callcache_sync_rejected_total", "0x50 1x70")],
        [series("callcache_sync_rejected_total", "7x120")],
    ),
    "durability-at-risk": (
        [series("callcache_durability_at_risk", "1x120")],
        [series("callcache_durability_at_risk", "0x120")],
    ),
    "loop-dead": (
        [was("callcache_loop_alive_timestamp_seconds", 600)],
        [was("callcache_loop_alive_timestamp_seconds", 10)],
    ),
}
"""What makes each alert fire within an hour, and what is like it but should not."""


@pytest.fixture
def rules(tmp_path, capsys, prometheus_programs):
    """The rule file as the command writes it."""
    call_command("callcache_rules", output=tmp_path / "rules.yml")
    return tmp_path / "rules.yml"


def case(given, expected, *, at="60m", interval="1m", by="alertname", which=""):
    """A test for promtool: given some series, exactly these alerts fire."""
    return {
        "interval": interval,
        "input_series": given,
        "promql_expr_test": [
            {
                "expr": f'group by ({by}) (ALERTS{{alertstate="firing"{which}}})',
                "eval_time": at,
                "exp_samples": [{"labels": f'{{{by}="{name}"}}', "value": 1} for name in expected],
            }
        ],
    }


def judge(rules, cases):
    """Let promtool run some tests."""
    file = rules.with_name("test.yml")
    interval = cases[0]["interval"]
    file.write_text(json.dumps({"rule_files": [rules.name], "evaluation_interval": interval, "tests": cases}))
    done = promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


class TestRules:
    def test_check(self, rules):
        """Prometheus takes the file, and every rule is in it."""
        done = promtool("check", "rules", str(rules))
        assert done.returncode == 0, done.stderr
        assert f"SUCCESS: {len(RECORDS) + len(SHIPPED) + 1} rules found" in done.stdout
        assert {rule.name for rule in SHIPPED} == set(EXPRESSIONS)

    def test_alerts__fire(self, rules):
        """Each alert fires when it should, alone."""
        judge(rules, [case(bad, {alert_name(name)}) for name, (bad, _) in CASES.items()])

    def test_alerts__do_not_fire(self, rules):
        """No alert fires on what is only like what it is for."""
        judge(
            rules,
            [
                case(good, set(), which=f',alertname="{alert_name(name)}"')
                for name, (_, good) in CASES.items()
            ],
        )

    def test_alerts__fire_not_before(self, rules):
        """An alert waits until its condition has held for its time."""
        bad = CASES["redis-unreachable"][0]
        judge(rules, [case(bad, set(), at="0m"), case(bad, {"CallcacheRedisUnreachable"}, at="1m")])

    def test_alerts__no_traffic(self, rules):
        """A site that nobody visits, or that has just begun, alerts of nothing."""
        quiet = ("callcache_errors_total", "callcache_outbox_entries", "callcache_degraded")
        idle = [*reads(0, 0), series("callcache_redis_up", "1x120"), *(series(one, "0x120") for one in quiet)]
        judge(rules, [case(idle, set()), case([], set()), case(reads(0, 10), set())])

    @pytest.mark.long
    def test_alert__hit_ratio_dropped(self, rules):
        """A drop against the same hour of last week fires, though the ratio is not low in itself."""
        given = []
        for alias, later in (("dropped", (36000, 24000)), ("steady", (54000, 6000))):
            labels = f'job="site",alias="{alias}",instance="one"'
            for result, first, then in zip(("hit", "miss"), (54000, 6000), later, strict=True):
                # Every five minutes, for a week and then for three hours more.
                values = f"0+{first}x2040 {first * 2041}+{then}x40"
                given.append({"series": OPERATIONS % (labels, result), "values": values})
        at = {"at": "10320m", "interval": "5m"}
        judge(
            rules, [case(given, {"dropped"}, by="alias", which=',alertname="CallcacheHitRatioDropped"', **at)]
        )

    def test_thresholds__of_the_settings(self, capsys):
        """Thresholds are those of the settings, and a rule that is off is left out."""
        changed = {"hit-ratio-low": {"THRESHOLD": 0.25, "AFTER": 120}, "degraded": {"ENABLED": False}}
        with override_settings(CALLCACHE={"ALERTS": {"RULES": changed, "MIN_READS": 600}}):
            call_command("callcache_rules")
        text = capsys.readouterr().out
        assert "callcache:hit_ratio:rate5m < 0.25 and callcache:reads:rate5m > 2" in text
        assert "CallcacheDegraded" not in text

    def test_output__cannot_be_written(self, tmp_path):
        """A file that cannot be written is named, with code 2."""
        with pytest.raises(CommandError, match=r"/nowhere/rules\.yml cannot be written") as caught:
            call_command("callcache_rules", output=tmp_path / "nowhere/rules.yml")
        assert caught.value.returncode == 2
