"""Take the pictures of the README: the sample site, filled, with its loop running, in Chromium.

python docs/screenshots.py                 # write docs/images/*.png
python docs/screenshots.py --into /tmp/x   # or elsewhere

Needs the dependency group e2e, Chromium and what `manage.py demo` needs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
django.setup()

from PIL import Image  # noqa: E402  # the checkout is on the path only now
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from testproject import showcase  # noqa: E402
from testproject.demo.children import run_site, run_sync_loop  # noqa: E402
from testproject.demo.parts import demo_parts  # noqa: E402

PAGES = "/admin/django_callcache/dashboard/"
PICTURES = (
    ("prefixes", "prefixes/", "light", "en", 900, ".cc-heat-5"),
    ("overview", "", "light", "en", 1340, ".cc-bar"),
    ("sync", "sync/", "dark", "es", 900, "#cc-conflicts-title"),
    ("clear", "clear/?alias=default&scope=prefix&text=contact:", "light", "en", 760, ".cc-consequences"),
)
"""Name, address, colour scheme, language and height of each, and what has to be on it."""

TRIES = 60
"""Looks, a second apart, for what a process reads some seconds after it began: the hours of the week."""

COLOURS = 128
"""A picture of a page has few; a palette makes the file a third as large."""


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description="Take the pictures of the README.")
    parser.add_argument(
        "--into", type=Path, default=ROOT / "docs/images", help="folder (default: %(default)s)"
    )
    folder = parser.parse_args().into
    folder.mkdir(parents=True, exist_ok=True)
    with demo_parts(300, print) as environment:
        directory = Path(environment["SAMPLE_DATABASE"]).parent
        for command in (["migrate", "--verbosity=0"], ["showcase"]):
            subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True)
        with (
            run_sync_loop(directory, interval=300, environment=environment),
            run_site(directory, port=0, processes=1, environment=environment) as (_, port),
        ):
            take_all(f"http://127.0.0.1:{port}", folder)


def take_all(site: str, folder: Path) -> None:
    """Open each page and write what it looks like."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        sys.exit("Chromium is missing. Install it with: sudo apt-get install chromium")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program) as browser:
        for name, address, scheme, language, height, needed in PICTURES:
            page = browser.new_page(
                color_scheme=scheme, locale=language, viewport={"width": 1280, "height": height}
            )
            log_in(page, site)
            page.goto(f"{site}{PAGES}{address}")
            wait_for(page, needed)
            write(page.screenshot(), folder / f"{name}.png")
            page.close()


def wait_for(page: Page, needed: str) -> None:
    """Load a page again until something is on it."""
    for _ in range(TRIES):
        if page.locator(needed).count():
            return
        page.wait_for_timeout(1000)
        page.reload()
    sys.exit(f"{page.url} has no {needed}.")


def log_in(page: Page, site: str) -> None:
    """Log in by the form, without the side bar, which says nothing about the cache."""
    page.goto(f"{site}/admin/login/?next=/admin/")
    page.evaluate("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
    page.locator("[name=username]").fill(showcase.NAME)
    page.locator("[name=password]").fill(showcase.PASSWORD)
    with page.expect_navigation(url=f"{site}/admin/"):
        page.locator("[name=password]").press("Enter")


def write(picture: bytes, file: Path) -> None:
    """Write a picture with a palette."""
    with Image.open(BytesIO(picture)) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
