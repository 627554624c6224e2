"""The alert rules that ship with the app, and what ``CALLCACHE["ALERTS"]`` may say of rules and channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from django.core.exceptions import ImproperlyConfigured

from django_callcache.conf.parsing import (
    DERIVED,
    HIDDEN,
    Amount,
    Bounds,
    ReadBy,
    Seconds,
    item,
    read_fields,
    unknown,
    wrong,
)
from django_callcache.ttl.sentence import gettext_noop

Severity = Literal["info", "warning", "critical"]

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""The mildest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """When to alert. A rule of another name than a shipped one is refused."""

    name: Annotated[str, DERIVED]
    signal: Annotated[str, DERIVED]
    """What it looks at."""
    is_low_bad: Annotated[bool, DERIVED] = False
    """Whether values below the threshold are wrong rather than those above."""
    summary: Annotated[str, DERIVED] = ""
    enabled: bool = True
    """Whether the rule is looked at."""
    threshold: float = 0.0
    """Beyond this the condition holds."""
    clear: float | None = None
    """The condition ends only when the value is back at this or better, so that a value near the threshold
    does not come and go. Left out, it is the threshold."""
    after: Amount = 60.0
    """Seconds for which the condition must hold before the alert fires."""
    clear_after: Amount = 60.0
    """Seconds for which it must have ended before the alert is resolved."""
    severity: Severity = "warning"
    """How bad it is."""

    def is_broken_by(self, value: float) -> bool:
        """Tell whether the condition begins to hold at a value."""
        return value < self.threshold if self.is_low_bad else value > self.threshold

    def is_met_by(self, value: float) -> bool:
        """Tell whether a value is good enough for the condition to end."""
        bound = self.threshold if self.clear is None else self.clear
        return value >= bound if self.is_low_bad else value <= bound


SHIPPED = (
    AlertRule(
        name="redis-unreachable",
        signal="redis_down",
        after=60,
        severity="critical",
        summary=gettext_noop("Redis does not answer: every read is a miss, and synced writes are refused."),
    ),
    AlertRule(
        name="degraded",
        signal="degraded",
        after=120,
        summary=gettext_noop("A process has given Redis up for now, though Redis answers the loop."),
    ),
    AlertRule(
        name="hit-ratio-low",
        signal="hit_ratio",
        is_low_bad=True,
        threshold=0.5,
        clear=0.55,
        after=900,
        summary=gettext_noop("Few reads find a value."),
    ),
    AlertRule(
        name="hit-ratio-dropped",
        signal="hit_ratio_change",
        is_low_bad=True,
        threshold=0.8,
        clear=0.85,
        after=1800,
        summary=gettext_noop("Fewer reads find a value than in the same hour of last week."),
    ),
    AlertRule(
        name="latency-high",
        signal="read_p99_seconds",
        threshold=0.05,
        clear=0.04,
        after=600,
        summary=gettext_noop("One read in a hundred takes long."),
    ),
    AlertRule(
        name="errors-high",
        signal="error_ratio",
        threshold=0.01,
        clear=0.005,
        after=300,
        summary=gettext_noop("Redis does not answer in time, or refuses, many calls."),
    ),
    AlertRule(
        name="memory-high",
        signal="memory_share",
        threshold=0.9,
        clear=0.85,
        after=600,
        summary=gettext_noop("Redis is close to its memory limit."),
    ),
    AlertRule(
        name="memory-unexpected",
        signal="memory_unexpected",
        after=60,
        summary=gettext_noop("Redis's memory limit or eviction policy is not what the settings expect."),
    ),
    AlertRule(
        name="evictions",
        signal="evictions_per_second",
        threshold=1.0,
        clear=0.1,
        after=600,
        summary=gettext_noop("Redis evicts keys for want of memory."),
    ),
    AlertRule(
        name="near-stale",
        signal="near_lag_seconds",
        threshold=10.0,
        clear=5.0,
        after=120,
        summary=gettext_noop(
            "A process hears nothing of changes, so it serves no copies and asks Redis each time."
        ),
    ),
    AlertRule(
        name="near-inconsistent",
        signal="inconsistent",
        after=0,
        clear_after=3600,
        severity="critical",
        summary=gettext_noop("A process served copies of values that had changed."),
    ),
    AlertRule(
        name="stats-stalled",
        signal="stats_age_seconds",
        threshold=1200.0,
        clear=600.0,
        after=300,
        summary=gettext_noop("Counts are not turned into statistics."),
    ),
    AlertRule(
        name="sync-stalled",
        signal="sync_age_seconds",
        threshold=1800.0,
        clear=900.0,
        after=300,
        severity="critical",
        summary=gettext_noop("Entries wait, and no sync pass has succeeded for long."),
    ),
    AlertRule(
        name="redis-emptied",
        signal="redis_emptied",
        after=0,
        severity="critical",
        summary=gettext_noop("Redis has lost what it held: nothing is pushed until a person has decided."),
    ),
    AlertRule(
        name="sync-refused",
        signal="sync_refused",
        after=0,
        severity="critical",
        summary=gettext_noop("The remote store refuses us: credentials, permissions or a missing schema."),
    ),
    AlertRule(
        name="backlog-growing",
        signal="outbox_age_seconds",
        threshold=900.0,
        clear=600.0,
        after=300,
        summary=gettext_noop("An entry has waited long for the remote store."),
    ),
    AlertRule(
        name="backlog-full",
        signal="outbox_share",
        threshold=0.8,
        clear=0.5,
        after=60,
        severity="critical",
        summary=gettext_noop("The outbox is close to its bound, beyond which new keys are refused."),
    ),
    AlertRule(
        name="sync-rejected",
        signal="rejected",
        threshold=0.0,
        after=0,
        clear_after=3600,
        summary=gettext_noop("The remote store has refused entries for their data."),
    ),
    AlertRule(
        name="durability-at-risk",
        signal="durability_at_risk",
        after=600,
        severity="critical",
        summary=gettext_noop(
            "Redis would lose entries that wait for the remote store, with memory or power."
        ),
    ),
)


def read_rules(value: object, where: str) -> tuple[AlertRule, ...]:
    """Read changes to the shipped rules, by rule; all rules come back."""
    if not isinstance(value, Mapping):
        raise wrong(where, value, 'a dict of rules, each with a dict such as {"THRESHOLD": 0.4}')
    shipped = {rule.name: rule for rule in SHIPPED}
    for name, stated in value.items():
        if name not in shipped:
            raise unknown(name, shipped, where)
        shipped[name] = _changed(shipped[name], stated, item(where, name))
    return tuple(shipped.values())


def _changed(rule: AlertRule, stated: object, where: str) -> AlertRule:
    changes = read_fields(AlertRule, stated, where)
    changed = replace(rule, **changes)
    if changed.clear is not None and changed.is_broken_by(changed.clear):
        if "clear" in changes:
            side = "at or above" if rule.is_low_bad else "at or below"
            raise wrong(
                item(where, "CLEAR"), changed.clear, f"a number {side} THRESHOLD, {changed.threshold}"
            )
        changed = replace(changed, clear=None)
    return changed


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """Where notices of alerts go. What matters depends on `KIND`."""

    name: Annotated[str, DERIVED] = ""
    kind: Literal["log", "mail", "webhook"] = "log"
    """"log" (the logger `django_callcache.alerts`), "mail" or "webhook"."""
    severity: Severity = "info"
    """The mildest severity that is told here."""
    to: tuple[str, ...] = ()
    """Addresses that mail goes to. Left out, it goes to Django's ADMINS."""
    secret_url: Annotated[str, HIDDEN] = field(default="", repr=False)
    """Address of the webhook. Who knows it can mostly post there: by this name Django's error pages and mails
    hide it."""
    style: Literal["json", "slack"] = "json"
    """What the webhook is sent: "json", all facts by name; "slack", a text as Slack and its likes take it."""
    secret: Annotated[str, HIDDEN] = field(default="", repr=False)
    """Signs what the webhook is sent: the header `X-Callcache-Signature` is `sha256=` and the body's HMAC."""
    timeout: Seconds = 3.0
    """Seconds that the webhook may take in all."""
    allow_http: bool = False
    """Whether the webhook may be without TLS."""
    allow_private: bool = False
    """Whether the webhook may lie on this machine or in a private network."""


def read_channels(value: object, where: str) -> tuple[ChannelSettings, ...]:
    """Read the channels by name."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) and name for name in value):
        # The value is not shown: it may hold the secrets of a channel.
        raise ImproperlyConfigured(
            f'{where} cannot be used: give a dict of channels, each with a dict such as {{"KIND": "mail"}}.'
        )
    return tuple(_channel(name, stated, item(where, name)) for name, stated in value.items())


def _channel(name: str, stated: object, where: str) -> ChannelSettings:
    channel = ChannelSettings(name=name, **read_fields(ChannelSettings, stated, where))
    if channel.kind == "webhook":
        schemes = ("https://", "http://") if channel.allow_http else ("https://",)
        if not channel.secret_url.startswith(schemes):
            raise ImproperlyConfigured(
                f"{item(where, 'SECRET_URL')} cannot be used (it is a secret, not shown here): "
                f"give an address that begins with {' or '.join(schemes)}."
            )
    return channel


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """Alerts, looked for by the loop."""

    enabled: bool = True
    """Whether the loop looks at the rules at all."""
    interval: Seconds = 30.0
    """Seconds between two looks."""
    window: Annotated[int, Bounds(at_least=1, at_most=60)] = 5
    """Minutes of traffic that a look at ratios and call times takes in."""
    min_reads: Amount = 300.0
    """Reads in the window below which ratios and call times say nothing."""
    rules: Annotated[tuple[AlertRule, ...], ReadBy(read_rules)] = SHIPPED
    """A dict of rules by name, each with a dict of what is to differ from the shipped one."""
    channels: Annotated[tuple[ChannelSettings, ...], ReadBy(read_channels)] = (ChannelSettings(name="log"),)
    """A dict of channels by name, each with a dict of its settings. Left out, alerts are logged."""
