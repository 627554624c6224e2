"""The demo from the empty database to the summary, once the private servers are there."""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management import call_command

from django_callcache.conf import get_settings
from testproject.crm.bank_calls import read_calls
from testproject.crm.loading import TOTAL_CALLS, Loaded, load_calls
from testproject.demo.children import Child, run_site, run_sync_loop
from testproject.demo.options import DemoOptions
from testproject.demo.player import Player, Tally
from testproject.demo.summary import Summary, summarise, wait_until_outbox_is_empty
from testproject.parts.child import LOOPBACK
from testproject.progress import progress

SECONDS_FOR_THE_END = 4.0
"""What draining the outbox, comparing and stopping take of the time given."""
LEAST_SECONDS_TO_PLAY = 2.0
"""Played even where preparing took all the time given."""
SECONDS_TO_DRAIN = 30.0
USER = "admin"


def tell(options: DemoOptions) -> bool:
    """Run the demo.

    Returns:
        Whether every promise was kept.
    """
    loaded = _prepare(options)
    password = _make_admin()
    with _working_directory() as directory, run_sync_loop(directory, interval=options.sync_interval) as loop:
        with run_site(directory, port=options.port, processes=options.site_processes) as (site, port):
            say(f"The site is up: http://{LOOPBACK}:{port}/admin/  user {USER}  password {password}")
            tally = _play(options, port, loaded)
            if options.seconds is None:
                # A process hands its counts over when a request ends, not before its interval is over.
                time.sleep(get_settings().stats.flush_interval + 1)
                _show(_conclude(tally, loop))
                _stay(site, loop, port)
                return True
            site.stop()  # and it hands over its last counts
        summary = _conclude(tally, loop)
    _show(summary)
    return summary.all_kept


def say(line: str) -> None:
    """Tell people something, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _prepare(options: DemoOptions) -> Loaded:
    call_command("migrate", verbosity=0)
    total = TOTAL_CALLS if options.calls is None else min(options.calls, TOTAL_CALLS)
    began = time.monotonic()
    with progress("Loading calls", total, sys.stderr) as shown:
        loaded = load_calls(limit=options.calls, on_progress=shown.update)
    say(
        f"Loaded {loaded.calls:,} real calls of {loaded.contacts:,} contacts in {loaded.campaigns} campaigns"
        f" ({time.monotonic() - began:.1f} s)"
    )
    return loaded


def _make_admin() -> str:
    password = secrets.token_urlsafe(12)
    get_user_model().objects.create_superuser(USER, password=password)
    return password


def _play(options: DemoOptions, port: int, loaded: Loaded) -> Tally:
    until = None
    if options.seconds is not None:
        left = options.began_at + options.seconds - SECONDS_FOR_THE_END - time.time()
        until = time.monotonic() + max(left, LEAST_SECONDS_TO_PLAY)
    with progress("Playing calls", loaded.calls, sys.stderr) as shown:
        player = Player(port, speed=options.speed, on_call=shown.update)
        player.open_campaigns(range(1, loaded.campaigns + 1))
        return player.play(read_calls(limit=options.calls), until=until)


def _conclude(tally: Tally, loop: Child) -> Summary:
    loop.ensure_alive()
    wait_until_outbox_is_empty(SECONDS_TO_DRAIN)
    return summarise(tally)


def _show(summary: Summary) -> None:
    say("")
    for line in summary.lines():
        say(line)
    say("")


def _stay(site: Child, loop: Child, port: int) -> None:
    say(f"The site stays up at http://{LOOPBACK}:{port}/admin/ until Ctrl-C.")
    while True:
        site.ensure_alive()
        loop.ensure_alive()
        time.sleep(1)


@contextmanager
def _working_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="callcache-demo-") as directory:
        yield Path(directory)
