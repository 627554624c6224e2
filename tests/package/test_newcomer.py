"""The way of somebody who has never seen it, in a fresh environment, by the commands of the documentation."""

from __future__ import annotations

import re
import socket
import time
import urllib.error
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from tests.docs.pages import ROOT, samples
from tests.package.conftest import Shell

pytestmark = pytest.mark.package

PATIENCE = 120
QUICKSTART = ROOT / "docs/quickstart.md"
ADOPTING = ROOT / "docs/adopting.md"
COMMANDS = [
    line for sample in samples(QUICKSTART) if sample.language == "bash" for line in sample.code.splitlines()
]
SETTINGS = next(sample.code for sample in samples(QUICKSTART) if sample.language == "python")
STATED = [sample.code for sample in samples(ADOPTING) if sample.language == "python"]
PARTS = """
import importlib.resources, pathlib
package = pathlib.Path(str(importlib.resources.files("django_callcache")))
wanted = ["py.typed", "templates/**/*.html", "static/**/*.css", "locale/es/LC_MESSAGES/django.mo",
          "migrations/0001_initial.py", "grafana/*.json", "sync/sql/*.sql"]
missing = [name for name in wanted if not list(package.glob(name))]
assert "site-packages" in str(package), package
print(missing)
"""
LEAVE = """
from django.core.cache import cache
cache.set_many({"text": "t", "dict": {"a": [1, None]}, "float": 1.5, "number": 7}, 600)
"""
FIND = """
from django.core.cache import cache
print(cache.get_many(["text", "dict", "float", "number"]), 500 < cache.ttl("dict") <= 600)
"""


@pytest.fixture(scope="module")
def installed(environment, wheel, tmp_path_factory):
    """The wheel is installed in the fresh environment, by the first command of the quick start."""
    install = COMMANDS[0].replace("./django-callcache", str(wheel))
    assert install != COMMANDS[0]
    Shell(tmp_path_factory.mktemp("install"), environment, {}).run(install)


@pytest.mark.usefixtures("installed")
class TestNewcomer:
    def test_quickstart__first_chart(self, shell):
        """Nine commands at most lead from nothing to a chart in the admin."""
        assert len(COMMANDS) < 10
        address = f"127.0.0.1:{free_port()}"
        *before, last = COMMANDS[1:]
        for command in before:
            if command == "python manage.py check":
                with (shell.directory / "crm/settings.py").open("a") as settings:
                    settings.write(SETTINGS)
            shell.run(command.replace("createsuperuser", "createsuperuser --noinput"))
        assert last == "python manage.py runserver"
        server = shell.start(f"{last} --noreload {address}")
        try:
            page = overview(f"http://{address}/admin/")
        finally:
            server.terminate()
            server.wait(PATIENCE)
        assert "<svg" in page
        assert "report:" in page

    def test_wheel__all_parts(self, shell):
        """The wheel has what is no module: pages, styles, translations, migrations, SQL, dashboard, types."""
        (shell.directory / "parts.py").write_text(PARTS)
        assert shell.run("python parts.py").strip() == "[]"

    def test_development_mode__no_warning(self, shell):
        """Python's development mode with warnings as errors has nothing to say."""
        shell.run("django-admin startproject crm")
        shell.run("cd crm")
        with (shell.directory / "crm/settings.py").open("a") as settings:
            settings.write(SETTINGS)
        strict = "python -X dev -W error manage.py"
        shell.run(f"{strict} check")
        shell.run(f"{strict} migrate")
        shell.run(f"{strict} makemigrations --check")
        shell.run(f"{strict} runcachesync --once")
        assert "groups:" in shell.run(f"{strict} callcache_rules")


@pytest.mark.usefixtures("installed")
class TestAdopting:
    @pytest.mark.parametrize(
        ("stated", "was"),
        list(
            zip(
                STATED,
                ["django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache"],
                strict=True,
            )
        ),
        ids=["django", "django-redis"],
    )
    def test_adopting__keys_stay(self, stated, was, shell, redis_url):
        """A project of another backend finds its entries after the change of settings that is documented."""
        shell.run("django-admin startproject crm")
        shell.run("cd crm")
        settings = shell.directory / "crm/settings.py"
        original = settings.read_text()
        stated = stated.replace("redis://127.0.0.1:6379/1", redis_url)
        before = (
            stated
            + f'CACHES["default"]["BACKEND"] = "{was}"\nCACHES["default"]["OPTIONS"].pop("CALLCACHE")\n'
        )
        settings.write_text(original + before)
        (shell.directory / "leave.py").write_text(LEAVE)
        (shell.directory / "find.py").write_text(FIND)
        shell.run("python manage.py shell < leave.py")
        settings.write_text(original + stated + 'INSTALLED_APPS += ["django_callcache"]\n')
        shell.run("python manage.py check")
        found = shell.run("python manage.py shell < find.py")
        assert "{'text': 't', 'dict': {'a': [1, None]}, 'float': 1.5, 'number': 7} True" in found


def overview(admin):
    """Log in and open the overview, as soon as the server answers and a chart is drawn."""
    browser = build_opener(HTTPCookieProcessor(jar := CookieJar()))
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            browser.open(f"{admin}login/").read()
            break
        except urllib.error.URLError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.2)
    token = next(cookie.value for cookie in jar if cookie.name == "csrftoken")
    form = {"username": "username", "password": "password", "csrfmiddlewaretoken": token}
    index = browser.open(f"{admin}login/?next=/admin/", urlencode(form).encode()).read().decode()
    (link,) = re.findall(r"<http://127.0.0.1:8000/admin/(.+)>", QUICKSTART.read_text())
    assert f'href="/admin/{link.partition("?")[0]}"' in index
    while True:
        page = browser.open(admin + link).read().decode()
        if "report:" in page:
            return page
        assert time.monotonic() < deadline, "the calls were not drawn"
        time.sleep(1)


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
