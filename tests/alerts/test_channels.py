from __future__ import annotations

import hashlib
import hmac
import json
import logging

import pytest
from django.core.management import CommandError, call_command

from django_callcache.conf import get_settings

SECRET = "a secret of the channel"


@pytest.fixture
def channels(settings, hook):
    """A channel of every kind."""
    webhook = {"KIND": "webhook", "SECRET_URL": hook.url, "ALLOW_HTTP": True, "ALLOW_PRIVATE": True}
    settings.CALLCACHE = {
        "ALERTS": {
            "CHANNELS": {
                "log": {"KIND": "log"},
                "admins": {"KIND": "mail"},
                "ops": {"KIND": "mail", "TO": ["ops@example.com", "night@example.com"]},
                "json": {**webhook, "SECRET": SECRET},
                "slack": {**webhook, "STYLE": "slack"},
                "inside": {**webhook, "ALLOW_PRIVATE": False},
            }
        }
    }


def trial(channel):
    """Try a channel by the command."""
    call_command("callcache_alerts", test=channel)


@pytest.mark.usefixtures("channels")
class TestTry:
    def test_log(self, caplog):
        """The log has a line with the facts."""
        with caplog.at_level(logging.INFO, logger="django_callcache.alerts"):
            trial("log")
        assert "alert=test alias=none state=test severity=info" in caplog.text

    def test_mail__admins(self, mailbox):
        """Without addresses the mail goes to ADMINS."""
        trial("admins")
        (mail,) = mailbox.mails
        assert mail.rcpt_tos == ["ana@example.com"]
        assert b"TEST info: test" in mail.content

    def test_mail__addresses(self, mailbox):
        """With addresses it goes to them."""
        trial("ops")
        (mail,) = mailbox.mails
        assert mail.rcpt_tos == ["ops@example.com", "night@example.com"]

    def test_mail__nobody(self, settings):
        """With nobody to write to the command says so, with code 1."""
        settings.ADMINS = []
        with pytest.raises(CommandError, match="ADMINS is empty") as caught:
            trial("admins")
        assert caught.value.returncode == 1

    def test_webhook__json(self, hook):
        """A webhook gets all facts, signed with the channel's secret."""
        trial("json")
        ((_, headers, body),) = hook.requests
        assert json.loads(body)["state"] == "test"
        expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert headers["X-Callcache-Signature"] == f"sha256={expected}"

    def test_webhook__slack(self, hook):
        """Slack's style is a text."""
        trial("slack")
        ((_, headers, body),) = hook.requests
        assert json.loads(body).keys() == {"text"}
        assert json.loads(body)["text"].startswith("TEST info: test")
        assert "X-Callcache-Signature" not in headers

    def test_webhook__inside(self, hook):
        """A webhook on this machine is refused unless that is permitted."""
        with pytest.raises(CommandError, match="ALLOW_PRIVATE") as caught:
            trial("inside")
        assert caught.value.returncode == 1
        assert hook.requests == []

    def test_unknown(self):
        """A channel that does not exist is an error that names those that do."""
        with pytest.raises(CommandError, match=r"no channel 'sms'\. Known: admins, inside, json") as caught:
            trial("sms")
        assert caught.value.returncode == 2

    def test_secrets__not_in_repr(self, hook):
        """Addresses and secrets of channels are in no representation of the settings."""
        shown = repr(get_settings())
        assert "a-secret-path" not in shown
        assert SECRET not in shown
