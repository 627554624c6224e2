"""Say what is wrong with the caches, why, and what helps."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_callcache.doctor import Finding, diagnose, examine
from django_callcache.live import look
from django_callcache.maintenance import cache_of, own_aliases
from django_callcache.management.arguments import positive_seconds


class Command(BaseCommand):
    """Examines; changes nothing."""

    help = (
        "Examine the caches and say what is wrong, the likeliest cause first, with evidence. It reads "
        "statistics, a sample of the keys in small steps, Redis's slow log and the schema of the remote "
        "store; it is safe in production. --liveness only asks whether the loop gave a sign of life lately, "
        "for the probe of a container. Exit codes: 0 nothing is wrong, 1 something is, 2 wrong usage or "
        "configuration."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--alias", action="append", dest="aliases", metavar="ALIAS",
            help="Cache alias to examine; may be given again (default: every one of this backend).",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print one JSON document.")
        parser.add_argument("--no-remote", action="store_true", help="Do not ask the remote store.")
        parser.add_argument("--liveness", action="store_true", help="Ask for the loop's sign of life alone.")
        parser.add_argument(
            "--max-age", type=positive_seconds, default=60.0, metavar="SECONDS",
            help="Age from which a sign of life counts as none (default: %(default)s).",
        )  # fmt: skip

    def handle(
        self,
        *,
        aliases: list[str] | None,
        as_json: bool,
        no_remote: bool,
        liveness: bool,
        max_age: float,
        **options: Any,
    ) -> None:
        try:
            names = aliases or own_aliases()
            if not names:
                raise ImproperlyConfigured("CACHES has no django_callcache.cache.CallCache to examine")
            if liveness:
                self._ask_for_life(names, max_age)
                return
            found = {name: diagnose(examine(cache_of(name), remote=not no_remote)) for name in names}
        except (ImproperlyConfigured, InvalidCacheBackendError) as error:
            raise CommandError(str(error), returncode=2) from error
        if as_json:
            document = {name: [finding.as_json() for finding in findings] for name, findings in found.items()}
            self.stdout.write(json.dumps(document))
        else:
            for name, findings in found.items():
                self._print(name, findings)
        if any(found.values()):
            raise SystemExit(1)

    def _print(self, alias: str, findings: list[Finding]) -> None:
        if not findings:
            self.stdout.write(self.style.SUCCESS(f"{alias}: nothing is wrong."))
        for finding in findings:
            paint = self.style.ERROR if finding.level == "error" else self.style.WARNING
            facts = " ".join(f"{name}={value}" for name, value in finding.evidence.items() if value != "")
            self.stdout.write(paint(f"{alias}: {finding.level} {finding.name}: {finding.cause}"))
            self.stdout.write(f"  evidence: {facts}")
            self.stdout.write(f"  what helps: {finding.cure}")

    def _ask_for_life(self, aliases: list[str], max_age: float) -> None:
        for alias in aliases:
            live = look(cache_of(alias), synced=False)
            if not live.is_reachable:
                raise CommandError(f"{alias}: Redis cannot be asked: {live.fault}", returncode=1)
            if live.heartbeat is None:
                raise CommandError(f"{alias}: the loop has given no sign of life.", returncode=1)
            # The loop writes the time of its own machine.
            age = time.time() - live.heartbeat.alive_at
            if age > max_age:
                raise CommandError(f"{alias}: the loop's last sign of life is {age:.0f} s old.", returncode=1)
        self.stdout.write("The loop is alive.")
