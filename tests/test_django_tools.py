"""Django's own tools over the cache: template fragments, cached views, sessions."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.core.cache import caches
from django.core.cache.utils import make_template_fragment_key
from django.http import HttpResponse
from django.template import Context, Engine
from django.test import RequestFactory
from django.utils.cache import get_cache_key, learn_cache_key
from django.views.decorators.cache import cache_page
from django.views.decorators.vary import vary_on_headers

pytestmark = pytest.mark.usefixtures("redis_url")

TEMPLATE = "{% load cache %}{% cache 60 campaign campaign.id %}{{ campaign.name }}{% endcache %}"


class TestTemplateFragment:
    def render(self, **campaign):
        engine = Engine(libraries={"cache": "django.templatetags.cache"})
        return engine.from_string(TEMPLATE).render(Context({"campaign": campaign}))

    def test_cache_tag(self):
        """A fragment is rendered once for each set of values that it varies on."""
        assert self.render(id=1, name="May") == "May"
        assert self.render(id=1, name="June") == "May"
        assert self.render(id=2, name="June") == "June"

    def test_cache_tag__deleted(self):
        """A fragment's key is the one that Django makes, so it can be deleted, and it has its timeout."""
        self.render(id=1, name="May")
        key = make_template_fragment_key("campaign", [1])
        assert 0 < caches["default"].ttl(key) <= 60
        assert caches["default"].delete(key) is True
        assert self.render(id=1, name="June") == "June"


class TestCachePage:
    def test_cache_page(self):
        """A view's response is kept with its headers, apart for each value that it varies on."""
        seen = []

        @cache_page(60)
        @vary_on_headers("X-Team")
        def view(request):
            seen.append(request.headers["X-Team"])
            return HttpResponse(f"call {len(seen)}", headers={"X-Campaign": "7"})

        def get(team):
            return view(RequestFactory().get("/campaigns/7/", headers={"x-team": team}))

        first, second, third = get("north"), get("north"), get("south")
        assert (first.content, second.content, third.content) == (b"call 1", b"call 1", b"call 2")
        assert second["X-Campaign"] == "7"
        assert "max-age=60" in second["Cache-Control"]
        assert seen == ["north", "south"]

    async def test_cache_page__asynchronous(self):
        """An asynchronous view's response is kept too."""
        seen = []

        @cache_page(60)
        async def view(request):
            seen.append(request.path)
            return HttpResponse(f"call {len(seen)}")

        request = RequestFactory().get("/campaigns/8/")
        assert (await view(request)).content == b"call 1"
        assert (await view(RequestFactory().get("/campaigns/8/"))).content == b"call 1"

    def test_cache_key(self):
        """What Django learns of a response's headers, it finds again."""
        request = RequestFactory().get("/campaigns/7/")
        response = HttpResponse(headers={"Vary": "X-Team"})
        cache = caches["default"]
        assert learn_cache_key(request, response, 60, "", cache=cache) == get_cache_key(request, cache=cache)


@pytest.mark.parametrize("engine", ["cache", "cached_db"])
@pytest.mark.django_db
class TestSessions:
    def store(self, engine, key=None):
        return import_module(f"django.contrib.sessions.backends.{engine}").SessionStore(key)

    def test_session(self, engine):
        """A session is created, read by another request, changed, and gone when it is flushed."""
        session = self.store(engine)
        session["contact"] = {"id": 2}
        session.save()
        again = self.store(engine, session.session_key)
        assert again["contact"] == {"id": 2}
        again["contact"] = 3
        again.save()
        assert self.store(engine, session.session_key)["contact"] == 3
        again.flush()
        assert "contact" not in self.store(engine, session.session_key)

    def test_session__lives_as_long_as_it_says(self, engine):
        """The entry expires with the session."""
        session = self.store(engine)
        session["contact"] = 2
        session.set_expiry(600)
        session.save()
        key = session.cache_key_prefix + session.session_key
        assert 0 < caches["default"].ttl(key) <= 600

    def test_session__new_key(self, engine):
        """A login gives the session another key; the old one is gone."""
        session = self.store(engine)
        session["contact"] = 2
        session.save()
        old = session.session_key
        session.cycle_key()
        assert session.session_key != old
        assert self.store(engine, session.session_key)["contact"] == 2
        assert "contact" not in self.store(engine, old)


@pytest.mark.parametrize("engine", ["cache", "cached_db"])
@pytest.mark.django_db(transaction=True)
class TestAsynchronousSessions:
    async def test_session(self, engine):
        """The asynchronous methods do the same."""
        store = import_module(f"django.contrib.sessions.backends.{engine}").SessionStore
        session = store()
        await session.aset("contact", 2)
        await session.asave()
        assert await store(session.session_key).aget("contact") == 2
        await session.aflush()
        assert await store(session.session_key).aget("contact") is None
