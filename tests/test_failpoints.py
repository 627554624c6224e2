from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

CODE = (
    "from django_callcache.failpoints import reach; reach('cp1'); print('passed'); reach('cp2'); print('end')"
)


def run(value):
    environment = {**os.environ, "CALLCACHE_FAILPOINT": value}
    return subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True)


class TestReach:
    @pytest.mark.parametrize("value", ["", "cp3:kill", "cp"])
    def test_elsewhere(self, value):
        """Places that the environment does not name are passed."""
        assert run(value).stdout == "passed\nend\n"

    def test_kill(self):
        """The process ends where the environment says."""
        done = run("cp2:kill")
        assert done.returncode == -signal.SIGKILL
        assert "end" not in done.stdout

    def test_raise(self):
        """An error is raised where the environment says."""
        done = run("cp2:raise")
        assert done.returncode == 1
        assert "FailpointReached: cp2" in done.stderr
        assert done.stdout == "passed\n"
