from __future__ import annotations

import html

import pytest
from django.core.cache import caches
from django.urls import reverse

from django_callcache.models import CacheOperation

pytestmark = pytest.mark.django_db

ADDRESS = reverse("admin:django_callcache_ttl")
PREFIX = reverse("admin:django_callcache_prefix") + "?alias=default&prefix=call:"
PIN = {
    "alias": "default",
    "act": "pin",
    "prefix": "call:",
    "seconds": "120",
    "lasts": "3600",
    "reason": "<b>import",
}


def text_of(response):
    return html.unescape(response.content.decode())


@pytest.fixture
def visitor(client, boss, cache):
    client.force_login(boss)
    return client


class TestPin:
    def test_pin__and_unpin(self, visitor, cache, stats):
        """A pin is written, told of on every page that shows the TTL, and taken away again."""
        asked = visitor.get(ADDRESS, {"act": "pin", "alias": "default", "prefix": "call:"})
        assert "From 1 s to 1 h" in text_of(asked)
        assert visitor.post(ADDRESS, PIN).headers["Location"] == PREFIX.replace("call:", "call%3A")
        pin = cache.ttl_overrides().pins["call:"]
        assert (pin.ttl_seconds, pin.by, pin.reason) == (120, "boss", "<b>import")
        assert pin.until == pytest.approx(pin.since + 3600, abs=1)
        page = visitor.get(PREFIX)
        assert "cc-pinned" in page.content.decode()
        assert "<b>import" not in page.content.decode()
        assert "Pinned by boss since" in text_of(page)
        for name in ("prefixes", "dashboard_changelist"):
            listed = visitor.get(reverse(f"admin:django_callcache_{name}")).content.decode()
            assert '<span class="cc-badge">pinned</span>' in listed
        assert visitor.post(ADDRESS, {**PIN, "act": "unpin"}).status_code == 302
        assert cache.ttl_overrides().pins == {}
        assert "cc-pinned" not in visitor.get(PREFIX).content.decode()
        operations = CacheOperation.objects.order_by("pk").values_list("kind", "outcome", "reason")
        assert list(operations) == [
            ("pin", "ok", "120 s for 3600 s: <b>import"), ("unpin", "ok", "<b>import"),
        ]  # fmt: skip

    @pytest.mark.parametrize("seconds", ["0.5", "3601", "", "nan", "soon"])
    def test_pin__bad_seconds(self, visitor, cache, seconds):
        """Seconds outside the bounds are answered by the form with the bounds; the attempt is on record."""
        answer = visitor.post(ADDRESS, {**PIN, "seconds": seconds})
        assert answer.status_code == 400
        assert "errorlist" in answer.content.decode()
        assert "From 1 s to 1 h" in text_of(answer)
        assert cache.ttl_overrides().pins == {}
        operation = CacheOperation.objects.get()
        assert (operation.outcome, operation.error_class) == ("refused", "invalid")

    @pytest.mark.parametrize(
        ("prefix", "words"), [("call:7:", "Its keys belong to"), ("bare", "Give it a rule")]
    )
    def test_pin__no_prefix(self, visitor, cache, prefix, words):
        """What is no prefix by itself is told so instead of a form, and refused."""
        asked = visitor.get(ADDRESS, {"act": "pin", "alias": "default", "prefix": prefix})
        assert words in text_of(asked)
        assert 'name="seconds"' not in asked.content.decode()
        assert visitor.post(ADDRESS, {**PIN, "prefix": prefix}).status_code == 403
        assert CacheOperation.objects.get().outcome == "refused"

    @pytest.mark.parametrize("alias", ["memory", "nowhere", ""])
    def test_pin__other_cache(self, visitor, cache, alias):
        """A cache that is not ours, or is not there, is not mistaken for the first."""
        assert visitor.post(ADDRESS, {**PIN, "alias": alias}).status_code == 403
        assert cache.ttl_overrides().pins == {}

    def test_pin__alias_rule(self, visitor, cache, settings):
        """Who may not access a cache decides nothing about it."""
        settings.CALLCACHE = {"ADMIN": {"CAN_ACCESS_ALIAS": lambda user, alias: False}}
        assert visitor.post(ADDRESS, PIN).status_code == 403
        assert caches["default"].ttl_overrides().pins == {}

    def test_pin__only_change_ttl(self, client, make_user, cache):
        """Who may do nothing else comes back to a page that may be seen."""
        client.force_login(make_user("change_ttl"))
        answer = client.post(ADDRESS, PIN, follow=True)
        assert answer.status_code == 200
        assert "cc-pinned" in answer.content.decode()

    def test_controls(self, client, make_user, cache, settings):
        """Controls are there for who may use them, and for nobody while the pages are read-only."""
        client.force_login(make_user("view_dashboard"))
        assert ADDRESS not in client.get(PREFIX).content.decode()
        client.force_login(make_user("view_dashboard", "change_ttl"))
        assert ADDRESS in client.get(PREFIX).content.decode()
        settings.CALLCACHE = {"ADMIN": {"READ_ONLY": True}}
        assert ADDRESS not in client.get(PREFIX).content.decode()

    def test_redis_down(self, visitor, settings):
        """The page says that Redis does not answer."""
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}}
        page = visitor.get(ADDRESS, {"act": "pin", "alias": "default", "prefix": "call:"})
        assert "cc-notice-error" in page.content.decode()


class TestPause:
    def test_pause__and_resume(self, visitor, cache):
        """A pause shows with who and since on Overview, Cache and Prefixes until it is ended."""
        answer = visitor.post(ADDRESS, {"act": "pause", "alias": "default", "reason": "we look", "lasts": ""})
        assert answer.status_code == 302
        pause = cache.ttl_overrides().pause
        assert (pause.by, pause.until, pause.reason) == ("boss", None, "we look")
        pages = [
            reverse(f"admin:django_callcache_{name}")
            for name in ("dashboard_changelist", "cache", "prefixes")
        ]
        for page in pages:
            text = visitor.get(page).content.decode()
            assert "cc-paused" in text
            assert "act=resume" in text
        again = visitor.post(ADDRESS, {"act": "pause", "alias": "default"}, follow=True)
        assert "somebody has decided it already" in text_of(again)
        visitor.post(ADDRESS, {"act": "resume", "alias": "default"})
        assert cache.ttl_overrides().pause is None
        assert all("cc-paused" not in visitor.get(page).content.decode() for page in pages)
        kinds = CacheOperation.objects.order_by("pk").values_list("kind", "scope", "outcome")
        assert list(kinds) == [
            ("pause_ttl", "alias", "ok"), ("pause_ttl", "alias", "failed"), ("resume_ttl", "alias", "ok"),
        ]  # fmt: skip
