"""Every page in both colour schemes, three languages and two widths, under the strict policy."""

from __future__ import annotations

import pytest

from testproject import showcase
from tests.e2e.conftest import WIDTHS
from tests.e2e.pages import LISTS, PAGES, ROOT

pytestmark = pytest.mark.browser


SETTLE = "() => Promise.allSettled(document.getAnimations().map(each => each.finished))"
"""Colours of links change over a while, Django's own rule; half way they have too little contrast."""


def look_at(opened, shoot, name, language):
    """Look at an open page in both colour schemes and widths."""
    for scheme in ("light", "dark"):
        opened.page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            opened.page.set_viewport_size({"width": width, "height": 900})
            opened.page.evaluate(SETTLE)
            shoot(opened.page, name, language, scheme, width)
            state = f"{scheme} {width}"
            assert opened.overflow() <= 0, state
            assert opened.accessibility() == [], state


class TestPages:
    @pytest.mark.parametrize("language", ["en", "es", "ar"])
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_page(self, site, window, shoot, page, language):
        """A page breaks no policy, is accessible to WCAG 2.2 AA, and never scrolls sideways."""
        opened = window(
            site, name=showcase.STRANGER if page.as_stranger else showcase.NAME, language=language
        )
        opened.open(f"{site}{ROOT}{page.path}", page.ready)
        assert opened.page.locator("html").get_attribute("lang") == language
        look_at(opened, shoot, page.name, language)
        assert opened.refused() == set()
        is_error_page = page.as_stranger or "gone" in page.name
        assert [one for one in opened.complaints if not (is_error_page and "status of 40" in one)] == []

    @pytest.mark.parametrize("language", ["en", "es", "ar"])
    def test_chosen_keys(self, site, window, shoot, language):
        """So does the preview of chosen keys, which only a form leads to."""
        opened = window(site, language=language)
        opened.open(f"{site}{ROOT}dashboard/keys/?q=call:*", "#cc-found-title")
        for number in (1, 2):
            opened.page.locator(f'[name=key][value="call:{number}"]').check()
        opened.page.locator("form:has([name=key]) [type=submit]").click()
        opened.page.locator("#callcache .cc-consequences").wait_for()
        look_at(opened, shoot, "clear-chosen", language)
        assert opened.refused() == set()
        assert opened.complaints == []

    @pytest.mark.parametrize("path", LISTS)
    def test_list(self, site, window, path):
        """Lists and forms of models break no policy either."""
        opened = window(site)
        opened.open(f"{site}{ROOT}{path}", "#content")
        assert opened.page.locator("#changelist, .readonly").count() > 0
        assert opened.refused() == set()
        assert opened.complaints == []
