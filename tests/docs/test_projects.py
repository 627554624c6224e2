"""Small projects made of samples of the documentation, each in a process of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.docs.pages import ROOT, samples

SETTINGS = """
import os
SECRET_KEY = "s"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_callcache"]
DATABASES = {
    name: {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{name}.sqlite3"}
    for name in ("default", "statistics")
}
CACHES = {
    "default": {
        "BACKEND": "django_callcache.cache.CallCache",
        "LOCATION": os.environ["REDIS_URL"],
        "KEY_PREFIX": "crm",
        "OPTIONS": {"CALLCACHE": {"DEADLINE": 10}},
    }
}
"""
COLLECT = """
import django
django.setup()
from django_callcache.models import CacheOperation, CacheStat
print(CacheStat.objects.db, CacheOperation.objects.db)
"""
ALONE = """
import django
django.setup()
from django.core.cache import cache
assert cache.set("a", {"b": 1}, tags=["t"])
assert cache.get("a") == {"b": 1}
assert cache.get_or_set("c", lambda: 5) == 5
assert cache.incr("c") == 6
assert cache.delete_tags("t") == 1
import sys
print(sorted(name for name in sys.modules if name.startswith("django_callcache.models")))
"""


@pytest.fixture
def project(tmp_path, redis_url):
    """Write a file of the project, run a command in it."""

    class Project:
        path = tmp_path

        def run(self, *command):
            environ = {**os.environ, "REDIS_URL": redis_url, "DJANGO_SETTINGS_MODULE": "crm.settings"}
            environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])
            done = subprocess.run(
                [sys.executable, *command],
                cwd=tmp_path,
                env=environ,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

    (tmp_path / "crm").mkdir()
    (tmp_path / "crm/__init__.py").touch()
    (tmp_path / "crm/settings.py").write_text(SETTINGS)
    return Project()


def python_of(page):
    """The samples in Python of a page."""
    return [sample.code for sample in samples(ROOT / "docs" / page) if sample.language == "python"]


class TestRouter:
    def test_router__statistics_apart(self, project):
        """The hourly rows, and they alone, are in the other database, where they are migrated and counted."""
        router, stated, _ = python_of("databases.md")
        (project.path / "crm/routers.py").write_text(router)
        (project.path / "crm/settings.py").write_text(SETTINGS + stated)
        project.run("-m", "django", "migrate", "-v0")
        project.run("-m", "django", "migrate", "-v0", "--database", "statistics")
        (project.path / "collect.py").write_text(COLLECT)
        assert project.run("collect.py").split() == ["statistics", "default"]
        project.run("-m", "django", "runcachesync", "--once")
        tables = {name: tables_of(project.path / f"{name}.sqlite3") for name in ("default", "statistics")}
        assert "django_callcache_cachestat" in tables["statistics"] - tables["default"]
        assert tables["statistics"] <= {"django_callcache_cachestat", "django_migrations", "sqlite_sequence"}
        assert "django_callcache_cacheoperation" in tables["default"]


class TestWithoutApp:
    def test_backend__alone(self, project):
        """The backend works with no app installed and no database, and loads no model."""
        settings = SETTINGS.partition("USE_TZ")[0] + python_of("databases.md")[-1]
        settings = settings.replace('"redis://127.0.0.1:6379/1"', 'os.environ["REDIS_URL"]')
        (project.path / "crm/settings.py").write_text(settings)
        (project.path / "alone.py").write_text(ALONE)
        assert project.run("alone.py") == "[]\n"


class TestTesting:
    def test_fixture__own_redis(self, project):
        """The fixture gives a project's tests a Redis of their own, and each of them an empty cache."""
        conftest, test = python_of("testing.md")
        (project.path / "conftest.py").write_text(conftest)
        again = test.replace("is_computed_once", "is_computed_again")
        (project.path / "test_report.py").write_text(test + again)
        said = project.run(
            "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--rootdir", "."
        )
        assert "2 passed" in said


def tables_of(path):
    """Names of the tables of an SQLite database."""
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
