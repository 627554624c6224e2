"""The wheel, and fresh environments that it is installed in."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

QUIET = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel, built from the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", str(ROOT)]
    subprocess.run(build, cwd=directory, check=True)
    (file,) = directory.glob("*.whl")
    return file


class Shell:
    """Runs commands as a person would type them, in an environment of its own.

    Args:
        directory: Where the first command runs; ``cd`` changes it.
        environment: A fresh virtual environment.
        variables: Added to the process's environment, without anything that leads to the checkout.
    """

    def __init__(self, directory: Path, environment: Path, variables: dict[str, str]) -> None:
        self.directory = directory
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
        inherited.pop("PYTHONPATH", None)
        path = f"{environment / 'bin'}{os.pathsep}{inherited['PATH']}"
        self.environ = {**inherited, **QUIET, **variables, "PATH": path, "VIRTUAL_ENV": str(environment)}

    def run(self, command: str) -> str:
        """Run one command to its end; return what it printed."""
        if command.startswith("cd "):
            self.directory /= command.removeprefix("cd ")
            return ""
        done = subprocess.run(  # noqa: S602 - commands of the documentation
            command,
            shell=True,
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start one that goes on."""
        return subprocess.Popen(  # noqa: S602
            f"exec {command}", shell=True, cwd=self.directory, env=self.environ
        )


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """A virtual environment with nothing in it but pip."""
    directory = tmp_path_factory.mktemp("venv")
    venv.create(directory, with_pip=True)
    return directory


@pytest.fixture
def shell(environment, tmp_path, redis_url):
    """A person's shell in an empty directory."""
    account = {f"DJANGO_SUPERUSER_{name}": name.lower() for name in ("USERNAME", "PASSWORD")}
    mail = {"DJANGO_SUPERUSER_EMAIL": "ana@example.com"}
    return Shell(tmp_path, environment, {"REDIS_URL": redis_url, **account, **mail})
