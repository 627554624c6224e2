"""The same rules for Prometheus: recording rules and alerts, with the thresholds of the settings.

Every process answers a scrape for all (see ``metrics``), so series of several addresses are the same ones:
the greatest is taken, not the sum.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from string import Template

from django_callcache.conf import AlertRule

_READS = 'callcache_operations_total{operation="get"}'
_FOUND = 'callcache_operations_total{operation="get",result!="miss"}'
_BUCKETS = 'callcache_operation_duration_seconds_bucket{operation="read"}'


def _rate(series: str, span: str) -> str:
    return f"sum by (job, alias) (max by (job, alias, result) (rate({series}[{span}])))"


def _worst(series: str) -> str:
    return f"max by (job, alias) ({series})"


RECORDS = {
    "callcache:reads:rate5m": _rate(_READS, "5m"),
    "callcache:reads:rate1h": _rate(_READS, "1h"),
    "callcache:hit_ratio:rate5m": f"{_rate(_FOUND, '5m')} / ({_rate(_READS, '5m')} > 0)",
    "callcache:hit_ratio:rate1h": f"{_rate(_FOUND, '1h')} / ({_rate(_READS, '1h')} > 0)",
    "callcache:read_seconds:p99_5m": (
        f"histogram_quantile(0.99, max by (job, alias, le) (rate({_BUCKETS}[5m])))"
    ),
    "callcache:errors:rate5m": _worst("rate(callcache_errors_total[5m])"),
}
"""Recording rules by name. A ratio without reads is no series rather than a zero."""

_BUSY = "callcache:reads:rate5m > $reads_per_second"
_DOWN = _worst("callcache_redis_up") + " == 0"

EXPRESSIONS = {
    "redis-unreachable": _DOWN,
    "degraded": f"{_worst('callcache_degraded')} > 0 unless {_DOWN}",
    "hit-ratio-low": f"callcache:hit_ratio:rate5m < $threshold and {_BUSY}",
    "hit-ratio-dropped": (
        "callcache:hit_ratio:rate1h / callcache:hit_ratio:rate1h offset 1w < $threshold "
        f"and {_BUSY} and callcache:reads:rate1h offset 1w > $reads_per_second"
    ),
    "latency-high": f"callcache:read_seconds:p99_5m > $threshold and {_BUSY}",
    "errors-high": (
        "callcache:errors:rate5m / (callcache:errors:rate5m + callcache:reads:rate5m) > $threshold "
        "and callcache:errors:rate5m > 0.05"
    ),
    "memory-high": (
        f"{_worst('callcache_redis_memory_used_bytes')} / "
        f"({_worst('callcache_redis_memory_max_bytes')} > 0) > $threshold"
    ),
    "memory-unexpected": f"{_worst('callcache_redis_memory_unexpected')} > $threshold",
    "evictions": f"{_worst('rate(callcache_redis_evicted_keys_total[5m])')} > $threshold",
    "near-stale": f"{_worst('callcache_invalidation_lag_seconds')} > $threshold",
    "near-inconsistent": f"{_worst('increase(callcache_inconsistent_total[1h])')} > $threshold",
    "stats-stalled": f"time() - {_worst('callcache_stats_collected_timestamp_seconds')} > $late",
    "sync-stalled": (
        f"time() - {_worst('callcache_sync_last_success_timestamp_seconds')} > $late "
        f"and {_worst('callcache_outbox_entries')} > 0"
    ),
    "backlog-growing": f"{_worst('callcache_outbox_oldest_age_seconds')} > $late",
    "backlog-full": f"{_worst('callcache_outbox_share')} > $threshold",
    "sync-rejected": f"{_worst('increase(callcache_sync_rejected_total[1h])')} > $threshold",
    "durability-at-risk": f"{_worst('callcache_durability_at_risk')} > $threshold",
    "redis-emptied": f"{_worst('callcache_sync_paused')} > $threshold",
    "sync-refused": f"{_worst('callcache_sync_refused')} > $threshold",
}
"""What Prometheus looks at, by the name of the rule."""

LOOP_DEAD_SECONDS = 180
"""The loop leaves a sign of life every ten seconds. Prometheus can miss it, its own alerts cannot."""


def rules_yaml(rules: Iterable[AlertRule], *, reads_per_second: float, interval: float, runbook: str) -> str:
    """Return a rule file for Prometheus.

    Args:
        rules: Those in use.
        reads_per_second: Traffic below which ratios say nothing.
        interval: The loop's own pause, in seconds: what it does is late only beyond that.
        runbook: Address of the page with a section a rule.
    """
    lines = ["groups:", "  - name: callcache.records", "    rules:"]
    for name, expression in RECORDS.items():
        lines += [f"      - record: {name}", f"        expr: {json.dumps(expression)}"]
    lines += ["  - name: callcache.alerts", "    rules:"]
    for rule in rules:
        expression = Template(EXPRESSIONS[rule.name]).substitute(
            threshold=f"{rule.threshold:.12g}",
            late=f"{rule.threshold + interval:.12g}",
            reads_per_second=f"{reads_per_second:.12g}",
        )
        lines += _alert(rule.name, expression, rule.after, rule.severity, rule.summary, runbook)
    dead = f"time() - {_worst('callcache_loop_alive_timestamp_seconds')} > {LOOP_DEAD_SECONDS}"
    lines += _alert("loop-dead", dead, 60, "critical", "The loop behind the cache does not run.", runbook)
    return "\n".join(lines) + "\n"


def _alert(
    name: str, expression: str, after: float, severity: str, summary: str, runbook: str
) -> Iterator[str]:
    yield f"      - alert: {alert_name(name)}"
    yield f"        expr: {json.dumps(expression)}"
    yield f"        for: {round(after)}s"
    yield f"        labels: {{severity: {severity}}}"
    yield "        annotations:"
    yield f"          summary: {json.dumps(summary)}"
    yield (
        '          description: "Cache {{ $labels.alias }} of {{ $labels.job }}: '
        'the value is {{ $value | humanize }}."'
    )
    yield f"          runbook_url: {json.dumps(f'{runbook}#{name}')}"


def alert_name(name: str) -> str:
    """Return what Prometheus calls a rule: hit-ratio-low is CallcacheHitRatioLow."""
    return "Callcache" + "".join(word.capitalize() for word in name.split("-"))
