from __future__ import annotations

import datetime

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_callcache.models import CacheAlert

pytestmark = pytest.mark.django_db


@pytest.fixture
def alert():
    """An alert that fires."""
    return CacheAlert.objects.create(
        alias="default",
        rule="latency-high",
        severity="warning",
        summary="Slow.",
        state="firing",
        value=0.2,
        threshold=0.05,
        began_at=timezone.now(),
    )


def output(capsys, **options):
    """What the command prints."""
    call_command("callcache_alerts", **options)
    return capsys.readouterr().out


class TestCommand:
    def test_list(self, alert, capsys):
        """What fires is listed; what is not yet for long enough, or over, is not."""
        for state in ("pending", "resolved"):
            CacheAlert.objects.create(
                alias="default", rule=state, severity="info", state=state, began_at=timezone.now()
            )
        assert (
            output(capsys).splitlines()[0].startswith(f"{alert.pk} firing warning latency-high alias=default")
        )
        assert "resolved" not in output(capsys)
        assert "resolved" in output(capsys, history=True)
        assert "pending" not in output(capsys, history=True)

    def test_list__nothing(self, capsys):
        """Where nothing fires, that is said."""
        assert output(capsys) == "No alert fires.\n"

    def test_acknowledge(self, alert, capsys):
        """Somebody knows of it."""
        output(capsys, acknowledge=alert.pk, note="on it")
        alert.refresh_from_db()
        assert (alert.state, alert.note) == ("acknowledged", "on it")
        assert alert.handled_by

    def test_silence(self, alert, capsys):
        """It is silent for some hours."""
        output(capsys, silence=alert.pk, hours=2.0)
        alert.refresh_from_db()
        assert alert.state == "silenced"
        left = alert.silenced_until - timezone.now()
        assert datetime.timedelta(hours=1.9) < left <= datetime.timedelta(hours=2)

    def test_silence__too_long(self, alert):
        """No silence lasts longer than a day."""
        with pytest.raises(CommandError, match="at most 24") as caught:
            call_command("callcache_alerts", silence=alert.pk, hours=25.0)
        assert caught.value.returncode == 2

    def test_number__unknown(self, alert):
        """A number that does not fire is refused."""
        with pytest.raises(CommandError, match="No alert of the number") as caught:
            call_command("callcache_alerts", acknowledge=alert.pk + 1)
        assert caught.value.returncode == 2
