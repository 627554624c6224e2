"""Look at alerts, handle them, and try the channels."""

from __future__ import annotations

import datetime
import getpass
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from django_callcache.alerts.channels import tell
from django_callcache.alerts.notices import trial
from django_callcache.conf import AlertSettings, get_settings
from django_callcache.exceptions import ChannelFailed
from django_callcache.management.arguments import positive_count, positive_seconds
from django_callcache.models import CacheAlert

LONGEST_SILENCE_HOURS = 24.0


class Command(BaseCommand):
    """Lists by default; changes a row only where told to."""

    help = (
        "List the alerts that fire. --test CHANNEL sends a trial notice by a channel of "
        "CALLCACHE['ALERTS']['CHANNELS']; --acknowledge and --silence handle an alert by its number. "
        "Exit codes: 0 done, 1 a channel did not take the notice, 2 wrong usage or configuration."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--test", metavar="CHANNEL", help="Send a trial notice by this channel.")
        what.add_argument("--history", action="store_true", help="List the alerts that were resolved, too.")
        what.add_argument(
            "--acknowledge", type=positive_count, metavar="NUMBER", help="Somebody knows of it."
        )
        what.add_argument(
            "--silence", type=positive_count, metavar="NUMBER",
            help="Tell no more of it for some hours; it is told anew if it still fires then.",
        )  # fmt: skip
        parser.add_argument(
            "--hours", type=positive_seconds, default=1.0, metavar="HOURS",
            help="How long a silence lasts, at most 24 (default: %(default)s).",
        )  # fmt: skip
        parser.add_argument("--note", default="", metavar="TEXT", help="Why, for who looks at it later.")

    def handle(
        self,
        *,
        test: str | None,
        history: bool,
        acknowledge: int | None,
        silence: int | None,
        hours: float,
        note: str,
        **options: Any,
    ) -> None:
        try:
            settings = get_settings().alerts
        except ImproperlyConfigured as error:
            raise CommandError(str(error), returncode=2) from error
        if test is not None:
            self._try(settings, test)
        elif acknowledge is not None:
            self._active(acknowledge).acknowledge(getpass.getuser(), note)
        elif silence is not None:
            if hours > LONGEST_SILENCE_HOURS:
                raise CommandError(
                    f"--hours is {hours:g}: give at most {LONGEST_SILENCE_HOURS:g}.", returncode=2
                )
            until = timezone.now() + datetime.timedelta(hours=hours)
            self._active(silence).silence(until, getpass.getuser(), note)
        else:
            self._list(history)

    def _try(self, settings: AlertSettings, name: str) -> None:
        channels = {channel.name: channel for channel in settings.channels}
        if name not in channels:
            known = ", ".join(sorted(channels)) or "none"
            raise CommandError(f"There is no channel {name!r}. Known: {known}.", returncode=2)
        try:
            tell(channels[name], trial(timezone.now()))
        except ChannelFailed as failure:
            raise CommandError(str(failure), returncode=1) from failure
        self.stdout.write(f"The channel {name!r} took the notice.")

    def _active(self, number: int) -> CacheAlert:
        alert: CacheAlert | None = CacheAlert.objects.active().filter(pk=number).first()
        if alert is None:
            raise CommandError(
                f"No alert of the number {number} fires; run without options to see.", returncode=2
            )
        return alert

    def _list(self, history: bool) -> None:
        alerts = CacheAlert.objects.exclude(state=CacheAlert.State.PENDING)
        rows = list(alerts[:200] if history else alerts.active())
        for alert in rows:
            began = timezone.localtime(alert.began_at)
            value = "" if alert.value is None else f" value={alert.value:.4g} threshold={alert.threshold:.4g}"
            self.stdout.write(
                f"{alert.pk} {alert.state} {alert.severity} {alert.rule} alias={alert.alias}{value} "
                f"since={began:%Y-%m-%d %H:%M:%S} {alert.summary}"
            )
        if not rows:
            self.stdout.write("No alert was ever resolved or fires." if history else "No alert fires.")
