"""Ways through the pages: by keyboard alone, without JavaScript, and while figures refresh themselves."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
import redis

from tests.e2e.pages import ROOT

pytestmark = pytest.mark.browser

CLEAR = f"{ROOT}dashboard/clear/"
FIGURES = "**/dashboard/figures/**"
STEPS = 100
"""Presses of the tab key after which what was looked for cannot be reached."""

LOOK = """element => {
  const look = () => {
    const { outline, boxShadow, borderColor, backgroundColor, textDecoration } = getComputedStyle(element);
    return [outline, boxShadow, borderColor, backgroundColor, textDecoration].join();
  };
  const focused = look();
  element.blur();
  const other = look();
  element.focus();
  return focused !== other;
}"""


@pytest.fixture
def drafts(ground, request):
    """Three keys of a prefix that only this test knows."""
    prefix = f"{request.node.name.partition('[')[0]}:"
    with redis.Redis.from_url(ground.redis_url) as client:
        client.mset({f"crm:1:{prefix}{number}": number for number in range(3)})
        yield prefix, lambda: len(client.keys(f"crm:1:{prefix}*"))


def tab_to(page, selector):
    """Press the tab key until an element has the focus, which is to be seen wherever it is in our part."""
    for _ in range(STEPS):
        page.keyboard.press("Tab")
        focused = page.evaluate_handle("document.activeElement").as_element()
        if focused.evaluate("element => element.closest('#callcache') !== null"):
            assert focused.evaluate(LOOK), f"no sign of focus: {focused.evaluate('each => each.outerHTML')}"
        if focused.evaluate("(element, selector) => element.matches(selector)", selector):
            return
    pytest.fail(f"{selector} is out of reach of the tab key")


class TestKeyboard:
    def test_clear(self, site, window, drafts):
        """A prefix is cleared without a pointer, and the focus is seen all the way."""
        prefix, left = drafts
        page = window(site).page
        page.goto(f"{site}{ROOT}dashboard/")
        tab_to(page, f".cc-tabs [href='{CLEAR}']")
        with page.expect_navigation(url=f"**{CLEAR}"):
            page.keyboard.press("Enter")
        tab_to(page, "[name=text]")
        page.keyboard.type(prefix)
        tab_to(page, "[type=submit]")
        with page.expect_navigation(url=f"**{CLEAR}?*"):
            page.keyboard.press("Enter")
        assert left() == 3
        tab_to(page, "[name=reason]")
        page.keyboard.type("tried by keyboard")
        tab_to(page, ".cc-delete")
        with page.expect_navigation(url="**/clear/*/"):
            page.keyboard.press("Enter")
        assert "3 keys were deleted" in page.get_by_role("status").inner_text()
        assert left() == 0

    def test_tables_and_charts(self, site, window):
        """What scrolls sideways takes the focus, and a chart's table opens by a key."""
        page = window(site, width=320).page
        page.goto(f"{site}{ROOT}dashboard/")
        tab_to(page, ".cc-chart .cc-scroll")
        tab_to(page, ".cc-table summary")
        page.keyboard.press("Enter")
        page.locator(".cc-table tbody tr").first.wait_for()
        tab_to(page, ".cc-table .cc-scroll")


class TestWithoutJavaScript:
    def test_overview(self, site, window):
        """Charts, tables and choices are there; what could not work is not."""
        page = window(site, java_script_enabled=False).page
        page.goto(f"{site}{ROOT}dashboard/")
        assert page.locator(".cc-drawing .cc-bar").count() > 12
        assert not page.locator("#cc-refresh").is_visible()
        page.locator(".cc-table summary").click()
        page.locator(".cc-table tbody tr").first.wait_for()
        page.get_by_role("link", name="7 days").click()
        page.wait_for_url("**period=7d**")
        assert page.locator(".cc-drawing .cc-bar").count() > 100

    def test_clear(self, site, window, drafts):
        """A prefix is cleared as with it."""
        prefix, left = drafts
        page = window(site, java_script_enabled=False).page
        page.goto(f"{site}{CLEAR}?kind=prefix&text={prefix}")
        page.get_by_role("button", name="Preview").click()
        page.locator(".cc-consequences").wait_for()
        page.locator(".cc-delete").click()
        page.wait_for_url("**/clear/*/")
        assert "3 keys were deleted" in page.get_by_role("status").inner_text()
        assert left() == 0

    def test_chosen_keys(self, site, window, drafts):
        """Keys are chosen from a search and deleted together."""
        prefix, left = drafts
        page = window(site, java_script_enabled=False).page
        page.goto(f"{site}{ROOT}dashboard/keys/?q={prefix}*")
        for number in (0, 2):
            page.get_by_role("checkbox", name=f"Choose {prefix}{number}").check()
        page.get_by_role("button", name="Delete the chosen keys").click()
        page.locator(".cc-delete").click()
        page.wait_for_url("**/clear/*/")
        assert left() == 1


class TestLive:
    @pytest.fixture
    def page(self, site, window):
        """The overview on a clock of its own, and what it asked for."""
        page = window(site).page
        page.clock.install()
        page.goto(f"{site}{ROOT}dashboard/")
        page.locator("#cc-refresh").wait_for()
        return page

    @pytest.fixture
    def asked(self, page):
        """Addresses of figures that the page asked for since."""
        requests = []
        page.on(
            "request", lambda request: requests.append(request.url) if "/figures/" in request.url else None
        )
        return requests

    def test_refresh(self, page, drafts):
        """Figures follow what happens without the page being loaded anew."""
        keys = page.locator('[data-cc-tile="keys"] .cc-figure')
        page.evaluate("window.isTheSamePage = true")
        with page.expect_response(FIGURES) as first:
            page.clock.run_for(5000)
        shown = {tile[0]: tile[1] for tile in first.value.json()["tiles"]}
        page.wait_for_function(
            "([name, text]) => document.querySelector(name).textContent === text",
            arg=['[data-cc-tile="keys"] .cc-figure bdi', shown["keys"]],
        )
        assert keys.inner_text() == shown["keys"]
        assert page.evaluate("window.isTheSamePage")

    def test_off(self, page, asked):
        """Who switches it off is left in peace, on the next page too."""
        page.locator("#cc-refresh").select_option("0")
        page.clock.run_for(120_000)
        page.reload()
        page.locator("#cc-refresh").wait_for()
        page.clock.run_for(120_000)
        assert page.locator("#cc-refresh").input_value() == "0"
        assert asked == []

    def test_hidden(self, page, asked):
        """A page that nobody sees asks for nothing, and asks at once when it is seen again."""
        hide = """is => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => is });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
        page.evaluate(hide, True)
        page.clock.run_for(120_000)
        assert asked == []
        with page.expect_response(FIGURES):
            page.evaluate(hide, False)

    def test_no_answer(self, page):
        """A page whose site does not answer says how old its figures are, until it answers again."""
        status = page.locator("#cc-status")
        page.route(FIGURES, lambda route: route.abort())
        for pause in (5_000, 10_000):
            with page.expect_event("requestfailed"):
                page.clock.run_for(pause)
        status.wait_for()
        assert "does not answer" in status.inner_text()
        page.unroute(FIGURES)
        with page.expect_response(FIGURES):
            page.clock.run_for(60_000)
        status.wait_for(state="hidden")


class TestSearches:
    def test_remembered(self, site, window):
        """The last ten searches are links, the latest first; hostile ones are text; a button forgets them."""
        opened = window(site)
        page = opened.page
        hostile = "<img src=x onerror=alert(1)>"
        for text in (hostile, *(f"call:{number}" for number in range(10)), "call:5"):
            page.goto(f"{site}{ROOT}dashboard/keys/?{urlencode({'alias': 'default', 'q': text})}")
        links = page.locator("#cc-recent a")
        assert links.all_inner_texts() == [f"call:{number}" for number in (9, 8, 7, 6, 4, 3, 2, 1, 0)]
        links.first.click()
        page.wait_for_url("**q=call%3A9")
        page.goto(f"{site}{ROOT}dashboard/keys/?{urlencode({'alias': 'default', 'q': hostile})}")
        page.goto(f"{site}{ROOT}dashboard/keys/")
        assert page.locator("#cc-recent a").first.inner_text() == hostile
        page.locator("#cc-recent button").click()
        assert page.locator("#cc-recent").is_hidden()
        page.reload()
        assert page.locator("#cc-recent").is_hidden()
        assert opened.refused() == set()
        assert opened.complaints == []
