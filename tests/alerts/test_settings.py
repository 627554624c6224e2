from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_callcache.conf import get_settings
from django_callcache.conf.alert_rules import SHIPPED

SECRET_URL = "http://hooks.example/services/secret"


def alerts(**stated):
    """The settings of alerts."""
    with override_settings(CALLCACHE={"ALERTS": stated}):
        return get_settings().alerts


class TestAlertSettings:
    def test_defaults(self):
        """Without settings all shipped rules hold, and alerts are logged."""
        assert alerts().rules == SHIPPED
        assert [channel.kind for channel in alerts().channels] == ["log"]

    def test_rules__changed(self):
        """What is stated differs from the shipped rule, the rest stays."""
        changed = {"hit-ratio-low": {"THRESHOLD": 0.3, "SEVERITY": "critical"}}
        (rule,) = [rule for rule in alerts(RULES=changed).rules if rule.name == "hit-ratio-low"]
        assert (rule.threshold, rule.clear, rule.after, rule.severity) == (0.3, 0.55, 900, "critical")

    def test_rules__shipped_end_beyond_the_threshold(self):
        """A threshold beyond the shipped end takes that end along."""
        (rule,) = [
            rule
            for rule in alerts(RULES={"hit-ratio-low": {"THRESHOLD": 0.9}}).rules
            if rule.name == "hit-ratio-low"
        ]
        assert rule.clear is None
        assert rule.is_met_by(0.9)

    @pytest.mark.parametrize("rule", SHIPPED, ids=lambda rule: rule.name)
    def test_shipped__sound(self, rule):
        """No shipped rule fires at its threshold, and each ends at the value where it is to end."""
        assert not rule.is_broken_by(rule.threshold)
        end = rule.threshold if rule.clear is None else rule.clear
        assert rule.is_met_by(end)
        assert not rule.is_broken_by(end)
        assert rule.summary.endswith(".")

    @pytest.mark.parametrize(
        ("stated", "sentence"),
        [
            ({"RULES": {"hit-ratio-lo": {}}}, "Did you mean 'hit-ratio-low'"),
            ({"RULES": {"hit-ratio-low": {"TRESHOLD": 1}}}, "Did you mean 'THRESHOLD'"),
            ({"RULES": {"hit-ratio-low": {"CLEAR": 0.1}}}, "at or above THRESHOLD, 0.5"),
            ({"RULES": {"latency-high": {"CLEAR": 7}}}, "at or below THRESHOLD, 0.05"),
            ({"RULES": {"latency-high": {"SEVERITY": "bad"}}}, "'info', 'warning', 'critical'"),
            ({"RULES": []}, "a dict of rules"),
            ({"CHANNELS": {"x": {"KIND": "sms"}}}, "'log', 'mail', 'webhook'"),
            ({"CHANNELS": {"x": {"KIND": "webhook"}}}, "begins with https://"),
            ({"CHANNELS": {"x": {"KIND": "webhook", "SECRET_URL": SECRET_URL}}}, "begins with https://"),
            ({"CHANNELS": {1: {"KIND": "webhook", "SECRET_URL": SECRET_URL}}}, "a dict of channels"),
            ({"CHANNELS": {"x": {"KIND": "webhook", "SECRET_URL": 5}}}, "secret, not shown"),
            ({"WINDOW": 61}, "at most 60"),
            ({"INTERVAL": 0}, "above 0"),
        ],
    )
    def test_refused(self, stated, sentence):
        """What cannot be is refused with the cure, and no address of a webhook is in the message."""
        with pytest.raises(ImproperlyConfigured) as caught:
            alerts(**stated)
        assert sentence in str(caught.value)
        assert "services/secret" not in str(caught.value)
