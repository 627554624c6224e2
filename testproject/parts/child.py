"""Start, wait for and stop a server that is our child."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

LOOPBACK = "127.0.0.1"


class StartFailed(Exception):
    """A server ended, or stayed silent, before it was ready; the message has the end of its log."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def ensure_free(port: int) -> None:
    """See that a TCP port of the loopback interface can be listened on.

    Raises:
        StartFailed: Somebody else has it.
    """
    with socket.socket() as probe:
        # As servers do, so that connections closed a moment ago do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise StartFailed(f"port {port} cannot be had: {error.strerror}") from error


def wait_until_ready(
    process: subprocess.Popen[bytes], is_ready: Callable[[], bool], *, log: Path, seconds: float = 30.0
) -> None:
    """Wait until a server answers.

    Args:
        process: The server.
        is_ready: Asks the server; False while there is no answer yet.
        log: Where the server's output goes.
        seconds: How long to wait at most.

    Raises:
        StartFailed: The server ended, or did not answer in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartFailed(f"{_name(process)} ended with code {process.returncode}: {tail(log)}")
        if is_ready():
            return
        time.sleep(0.02)
    raise StartFailed(f"{_name(process)} did not answer within {seconds:g} s: {tail(log)}")


def stop(process: subprocess.Popen[bytes], *, signal_number: int, seconds: float = 10.0) -> None:
    """End a child politely, and by force when it does not listen; it is reaped in any case."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal_number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def tail(log: Path, characters: int = 2000) -> str:
    """Return the end of a log, for an error message."""
    with contextlib.suppress(OSError):
        return log.read_text(errors="replace")[-characters:].strip() or "its log is empty"
    return "it left no log"


def directory_for(name: str) -> Path:
    """Make a directory that belongs to one server."""
    return Path(tempfile.mkdtemp(prefix=f"callcache-{name}-"))


def _name(process: subprocess.Popen[bytes]) -> str:
    return Path(process.args[0] if isinstance(process.args, list) else str(process.args)).name
