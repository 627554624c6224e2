"""Our pages elsewhere: behind nonces, below themes, on paper, in forced colours, from right to left."""

from __future__ import annotations

import django
import polib
import pytest

from tests.e2e.conftest import WIDTHS, serve
from tests.e2e.pages import PAGES, ROOT

pytestmark = pytest.mark.browser

OPEN = [page for page in PAGES if not page.as_stranger and "gone" not in page.name]
THEMES_OWN = ("/admin/", "/admin/auth/user/", "/admin/auth/group/add/")
"""Pages whose violations are the theme's."""

DARK = {
    "light": "",
    # As unfold and jazzmin say it to their own style sheets, after a choice in their menus.
    "dark": """() => {
        document.documentElement.classList.add("dark");
        document.documentElement.dataset.bsTheme = "dark";
    }""",
}
"""What makes a theme dark."""


class TestNonces:
    @pytest.mark.skipif(django.VERSION < (6, 1), reason="Django's own pages have nonces from 6.1")
    def test_pages(self, ground, window):
        """Nothing of a page is refused where the policy lets only in what carries its nonce."""
        with serve(ground, E2E_POLICY="nonce") as site:
            opened = window(site)
            for page in OPEN:
                opened.open(f"{site}{ROOT}{page.path}", page.ready)
                assert opened.refused() == set(), page.name
                assert opened.complaints == [], page.name
                assert opened.page.evaluate("getComputedStyle(callcache).maxWidth") != "none", page.name


@pytest.fixture(scope="module", params=["unfold", "jazzmin"])
def theme(ground, request):
    """Name of a theme, and the address of the site below it."""
    pytest.importorskip(request.param)
    with serve(ground, E2E_THEME=request.param) as site:
        yield request.param, site


class TestThemes:
    def test_policy(self, theme, window):
        """Our pages add no violation of the policy to those of the theme."""
        site = theme[1]
        opened = window(site)
        theirs = set()
        for path in THEMES_OWN:
            opened.page.goto(f"{site}{path}")
            theirs |= opened.refused()
        assert theirs, "a theme without violations can be held to the test of Django's own look"
        for page in OPEN:
            opened.page.goto(f"{site}{ROOT}{page.path}")
            opened.page.locator(page.ready).first.wait_for(state="attached")
            assert opened.refused() - theirs == set(), page.name

    @pytest.mark.parametrize("scheme", DARK)
    def test_accessible(self, theme, window, shoot, scheme):
        """Where the policy lets the theme work, our pages are accessible in light and dark."""
        name, site = theme
        opened = window(site, bypass_csp=True, color_scheme=scheme)
        found = {}
        for page in OPEN:
            opened.open(f"{site}{ROOT}{page.path}", page.ready)
            opened.page.evaluate(DARK[scheme])
            shoot(opened.page, name, page.name, scheme)
            found[page.name] = opened.accessibility()
        assert {page: violations for page, violations in found.items() if violations} == {}


class TestLooks:
    @pytest.mark.parametrize("page", OPEN, ids=lambda page: page.name)
    def test_forced_colours_and_print(self, site, window, shoot, page):
        """In forced colours series stay apart and the open tab is marked; printed, controls are left out."""
        opened = window(site)
        opened.open(f"{site}{ROOT}{page.path}", page.ready)
        opened.page.emulate_media(forced_colors="active")
        shoot(opened.page, page.name, "forced")
        tab = opened.page.locator(".cc-tabs [aria-current]")
        assert tab.evaluate("tab => getComputedStyle(tab).textDecorationLine") == "underline"
        legend = opened.page.locator(".cc-legend rect")
        fills = legend.evaluate_all("all => all.map(one => getComputedStyle(one).fill)")
        assert len(set(fills)) == min(len(fills), 3)
        opened.page.emulate_media(forced_colors="none", media="print")
        shoot(opened.page, page.name, "print")
        assert not opened.page.locator(".cc-tabs").is_visible()
        assert opened.page.locator("#callcache :is(input, select, button, .button):visible").count() == 0


class TestDirection:
    def test_english_within_arabic(self, site, window):
        """Where nobody translated our pages they are English, and say so, within Django's Arabic."""
        opened = window(site, language="ar")
        opened.open(f"{site}{ROOT}dashboard/", "#callcache")
        assert opened.page.locator("html").get_attribute("dir") == "rtl"
        ours = opened.page.locator("#callcache")
        assert (ours.get_attribute("lang"), ours.get_attribute("dir")) == ("en", "ltr")

    def test_translated(self, ground, window, shoot, tmp_path):
        """With a translation of its own a site has our pages from right to left, keys still left to right."""
        catalogue = tmp_path / "ar/LC_MESSAGES"
        catalogue.mkdir(parents=True)
        words = polib.POFile()
        words.metadata = {"Content-Type": "text/plain; charset=utf-8"}
        words.append(polib.POEntry(msgctxt="the code of this language, such as es", msgid="en", msgstr="ar"))
        words.append(polib.POEntry(msgid="Overview", msgstr="نظرة عامة"))
        words.save_as_mofile(str(catalogue / "django.mo"))
        with serve(ground, E2E_LOCALES=str(tmp_path)) as site:
            opened = window(site, language="ar")
            for page in OPEN:
                opened.open(f"{site}{ROOT}{page.path}", page.ready)
                assert opened.page.locator("#callcache").get_attribute("dir") == "rtl"
                for width in WIDTHS:
                    opened.page.set_viewport_size({"width": width, "height": 900})
                    shoot(opened.page, page.name, "rtl", width)
                    assert opened.overflow() <= 0, page.name
                codes = opened.page.locator("#callcache bdi code")
                directions = codes.evaluate_all("all => all.map(code => getComputedStyle(code).direction)")
                assert set(directions) <= {"ltr"}, page.name
                drawing = opened.page.locator("#callcache .cc-drawing")
                flow = drawing.evaluate_all("all => all.map(one => getComputedStyle(one).direction)")
                assert set(flow) <= {"ltr"}, page.name
