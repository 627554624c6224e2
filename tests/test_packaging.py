"""What people install: the wheel carries everything the app needs, and says the truth about itself."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
DATA = {
    "py.typed": "py.typed",
    "templates": "templates/*.html",
    "static files": "static/*.css",
    "migrations": "migrations/0001_initial.py",
    "dashboard": "grafana/dashboard.json",
    "SQL of the remote store": "sync/sql/*.sql",
}
CORE = {"django", "django-redis", "redis", "zstandard", "msgspec", "django-environ", "tqdm"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, opened."""
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", ROOT]
    subprocess.run(command, cwd=directory, check=True)
    (file,) = directory.glob("*.whl")
    with zipfile.ZipFile(file) as opened:
        yield opened


@pytest.fixture(scope="module")
def metadata(wheel):
    """The wheel's metadata."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


class TestWheel:
    def test_content__every_file_of_the_package(self, wheel):
        """Every tracked file of the package is in the wheel, and nothing of another top-level name."""
        listed = subprocess.run(
            ["git", "ls-files", "django_callcache"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert {name.partition("/")[0] for name in names} == {"django_callcache"}
        assert set(listed.stdout.split()) <= names

    @pytest.mark.parametrize("pattern", DATA.values(), ids=DATA)
    def test_content__data(self, wheel, pattern):
        """Files that are not modules come along."""
        assert fnmatch.filter(wheel.namelist(), f"django_callcache/{pattern}")


class TestMetadata:
    def test_licence__as_pep_639_has_it(self, metadata):
        """The licence is an SPDX expression with its file, and no classifier repeats it."""
        assert metadata["License-Expression"] == "MIT"
        assert metadata.get_all("License-File") == ["LICENSE"]
        assert not [one for one in metadata.get_all("Classifier") if one.startswith("License")]

    def test_versions__python_and_django(self, metadata):
        """Python 3.11 and Django 5.2 are the lowest; no highest is stated."""
        assert metadata["Requires-Python"] == ">=3.11"
        assert str(core(metadata)["django"].specifier) == ">=5.2"

    def test_requirements__without_extras(self, metadata):
        """Without extras nothing is installed but what every user of the cache needs."""
        assert core(metadata).keys() == CORE

    def test_extras__all(self, metadata):
        """The extra `all` has every extra but django-prometheus, which does not resolve with every Django."""
        extras = set(metadata.get_all("Provides-Extra"))
        assert extras == {
            "supabase",
            "postgres",
            "prometheus",
            "otel",
            "health",
            "django-prometheus",
            "crypto",
            "demo",
            "all",
        }
        wanted = {
            name for extra in extras - {"all", "django-prometheus"} for name in of_extra(metadata, extra)
        }
        assert of_extra(metadata, "all") == wanted


def core(metadata):
    """Return the requirements outside extras, by name."""
    required = map(Requirement, metadata.get_all("Requires-Dist"))
    return {one.name: one for one in required if not one.marker}


def of_extra(metadata, extra):
    """Return the names of what an extra adds."""
    required = map(Requirement, metadata.get_all("Requires-Dist"))
    return {one.name for one in required if f'extra == "{extra}"' in str(one.marker)}
