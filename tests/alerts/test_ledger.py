from __future__ import annotations

import datetime
import logging

import pytest

from django_callcache.alerts.ledger import RETRY_SECONDS, TRIES, deliver_late, judge
from django_callcache.conf import get_settings
from django_callcache.models import CacheAlert
from django_callcache.signals import cache_alert

START = 1_700_000_000.0
RULES = {"latency-high": {"THRESHOLD": 1, "CLEAR": 1, "AFTER": 60, "CLEAR_AFTER": 60}}
BAD, GOOD = {"read_p99_seconds": 2.0}, {"read_p99_seconds": 0.5}

pytestmark = pytest.mark.django_db


@pytest.fixture
def alerts(settings, hook):
    """Settings with one rule and one webhook."""

    def make(**channel):
        webhook = {"KIND": "webhook", "SECRET_URL": hook.url, "ALLOW_HTTP": True, "ALLOW_PRIVATE": True}
        stated = {**webhook, **channel}
        settings.CALLCACHE = {"ALERTS": {"RULES": RULES, "CHANNELS": {"hook": stated}}}
        return get_settings().alerts

    return make


def look(alerts, *looks):
    """Judge values at seconds after the start."""
    for seconds, values in looks:
        judge("default", alerts, values, START + seconds)


class TestJudge:
    def test_judge__life(self, alerts, hook):
        """An alert is told once when it fires and once when it is resolved; its row has the whole story."""
        stated = alerts()
        seen = []

        def receiver(sender, alert, **kwargs):
            seen.append((sender, alert.rule, alert.state))

        cache_alert.connect(receiver)
        try:
            look(stated, (0, BAD), (30, BAD))
            assert CacheAlert.objects.get().state == "pending"
            assert hook.requests == []
            look(stated, (60, BAD), (90, BAD), (120, GOOD), (150, GOOD), (180, GOOD), (210, GOOD))
        finally:
            cache_alert.disconnect(receiver)
        alert = CacheAlert.objects.get()
        assert (alert.state, alert.value, alert.threshold) == ("resolved", 2.0, 1.0)
        moments = (alert.began_at, alert.fired_at, alert.resolved_at)
        assert [round(moment.timestamp() - START) for moment in moments] == [0, 60, 180]
        assert [(told["alert"], told["state"], told["value"]) for told in hook.told()] == [
            ("latency-high", "firing", 2.0),
            ("latency-high", "resolved", 2.0),
        ]
        assert seen == [("default", "latency-high", "firing"), ("default", "latency-high", "resolved")]

    def test_judge__passed_by(self, alerts, hook):
        """A condition that does not last leaves no row."""
        look(alerts(), (0, BAD), (30, BAD), (59, GOOD))
        assert not CacheAlert.objects.exists()
        assert hook.requests == []

    def test_judge__unknown(self, alerts, hook):
        """What cannot be looked at stays as it is."""
        stated = alerts()
        look(stated, (0, BAD), (60, BAD), (90, GOOD), (200, {}), (3000, {}))
        assert CacheAlert.objects.get().state == "firing"
        assert len(hook.requests) == 1

    def test_judge__flapping(self, alerts, hook):
        """An alert that comes and goes becomes one that stays, and is told of less and less."""
        stated = alerts()
        now, fired = 0, []
        for _ in range(10):
            for values, seconds in ((BAD, 90), (GOOD, 90)):
                for _ in range(seconds // 30):
                    judge("default", stated, values, START + now)
                    now += 30
            fired.append(CacheAlert.objects.count())
        assert fired[-1] <= 3
        assert len(hook.requests) <= 4
        assert CacheAlert.objects.open().get().flaps >= 1

    def test_judge__aliases(self, alerts, hook):
        """Caches have alerts of their own."""
        stated = alerts()
        for alias in ("default", "other"):
            judge(alias, stated, BAD, START)
            judge(alias, stated, BAD, START + 60)
        assert {told["alias"] for told in hook.told()} == {"default", "other"}

    def test_judge__rule_gone(self, alerts, settings, hook):
        """An open alert whose rule was switched off is resolved, and nobody is told."""
        look(alerts(), (0, BAD), (60, BAD))
        settings.CALLCACHE = {"ALERTS": {"RULES": {"latency-high": {"ENABLED": False}}}}
        look(get_settings().alerts, (90, BAD))
        assert CacheAlert.objects.get().state == "resolved"
        assert len(hook.requests) == 1

    def test_judge__many_at_once(self, alerts, hook):
        """However many loops look, an alert has one row and is told once."""
        stated = alerts()
        for seconds in (0, 60):
            for _ in range(3):
                look(stated, (seconds, BAD))
        assert CacheAlert.objects.count() == 1
        assert len(hook.requests) == 1

    def test_judge__mild_alert_for_a_channel_that_takes_severe_ones(self, alerts, hook):
        """A channel hears of what is severe enough."""
        look(alerts(SEVERITY="critical"), (0, BAD), (60, BAD))
        assert CacheAlert.objects.get().state == "firing"
        assert hook.requests == []


class TestHandling:
    def test_acknowledge(self, alerts, hook):
        """Somebody who knows of it is noted; its end is told all the same."""
        stated = alerts()
        look(stated, (0, BAD), (60, BAD))
        CacheAlert.objects.get().acknowledge("ana", "on it")
        look(stated, (90, BAD), (120, GOOD))
        assert CacheAlert.objects.get().state == "acknowledged"
        look(stated, (180, GOOD))
        alert = CacheAlert.objects.get()
        assert (alert.state, alert.handled_by, alert.note) == ("resolved", "ana", "on it")
        assert [told["state"] for told in hook.told()] == ["firing", "resolved"]

    def test_silence(self, alerts, hook):
        """A silenced alert ends without a word; one that outlasts the silence is told anew, once."""
        stated = alerts()
        look(stated, (0, BAD), (60, BAD))
        until = datetime.datetime.fromtimestamp(START + 600, datetime.UTC)
        CacheAlert.objects.get().silence(until, "ana")
        look(stated, (90, BAD), (590, BAD))
        assert len(hook.requests) == 1
        look(stated, (610, BAD), (640, BAD))
        assert CacheAlert.objects.get().state == "firing"
        assert [told["state"] for told in hook.told()] == ["firing", "firing"]
        CacheAlert.objects.get().silence(until + datetime.timedelta(hours=1), "ana")
        look(stated, (700, GOOD), (760, GOOD))
        assert CacheAlert.objects.get().state == "resolved"
        assert len(hook.requests) == 2


class TestDelivery:
    def test_deliver__channel_fails(self, alerts, hook, caplog):
        """A channel that fails is tried again later, with growing pauses, and in the end given up."""
        stated = alerts()
        hook.status = 503
        with caplog.at_level(logging.WARNING):
            look(stated, (0, BAD), (60, BAD))
        assert "status 503" in caplog.text
        assert "a-secret-path" not in caplog.text
        deliver_late(stated, START + 60 + RETRY_SECONDS / 2)
        assert len(hook.requests) == 1
        hook.status = 200
        deliver_late(stated, START + 60 + 2 * RETRY_SECONDS)
        deliver_late(stated, START + 10_000)
        assert len(hook.requests) == 2
        assert CacheAlert.objects.get().undelivered == []

    def test_deliver__given_up(self, alerts, hook):
        """After some tries there are no more."""
        stated = alerts()
        hook.status = 503
        look(stated, (0, BAD), (60, BAD))
        for day in range(1, 20):
            deliver_late(stated, START + day * 86_400)
        assert len(hook.requests) == TRIES

    def test_deliver__died_before(self, alerts, hook):
        """What a process left untold when it died is told by the next look."""
        stated = alerts()
        alert = CacheAlert.objects.create(
            alias="default",
            rule="latency-high",
            severity="warning",
            state="firing",
            began_at=datetime.datetime.fromtimestamp(START, datetime.UTC),
            undelivered=["hook"],
            deliver_at=datetime.datetime.fromtimestamp(START, datetime.UTC),
        )
        deliver_late(stated, START + 1)
        alert.refresh_from_db()
        assert (alert.undelivered, alert.deliver_at) == ([], None)
        assert len(hook.requests) == 1


class TestPrune:
    def test_prune__resolved_long_ago(self):
        """Alerts leave a year after they were resolved; one that still fires stays."""
        began = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        for rule, resolved_at in (("a", began), ("b", datetime.datetime.now(datetime.UTC)), ("c", None)):
            CacheAlert.objects.create(
                alias="default",
                rule=rule,
                severity="warning",
                began_at=began,
                state="resolved" if resolved_at else "firing",
                resolved_at=resolved_at,
            )
        assert CacheAlert.objects.prune(365) == 1
        assert {alert.rule for alert in CacheAlert.objects.all()} == {"b", "c"}
