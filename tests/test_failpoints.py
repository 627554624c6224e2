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

    def test_stop(self):
        """The process stops where the environment says; told to go on, it does the next thing."""
        environment = {**os.environ, "CALLCACHE_FAILPOINT": "cp2:stop:raise"}
        process = subprocess.Popen(
            [sys.executable, "-c", CODE],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        os.kill(process.pid, signal.SIGCONT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "FailpointReached: cp2" in errors

    def test_once(self):
        """What is asked for happens the first time only."""
        code = CODE.replace("cp1", "cp2").replace("reach('cp2')", "attempt()", 1)
        attempt = (
            "def attempt():\n"
            "    from django_callcache.failpoints import FailpointReached, reach\n"
            "    try: reach('cp2')\n"
            "    except FailpointReached: print('raised')\n"
        )
        environment = {**os.environ, "CALLCACHE_FAILPOINT": "cp2:raise"}
        command = [sys.executable, "-c", attempt + code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.stdout == "raised\npassed\nend\n"

    def test_unknown(self):
        """An action that there is not is refused by its name."""
        assert "knows kill, raise and stop, not burn" in run("cp2:burn").stderr
