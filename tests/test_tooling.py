"""What people run before they commit is what CI runs."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


class TestPreCommit:
    def test_hooks__as_lint(self):
        """Each command of the environment `lint` has its hook, and the other way round."""
        tox = configparser.ConfigParser(interpolation=None)
        tox.read(ROOT / "tox.ini")
        lint = tox["testenv:lint"]["commands"].split("\n")[1:]
        hooks = re.findall(r"entry: (.+)", (ROOT / ".pre-commit-config.yaml").read_text())
        plain = [re.sub(r" --(?:check|force-exclude)", "", command) for command in (*lint, *hooks)]
        assert sorted(plain[: len(lint)]) == sorted(plain[len(lint) :])
        assert len(lint) >= 4
