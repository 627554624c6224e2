"""The rows of alerts: what each look changes in them, and what of it is still to be told.

Any number of loops may look at once: rows are locked while they are judged, one open row an alert is a
constraint of the database, and a notice is claimed before it is sent. So each change is told once, and again
only where a channel failed or a process died in the middle.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable, Mapping, Sequence

from django.db import IntegrityError, router, transaction

from django_callcache.alerts.channels import tell
from django_callcache.alerts.notices import Notice
from django_callcache.alerts.states import REOPEN_SECONDS, AlertState, step
from django_callcache.conf import AlertRule, AlertSettings, ChannelSettings
from django_callcache.conf.alert_rules import SEVERITIES
from django_callcache.exceptions import ChannelFailed
from django_callcache.models import CacheAlert
from django_callcache.signals import cache_alert

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
"""Pause before a channel that failed is tried again; it doubles with each failure."""

TRIES = 6
"""How often a notice is tried."""


def judge(alias: str, settings: AlertSettings, values: Mapping[str, float | None], now: float) -> None:
    """Look at every rule, keep what has changed and tell it.

    Args:
        alias: Of the cache.
        settings: Rules and channels.
        values: What was found, by signal; a signal that is missing could not be looked at, and its alerts
            stay as they are.
        now: Unix seconds.
    """
    rules = {rule.name: rule for rule in settings.rules if rule.enabled}
    changed: list[CacheAlert] = []
    using = router.db_for_write(CacheAlert)
    with transaction.atomic(using=using):
        rows = CacheAlert.objects.using(using).for_alias(alias).open().select_for_update()
        known = {row.rule: row for row in rows}
        for name, row in known.items():
            if name not in rules and row.state != CacheAlert.State.RESOLVED:
                row.close(_moment(now))
        for name, rule in rules.items():
            if rule.signal in values and (
                row := _judged(alias, rule, known.get(name), values[rule.signal], now, using)
            ):
                changed.append(row)
        for row in changed:
            row.plan(_channels_for(row, settings.channels), _moment(now))
    for row in changed:
        _announce(row)
        deliver(row, settings.channels, now)


def deliver_late(settings: AlertSettings, now: float) -> None:
    """Try again what a channel has not taken."""
    for row in CacheAlert.objects.undelivered(_moment(now)):
        deliver(row, settings.channels, now)


def deliver(row: CacheAlert, channels: Iterable[ChannelSettings], now: float) -> None:
    """Tell what is to be told of a row, unless somebody else is at it."""
    if not row.undelivered or not row.claim(_moment(now + RETRY_SECONDS * 2**row.tries)):
        return
    notice = notice_of(row)
    faults = {}
    for channel in channels:
        if channel.name not in row.undelivered:
            continue
        try:
            tell(channel, notice)
        except ChannelFailed as failure:
            faults[channel.name] = str(failure)
            logger.warning("channel=%s alert=%s failed=%s", channel.name, row.rule, failure)
    row.delivered(list(faults) if row.tries < TRIES else [], faults)


def notice_of(row: CacheAlert) -> Notice:
    """Return what a row's alert is told with."""
    return Notice(
        alert=row.rule,
        alias=row.alias,
        state="resolved" if row.state == CacheAlert.State.RESOLVED else "firing",
        severity=row.severity,
        summary=row.summary,
        value=row.value,
        threshold=row.threshold,
        began_at=row.began_at,
        flaps=row.flaps,
    )


def _judged(
    alias: str, rule: AlertRule, row: CacheAlert | None, value: float | None, now: float, using: str
) -> CacheAlert | None:
    """Bring one alert up to date; return its row where something of it may be told."""
    before = None if row is None else _state_of(row)
    after = step(rule, before, value, now)
    if row is not None and row.wakes(_moment(now)) and after is not None and after.phase == "firing":
        return row
    if after == before:
        return None
    if after is None:
        if row is not None:
            row.delete()
        return None
    if row is None:
        row = _opened(alias, rule, after, now, using)
        if row is None:
            return None
    fires = after.phase == "firing" and (before is None or before.phase == "pending")
    if fires:
        row.fire(value, rule.threshold, rule.severity, rule.summary, _moment(now))
        return row
    if after.phase == "resolved":
        row.close(_moment(now))
        return row
    row.good_since = None if after.good_since is None else _moment(after.good_since)
    row.save(update_fields=("good_since",))
    return None


def _opened(alias: str, rule: AlertRule, state: AlertState, now: float, using: str) -> CacheAlert | None:
    """A new row, which knows of the one before if that ended a moment ago; None if another look won."""
    rows = CacheAlert.objects.using(using).for_alias(alias).filter(rule=rule.name)
    recent = rows.resolved_since(_moment(now - REOPEN_SECONDS)).order_by("-resolved_at").first()
    flaps = 0 if recent is None else recent.flaps + 1
    row = CacheAlert(
        alias=alias,
        rule=rule.name,
        severity=rule.severity,
        summary=rule.summary,
        threshold=rule.threshold,
        began_at=_moment(state.began_at),
        flaps=flaps,
        told_at=None if recent is None else recent.told_at,
    )
    try:
        with transaction.atomic(using=using):
            row.save(using=using, force_insert=True)
    except IntegrityError:
        return None
    return row


def _state_of(row: CacheAlert) -> AlertState:
    return AlertState(
        phase="pending" if row.state == CacheAlert.State.PENDING else "firing",
        began_at=row.began_at.timestamp(),
        good_since=None if row.good_since is None else row.good_since.timestamp(),
        flaps=row.flaps,
    )


def _channels_for(row: CacheAlert, channels: Sequence[ChannelSettings]) -> list[str]:
    at_least = SEVERITIES.index(row.severity)
    return [each.name for each in channels if SEVERITIES.index(each.severity) <= at_least]


def _announce(row: CacheAlert) -> None:
    for receiver, answer in cache_alert.send_robust(row.alias, alert=row):
        if isinstance(answer, Exception):
            logger.error("receiver failed signal=cache_alert receiver=%r", receiver, exc_info=answer)


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
