"""The sample site as processes of its own, and a browser that looks at it.

The browser is the Chromium on PATH; `--screenshots DIR` keeps what it saw.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from testproject import showcase
from testproject.demo.children import run_site
from testproject.parts.child import directory_for
from testproject.parts.missing import PartMissing
from testproject.parts.redis_server import RedisServer
from tests.conftest import require

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome")
AXE = ROOT / "tests/supalite/node_modules/axe-core/axe.min.js"
WIDTHS = (1280, 320)
PATIENCE = 60_000
"""Milliseconds that a busy machine may take for anything; nothing waits for them to pass."""


def pytest_addoption(parser):
    parser.addoption("--screenshots", type=Path, help="Keep the browser's screenshots in this folder.")


class Ground(NamedTuple):
    """What sites stand on: a Redis and a database, both filled."""

    directory: Path
    redis_url: str
    environment: dict[str, str]


@pytest.fixture(scope="session")
def ground():
    """One for all sites of the session."""
    with ExitStack() as stack:
        directory = directory_for("e2e")
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        try:
            redis = stack.enter_context(RedisServer())
        except PartMissing as missing:
            require(str(missing))
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.e2e.site_settings",
            "REDIS_URL": redis.url,
            "SAMPLE_DATABASE": str(directory / "site.sqlite3"),
            # Looked at by checks only: nothing here speaks to a remote store.
            "CALLCACHE_POSTGRES_URL": "postgres://nobody@127.0.0.1:1/none",
        }
        for command in (["migrate", "--verbosity=0"], ["showcase"]):
            subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True)
        yield Ground(directory, redis.url, environment)


@contextmanager
def serve(ground, **environment):
    """Run the sample site in a process of its own; yield its address."""
    values = ground.environment | environment
    with run_site(ground.directory, port=0, processes=1, environment=values) as (_, port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def site(ground):
    """Address of the sample site in Django's own look, under the strict policy."""
    with serve(ground) as address:
        yield address


@pytest.fixture(scope="session")
def chromium():
    """A running browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        require("Playwright is missing. Install it with: python -m pip install --group e2e")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        require(str(PartMissing("Chromium", command="sudo apt-get install chromium")))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe():
    """The source of axe-core."""
    if not AXE.exists():
        command = "(cd tests/supalite && npm ci --ignore-scripts --no-audit --no-fund)"
        require(str(PartMissing("axe-core", command=command)))
    return AXE.read_text()


class Window:
    """One page of the browser, and what it complained about."""

    def __init__(self, context, axe):
        self.context = context
        self.page = context.new_page()
        self.complaints = []
        self._axe = axe
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message):
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def open(self, address, ready):
        """Go to an address and wait until the page is the one that is meant."""
        self.page.goto(address)
        self.page.locator(ready).first.wait_for()

    def refused(self):
        """What the policy of the open page refused, as directive, address and beginning of the source."""
        return {tuple(each) for each in self.page.evaluate("window.refusedByPolicy")}

    def accessibility(self, within="#callcache"):
        """Violations of WCAG 2.2 A and AA inside our container, closed parts opened."""
        self.page.evaluate(
            "within => document.querySelectorAll(`${within} details`).forEach(each => { each.open = true })",
            within,
        )
        if not self.page.evaluate("typeof axe === 'object'"):
            self.page.evaluate(self._axe)
        found = self.page.evaluate(
            """within => axe.run(within, {
                resultTypes: ["violations"],
                runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"],
            })""",
            within,
        )
        return [
            f"{rule['id']}: {node['target']} {node['failureSummary']}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    def overflow(self):
        """By how many pixels the page is wider than the window."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )


RECORD = """
window.refusedByPolicy = [];
document.addEventListener("securitypolicyviolation", (event) => window.refusedByPolicy.push(
  [event.effectiveDirective, event.blockedURI, event.sample]));
"""


@pytest.fixture(scope="session")
def login(chromium):
    """Log in as somebody, once a site, by its form; return what the browser remembers of it."""
    kept = {}

    def log_in(site, name):
        if (site, name) not in kept:
            context = chromium.new_context()
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            page.goto(f"{site}/admin/login/?next=/admin/")
            page.locator("[name=username]").fill(name)
            page.locator("[name=password]").fill(showcase.PASSWORD)
            with page.expect_navigation(url=f"{site}/admin/"):
                page.locator("[name=password]").press("Enter")
            kept[site, name] = context.storage_state()
            context.close()
        return kept[site, name]

    return log_in


@pytest.fixture
def window(chromium, axe, login):
    """Open windows for somebody; they close with the test."""
    contexts = []

    def open_window(site, *, name=showcase.NAME, language="en", width=WIDTHS[0], **options):
        context = chromium.new_context(
            storage_state=login(site, name),
            locale=language,
            viewport={"width": width, "height": 900},
            **options,
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.add_init_script(RECORD)
        return Window(context, axe)

    yield open_window
    for context in contexts:
        context.close()


@pytest.fixture
def shoot(request):
    """Keep a picture of a page, where pictures are asked for."""
    folder = request.config.getoption("--screenshots", default=None)

    def keep(page, *parts):
        if folder:
            page.screenshot(path=folder / ("-".join(map(str, parts)) + ".png"), full_page=True)

    return keep
