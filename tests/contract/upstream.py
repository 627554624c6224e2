"""Fetch the source distribution of an installed package, and run tests of it in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

HERE = Path(__file__).parent
DOWNLOADS = HERE.parents[1] / ".downloads"
BACKEND = os.environ.get("CALLCACHE_CONTRACT_BACKEND", "django_callcache.cache.CallCache")
"""The class under test. Another one shows what the suites say about it."""

NOT_THEIRS = ("randomly", "asyncio", "cacheprovider")
"""Plugins of ours that the suites were not written for."""

LONGEST_FAILURE = 2000
"""Characters of one failure to show; a test of many subtests repeats itself."""


class DownloadFailed(Exception):
    """A source distribution cannot be had; the message has the command that fetches it."""


class Outcome(NamedTuple):
    """What became of each test, by its name."""

    passed: set[str]
    skipped: dict[str, str]
    """Name to reason; expected failures are among them."""
    failed: dict[str, str]
    """Name to message and traceback."""
    output: str

    def report(self) -> str:
        """Return the failures in full, or the run's own words where no test ran."""
        failures = [f"{name}\n{text[:LONGEST_FAILURE]}" for name, text in sorted(self.failed.items())]
        return "\n\n".join(failures) or self.output


def source_of(package: str) -> Path:
    """Return the unpacked source distribution of the installed version of a package.

    Raises:
        DownloadFailed: It is neither here nor to be had.
    """
    wanted = f"{package}=={version(package)}"
    target = DOWNLOADS / wanted.replace("==", "-")
    if target.exists():
        return target
    DOWNLOADS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DOWNLOADS) as directory:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", package, wanted]
        finished = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise DownloadFailed(f"{' '.join(command)} failed: {finished.stderr[-2000:]}")
        (archive,) = Path(directory).glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(directory, filter="data")
        (unpacked,) = (entry for entry in Path(directory).iterdir() if entry.is_dir())
        try:
            unpacked.rename(target)
        except OSError:
            # Another process has put it there in the meantime.
            if not target.exists():
                raise
    return target


def run_pytest(*arguments: str, directory: Path, path: list[Path], environment: Mapping[str, str]) -> Outcome:
    """Run pytest in a process that knows nothing of this project's own tests.

    Args:
        arguments: Further arguments of pytest.
        directory: Where to run.
        path: Folders to import from, before all others.
        environment: Variables to set.
    """
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-c", str(HERE / "upstream.ini"), f"--rootdir={directory}"),
                *(word for plugin in NOT_THEIRS for word in ("-p", f"no:{plugin}")),
                *("-W", "error", "--tb=short", f"--junitxml={report}", *arguments),
            ],
            cwd=directory,
            env={
                **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
                "PYTHONPATH": os.pathsep.join(map(str, path)),
                "CALLCACHE_CONTRACT_BACKEND": BACKEND,
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        output = finished.stdout + finished.stderr
        if not report.exists():
            return Outcome(set(), {}, {"pytest": output}, output)
        return outcome_of(ElementTree.parse(report), output)  # noqa: S314 (written by the run above)


def outcome_of(report: ElementTree.ElementTree, output: str) -> Outcome:
    """Read a report in JUnit's format."""
    outcome = Outcome(set(), {}, {}, output)
    for case in report.iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        failures = [*case.findall("failure"), *case.findall("error")]
        if failures:
            outcome.failed[name] = "\n".join(one.text or one.get("message", "") for one in failures)
        elif (skipped := case.find("skipped")) is not None:
            outcome.skipped[name] = skipped.get("message", "")
        else:
            outcome.passed.add(name)
    return outcome
