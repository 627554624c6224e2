"""The page of alerts."""

from __future__ import annotations

import datetime

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from django_callcache.alerts.ledger import deliver_late, judge
from django_callcache.conf import get_settings
from django_callcache.management.turns import Turns
from django_callcache.models import CacheAlert, CacheOperation
from django_callcache.sync.leader import Heartbeat
from tests.admin.conftest import DEFAULT
from tests.alerts.conftest import Hook

pytestmark = pytest.mark.django_db

ALERTS = "/admin/django_callcache/dashboard/alerts/"
State = CacheAlert.State


@pytest.fixture
def make_alert():
    def make(rule="hit-ratio-low", state=State.FIRING, **facts):
        began = timezone.now() - datetime.timedelta(minutes=10)
        facts = {"summary": "<b>Few</b> reads find a value.", "value": 0.4, "threshold": 0.5, **facts}
        return CacheAlert.objects.create(
            alias=facts.pop("alias", "default"),
            rule=rule,
            severity="warning",
            state=state,
            began_at=began,
            fired_at=began,
            **facts,
        )

    return make


class TestShown:
    @pytest.fixture(autouse=True)
    def _logged_in(self, client, boss):
        client.force_login(boss)

    def test_page__empty(self, client, page):
        """Without alerts the page says so and lists the rules."""
        response = client.get(ALERTS)
        assert response.status_code == 200
        assert "Nothing fires." in response.content.decode()
        assert "hit-ratio-low" in response.content.decode()
        assert page(response).refused == []

    def test_page__active_and_past(self, client, make_alert, page):
        """What fires comes first, escaped; what only may come to fire is not shown."""
        make_alert()
        make_alert("degraded", State.PENDING)
        make_alert("evictions", State.RESOLVED, resolved_at=timezone.now())
        response = client.get(ALERTS)
        assert [alert.rule for alert in response.context["active"]] == ["hit-ratio-low"]
        assert [alert.rule for alert in response.context["past"]] == ["evictions"]
        assert "<b>Few" not in response.content.decode()
        assert page(response).refused == []

    def test_page__other_caches(self, client, make_alert):
        """Alerts of caches that the person may not see are left out, and cannot be handled."""
        alert = make_alert(alias="elsewhere")
        assert not client.get(ALERTS).context["active"]
        client.post(ALERTS, {"alert": alert.pk, "act": "acknowledge"})
        alert.refresh_from_db()
        assert alert.state == State.FIRING


class TestHandled:
    def test_acknowledge(self, client, make_user, make_alert):
        """Somebody knows of it: who and why is kept, and there is an operation."""
        client.force_login(make_user("view_dashboard", "manage_alerts"))
        alert = make_alert()
        response = client.post(ALERTS, {"alert": alert.pk, "act": "acknowledge", "note": "looking"})
        assert response.status_code == 302
        alert.refresh_from_db()
        assert (alert.state, alert.note) == (State.ACKNOWLEDGED, "looking")
        operation = CacheOperation.objects.get()
        assert (operation.kind, operation.pattern, operation.outcome) == ("alert", "hit-ratio-low", "ok")
        assert operation.reason == "looking"

    @pytest.mark.parametrize(("hours", "expected"), [("", 1), ("4", 4), ("0.5", 0.5)])
    def test_silence(self, client, boss, make_alert, hours, expected):
        """An alert is silent for an hour, or as long as was asked for."""
        client.force_login(boss)
        alert = make_alert()
        client.post(ALERTS, {"alert": alert.pk, "act": "silence", "hours": hours})
        alert.refresh_from_db()
        left = (alert.silenced_until - timezone.now()).total_seconds()
        assert alert.state == State.SILENCED
        assert expected * 3600 - 300 < left <= expected * 3600

    @pytest.mark.parametrize("sent", [{"hours": "25"}, {"act": "explode"}, {"alert": "x"}, {"hours": "nan"}])
    def test_nonsense(self, client, boss, make_alert, sent):
        """What cannot be is refused, and nothing is changed."""
        client.force_login(boss)
        alert = make_alert()
        response = client.post(ALERTS, {"alert": alert.pk, "act": "silence", "hours": "1"} | sent)
        assert response.status_code == 400
        alert.refresh_from_db()
        assert alert.state == State.FIRING

    def test_resolved_meanwhile(self, client, boss, make_alert):
        """An alert that ended before the click stays as it is."""
        client.force_login(boss)
        alert = make_alert(state=State.RESOLVED, resolved_at=timezone.now())
        assert client.post(ALERTS, {"alert": alert.pk, "act": "acknowledge"}).status_code == 302
        alert.refresh_from_db()
        assert alert.state == State.RESOLVED
        assert CacheOperation.objects.get().outcome == "failed"

    @pytest.mark.parametrize("codenames", [(), ("view_dashboard",), ("clear_cache", "run_sync")])
    def test_permission(self, client, make_user, make_alert, codenames):
        """Handling asks for its own permission."""
        client.force_login(make_user(*codenames))
        alert = make_alert()
        assert client.post(ALERTS, {"alert": alert.pk, "act": "acknowledge"}).status_code == 403

    def test_read_only(self, client, boss, make_alert, settings):
        """In read-only mode nobody handles an alert here."""
        settings.CALLCACHE = {"ADMIN": {"READ_ONLY": True}}
        client.force_login(boss)
        alert = make_alert()
        assert client.post(ALERTS, {"alert": alert.pk, "act": "acknowledge"}).status_code == 403
        assert "Hours of silence" not in client.get(ALERTS).content.decode()


@pytest.fixture
def hook(settings):
    """A real webhook, which is a channel beside the log."""
    server = Hook()
    stated = {"KIND": "webhook", "SECRET_URL": server.url, "ALLOW_HTTP": True, "ALLOW_PRIVATE": True}
    rule = {"THRESHOLD": 1, "CLEAR": 1, "AFTER": 0, "CLEAR_AFTER": 0}
    alerts = {"CHANNELS": {"hook": stated, "log": {}}, "RULES": {"latency-high": rule}}
    settings.CALLCACHE = {"ALERTS": alerts}
    yield server
    server.close()


class TestChannels:
    @pytest.fixture(autouse=True)
    def _logged_in(self, client, make_user):
        client.force_login(make_user("view_dashboard", "manage_alerts"))

    def test_try(self, client, hook):
        """A trial notice is sent by the channel that was chosen, and recorded."""
        response = client.post(ALERTS, {"act": "try", "channel": "hook"}, follow=True)
        assert [told["state"] for told in hook.told()] == ["test"]
        assert "took the notice" in response.content.decode()
        operation = CacheOperation.objects.get()
        assert (operation.pattern, operation.outcome, operation.reason) == ("hook", "ok", "try")
        assert LogEntry.objects.get().object_id == str(operation.pk)

    def test_try__refused(self, client, hook):
        """What the channel says against it is shown and recorded, without the rest of its address."""
        hook.status = 500
        text = client.post(ALERTS, {"act": "try", "channel": "hook"}, follow=True).content.decode()
        assert "status 500" in text
        assert "a-secret-path" not in text
        assert CacheOperation.objects.get().outcome == "failed"

    @pytest.mark.parametrize("channel", ["nothing", "", "x" * 1000])
    def test_try__unknown(self, client, hook, channel):
        """A channel that does not exist is not tried; the attempt is recorded."""
        client.post(ALERTS, {"act": "try", "channel": channel})
        assert hook.requests == []
        assert CacheOperation.objects.get().outcome == "refused"

    def test_failing(self, client, hook):
        """A channel that did not take the last notice is shown with its status until it takes one."""
        hook.status = 503
        now = timezone.now().timestamp()
        judge("default", get_settings().alerts, {"read_p99_seconds": 2.0}, now)
        judge("default", get_settings().alerts, {"read_p99_seconds": 2.0}, now)
        shown = client.get(ALERTS)
        faults = {channel.name: fault for channel, fault in shown.context["channels"]}
        assert "status 503" in faults["hook"]
        assert faults["log"] == ""
        assert "status 503" in shown.content.decode()
        hook.status = 200
        deliver_late(get_settings().alerts, now + 3600)
        assert {fault for _, fault in client.get(ALERTS).context["channels"]} == {""}

    def test_failing__given_up(self, client, hook):
        """So is one that was tried for the last time."""
        hook.status = 503
        now = timezone.now().timestamp()
        for _ in range(2):
            judge("default", get_settings().alerts, {"read_p99_seconds": 2.0}, now)
        for number in range(1, 10):
            deliver_late(get_settings().alerts, now + number * 7200)
        assert CacheAlert.objects.get().undelivered == []
        assert "status 503" in client.get(ALERTS).content.decode()

    def test_none(self, client, settings):
        """Without a channel the page says that nobody is told."""
        settings.CALLCACHE = {"ALERTS": {"CHANNELS": {}}}
        assert "told to nobody" in client.get(ALERTS).content.decode()


class TestEvaluator:
    @pytest.fixture(autouse=True)
    def _logged_in(self, client, boss):
        client.force_login(boss)

    def test_never(self, client, cache):
        """Rules that nobody has ever looked at are no reason to be calm."""
        assert client.get(ALERTS).context["late"] == [("default", None)]
        assert "Nobody has ever looked" in client.get(ALERTS).content.decode()

    def test_late(self, client, cache):
        """Nor are those that nobody looks at any more."""
        moment = timezone.now().timestamp() - 400
        Heartbeat(host="box", pid=1, started_at=moment, alive_at=moment).write(
            cache.redis_client(), cache.redis_keys
        )
        ((name, age),) = client.get(ALERTS).context["late"]
        assert (name, age >= 399) == ("default", True)
        Turns(["default"], None).beat()
        assert client.get(ALERTS).context["late"] == []

    def test_redis_down(self, client, settings, make_alert):
        """With Redis down alerts are shown, and nothing is said of who looks."""
        settings.CACHES = {"default": {**DEFAULT, "LOCATION": "redis://127.0.0.1:1/0"}}
        make_alert()
        shown = client.get(ALERTS)
        assert (len(shown.context["active"]), shown.context["late"]) == (1, [])

    def test_no_rules(self, client, settings):
        """Where all rules are off the page says that nothing can fire."""
        names = [rule.name for rule in get_settings().alerts.rules]
        settings.CALLCACHE = {"ALERTS": {"RULES": {name: {"ENABLED": False} for name in names}}}
        assert "nothing can fire" in client.get(ALERTS).content.decode()

    def test_flaps(self, client, make_alert):
        """An alert that comes and goes is one alert with a count."""
        make_alert(flaps=3)
        assert "come and gone 3 times before" in client.get(ALERTS).content.decode()


class TestList:
    LIST = "/admin/django_callcache/cachealert/"

    def test_acknowledge(self, client, make_user, make_alert):
        """Chosen alerts are acknowledged together, each with its operation; ended ones stay as they are."""
        firing = [make_alert(rule) for rule in ("degraded", "evictions")]
        ended = make_alert("latency-high", State.RESOLVED, resolved_at=timezone.now())
        client.force_login(make_user("view_dashboard", "manage_alerts"))
        chosen = [alert.pk for alert in (*firing, ended)]
        client.post(self.LIST, {"action": "acknowledge", "_selected_action": chosen})
        states = {alert.rule: alert.state for alert in CacheAlert.objects.all()}
        assert states == {"degraded": "acknowledged", "evictions": "acknowledged", "latency-high": "resolved"}
        assert sorted(CacheOperation.objects.values_list("pattern", flat=True)) == ["degraded", "evictions"]
        assert LogEntry.objects.count() == 2

    @pytest.mark.parametrize("read_only", [False, True])
    def test_acknowledge__not_allowed(self, client, boss, make_user, make_alert, settings, read_only):
        """Without the permission, or in read-only mode, there is no such action."""
        settings.CALLCACHE = {"ADMIN": {"READ_ONLY": read_only}}
        alert = make_alert()
        client.force_login(boss if read_only else make_user("view_dashboard"))
        client.post(self.LIST, {"action": "acknowledge", "_selected_action": [alert.pk]})
        alert.refresh_from_db()
        assert alert.state == State.FIRING
