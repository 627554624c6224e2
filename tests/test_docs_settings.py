from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from django_callcache.conf import (
    CacheOptions,
    InvalidationRule,
    ModelSource,
    PrefixRule,
    Settings,
    TableSource,
)
from django_callcache.conf.environment import SETTINGS
from django_callcache.conf.parsing import setting_types

ROOT = Path(__file__).parents[1]
SECTIONS = [kind for kind in setting_types(Settings).values() if is_dataclass(kind)]
PAGE = (ROOT / "docs/settings.md").read_text()


def generate(script, *arguments):
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


class TestReference:
    def test_reference__current(self):
        """The page in the repository is what the source says."""
        done = generate(ROOT / "docs/generate_settings.py", "--check")
        assert (done.returncode, done.stderr) == (0, "")

    def test_reference__outdated(self, tmp_path):
        """A page that is not current is found, and written anew on request."""
        script = shutil.copy(ROOT / "docs/generate_settings.py", tmp_path)
        shutil.copy(ROOT / "docs/settings.md.in", tmp_path)
        (tmp_path / "settings.md").write_text("old")
        done = generate(script, "--check")
        assert done.returncode == 1
        assert "run `python docs/generate_settings.py`" in done.stderr
        assert generate(script).returncode == 0
        assert (tmp_path / "settings.md").read_text() == PAGE

    @pytest.mark.parametrize(
        "kind", [Settings, *SECTIONS, InvalidationRule, ModelSource, TableSource, CacheOptions, PrefixRule]
    )
    def test_reference__every_setting(self, kind):
        """Each setting has a row with what it does."""
        for name in setting_types(kind):
            assert re.search(rf"^\| `{name}` \| .+ \| .+\. \|$", PAGE, re.MULTILINE | re.IGNORECASE), name

    @pytest.mark.parametrize("name", SETTINGS)
    def test_reference__every_variable(self, name):
        """Each environment variable has a row with the setting that it becomes."""
        assert re.search(rf"^\| `{name}` \| .+ \| `.+` \|$", PAGE, re.MULTILINE)
