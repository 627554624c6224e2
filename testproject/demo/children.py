"""The site and the sync loop, each a process of its own as in production."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from django.conf import settings

from testproject.parts.child import LOOPBACK, ensure_free, free_port, stop, tail, wait_until_ready

THREADS = 8
"""Requests that each process of the site answers at a time."""


class ChildDied(Exception):
    """The site or the loop ended before it was told to."""


class Child:
    """One running process, with a log of its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    def ensure_alive(self) -> None:
        """Raise if the process has ended.

        Raises:
            ChildDied: With the end of its log.
        """
        if self.process.poll() is not None:
            raise ChildDied(f"the {self.name} ended with code {self.process.returncode}:\n{tail(self.log)}")

    def stop(self) -> None:
        """End the process politely; a second time does nothing."""
        stop(self.process, signal_number=signal.SIGTERM, seconds=20)


@contextmanager
def run_site(
    directory: Path, *, port: int, processes: int, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Child, int]]:
    """Serve the sample project; yield the child and its port once it answers.

    Args:
        directory: Where its log goes.
        port: TCP port, or 0 for any that is free.
        processes: How many processes answer requests.
        environment: Of the processes; this process's own by default.
    """
    port = port or free_port()
    # Else the site of somebody else would answer in place of ours.
    ensure_free(port)
    arguments = ["--bind", f"{LOOPBACK}:{port}", "--workers", str(processes), "--threads", str(THREADS)]
    quiet = ["--log-level", "warning", "--no-control-socket"]
    command = ["-m", "gunicorn", "testproject.wsgi:application", *arguments, *quiet]
    site = _start("site", command, directory, environment)
    try:
        wait_until_ready(site.process, lambda: _answers(port), log=site.log)
        yield site, port
    finally:
        site.stop()


@contextmanager
def run_sync_loop(
    directory: Path, *, interval: float, environment: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """Run ``manage.py runcachesync``."""
    command = ["manage.py", "runcachesync", "--interval", f"{interval:g}"]
    loop = _start("sync loop", command, directory, environment)
    try:
        yield loop
    finally:
        loop.stop()


def _start(name: str, arguments: list[str], directory: Path, environment: Mapping[str, str] | None) -> Child:
    log = directory / f"{name.replace(' ', '-')}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=settings.BASE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C on the terminal is for the demo, which stops its children in order.
            start_new_session=True,
        )
    return Child(name, process, log)


def _answers(port: int) -> bool:
    with suppress(OSError, HTTPException), closing(HTTPConnection(LOOPBACK, port, timeout=10)) as connection:
        connection.request("GET", "/admin/login/")
        return connection.getresponse().status == 200
    return False
