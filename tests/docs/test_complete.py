"""Every command, metric, signal, permission, alert and extra in the code stands in the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest
from django.dispatch import Signal

from django_callcache import signals
from django_callcache.conf import get_settings
from django_callcache.models import Dashboard
from tests.docs.pages import ROOT

DOCS = ROOT / "docs"
COMMANDS = sorted(path.stem for path in (ROOT / "django_callcache/management/commands").glob("[a-z]*.py"))
SIGNALS = sorted(name for name, value in vars(signals).items() if isinstance(value, Signal))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def page(name):
    """The text of a page."""
    return (DOCS / f"{name}.md").read_text()


class TestCommands:
    def test_page__current(self):
        """The page of commands is what the commands' own help says."""
        script = [sys.executable, str(DOCS / "generate_commands.py"), "--check"]
        done = subprocess.run(script, capture_output=True, text=True, check=False, cwd=ROOT)
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize("name", COMMANDS)
    def test_command__used_in_a_guide(self, name):
        """Each command has its section, and a guide that says what it is for."""
        assert f"## {name}\n" in page("commands")
        guides = [path for path in DOCS.glob("*.md") if path.stem not in ("commands", "specification")]
        assert any(name in path.read_text() for path in guides)


class TestNames:
    def test_signals__all_there(self):
        """Each signal has a row."""
        assert len(SIGNALS) >= 7
        assert [name for name in SIGNALS if f"`{name}`" not in page("signals") + page("alerts")] == []

    def test_permissions__all_there(self):
        """Each permission stands in the page of the admin."""
        codenames = [codename for codename, _ in Dashboard._meta.permissions]
        assert codenames
        assert [name for name in codenames if f"`{name}`" not in page("admin")] == []

    def test_metrics__all_there(self):
        """Each metric stands in the page of metrics, as it is scraped."""
        names = set(re.findall(r'"(callcache_\w+)"', (ROOT / "django_callcache/metrics.py").read_text()))
        assert len(names) >= 30
        assert [name for name in sorted(names) if name not in page("metrics")] == []

    def test_alerts__runbook(self):
        """Each alert has a section that says what to do."""
        rules = get_settings().alerts.rules
        assert len(rules) >= 16
        assert [rule.name for rule in rules if f"### {rule.name}\n" not in page("operating")] == []
        assert "### loop-dead\n" in page("operating")

    def test_extras__all_there(self):
        """Each extra of the package is told what for."""
        _, _, table = page("quickstart").partition("## Extras")
        assert [name for name in EXTRAS if f"`{name}`" not in table] == []
