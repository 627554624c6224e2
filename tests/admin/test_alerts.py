"""The page of alerts."""

from __future__ import annotations

import datetime

import pytest
from django.utils import timezone

from django_callcache.models import CacheAlert, CacheOperation

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
        assert not CacheOperation.objects.exists()

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
