"""The demo, as a newcomer runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.conf import settings

from testproject.parts.missing import PartMissing
from testproject.parts.postgres_server import find_postgres
from testproject.parts.redis_server import find_redis_server
from tests.conftest import require


@pytest.fixture
def demo(tmp_path):
    """Starts the demo with its files in a directory of the test's own."""
    for find in (find_redis_server, find_postgres):
        try:
            find()
        except PartMissing as missing:
            require(str(missing))
    if find_spec("gunicorn") is None:
        require("gunicorn is missing. Install it with: python -m pip install gunicorn")
    temporary = Path(f"/tmp/callcache-test-{os.getpid()}-{tmp_path.name[-8:]}")
    temporary.mkdir(mode=0o711)
    processes = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "manage.py", "demo", *arguments],
            cwd=settings.BASE_DIR,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        process.temporary = temporary
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()
    temporary.rmdir()


class TestDemo:
    def test_seconds__ends_by_itself(self, demo):
        """It loads, serves, plays, syncs and sums up, and leaves nothing behind."""
        process = demo("--seconds", "8", "--calls", "150")
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, output + errors
        assert "Loaded 150 real calls" in output
        assert "hit ratio" in output
        assert "BROKEN" not in output
        assert output.count("  kept  ") == 4
        assert list(process.temporary.iterdir()) == []

    @pytest.mark.long
    @pytest.mark.timeout(1200)
    def test_ten_minutes__nothing_to_find(self, demo):
        """After ten minutes of ordinary traffic `callcache_doctor` finds nothing wrong."""
        process = demo("--seconds", "600", "--speed", "30")
        output, errors = process.communicate()
        assert process.returncode == 0, output + errors
        (said,) = (line for line in output.splitlines() if "the doctor says" in line)
        assert said.endswith("nothing is wrong")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signal__stops_everything(self, demo, number):
        """Ctrl-C and SIGTERM end what was started, and leave no files."""
        process = demo("--calls", "150", "--speed", "20")
        for line in process.stdout:
            if "The site is up" in line:
                break
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
        assert list(process.temporary.iterdir()) == []

    def test_port__taken(self, demo):
        """A port that somebody else has is named, and nobody else's site is played on."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            process = demo("--seconds", "8", "--calls", "10", "--port", str(port))
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert f"port {port} cannot be had" in errors
        assert list(process.temporary.iterdir()) == []

    def test_option__wrong(self, demo):
        """A number that makes no sense is refused before anything starts."""
        process = demo("--seconds", "-1")
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "-1 is not above 0" in errors
