"""What tags cost a read (F-L4)."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.long
class TestManyTags:
    def test_get__twice_at_most(self, capsys):
        """With ten thousand tags in use, 32 on each entry, a get takes at most twice as long as without."""
        command = [sys.executable, "-m", "benchmarks.tags", "--rounds", "7"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        with capsys.disabled():
            sys.stdout.write("\n" + done.stdout.splitlines()[-1] + "\n")
        assert done.returncode == 0, done.stdout
