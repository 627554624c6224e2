"""Print or write what Prometheus and Grafana need: alert and recording rules, a dashboard."""

from __future__ import annotations

from argparse import ArgumentParser
from importlib.resources import files
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache.alerts.prometheus import rules_yaml
from django_callcache.conf import get_settings


class Command(BaseCommand):
    """Writes files; talks to no server."""

    help = (
        "Print alert and recording rules for Prometheus, with the thresholds of CALLCACHE['ALERTS'], or the "
        "dashboard for Grafana. Load the rules by rule_files in prometheus.yml; import the dashboard in "
        "Grafana under Dashboards, New, Import."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dashboard", action="store_true", help="The Grafana dashboard instead of the rules."
        )
        parser.add_argument(
            "--output", type=Path, metavar="FILE", help="Write to a file instead of the standard output."
        )
        parser.add_argument(
            "--runbook", default="docs/operating.md", metavar="URL",
            help="Address of the runbook that the alerts name (default: %(default)s).",
        )  # fmt: skip

    def handle(self, *, dashboard: bool, output: Path | None, runbook: str, **options: Any) -> None:
        text = dashboard_json() if dashboard else self._rules(runbook)
        if output is None:
            self.stdout.write(text, ending="")
            return
        try:
            output.write_text(text)
        except OSError as error:
            raise CommandError(f"{output} cannot be written: {error.strerror}.", returncode=2) from error
        self.stderr.write(f"Wrote {output}.")

    def _rules(self, runbook: str) -> str:
        try:
            everything = get_settings()
        except ImproperlyConfigured as error:
            raise CommandError(str(error), returncode=2) from error
        settings = everything.alerts
        in_use = [rule for rule in settings.rules if rule.enabled]
        per_second = settings.min_reads / (settings.window * 60)
        return rules_yaml(
            in_use, reads_per_second=per_second, interval=everything.sync.interval, runbook=runbook
        )


def dashboard_json() -> str:
    """Return the dashboard that ships with the app."""
    return files("django_callcache").joinpath("grafana/dashboard.json").read_text()
