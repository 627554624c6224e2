"""What error pages, mails, logs and representations show of passwords and values: nothing."""

from __future__ import annotations

import copy
import logging
import pprint
import sys

import pytest
from django.test import RequestFactory, override_settings
from django.views.debug import ExceptionReporter

from django_callcache.conf import get_settings
from django_callcache.exceptions import CallCacheError
from testproject.parts.child import LOOPBACK, free_port
from tests.cache.conftest import APP

PASSWORD, WRONG, SECRET, SERVICE = (f"planted-{what}" for what in ("password", "wrong", "secret", "service"))
APP_WITH_SECRETS = {
    **APP,
    "SECRETS": [SECRET],
    "SYNC": {
        **APP["SYNC"],
        "REMOTE": "supabase",
        "SUPABASE_URL": "https://x.example",
        "SUPABASE_KEY": SERVICE,
    },
}
RULES = {"s:": {"sync": "lww"}, "p:": {"sensitive": True}}
VALUE = b"planted-value"[::-1][::-1]  # its bytes, in no constant of a frame


def planted(text):
    return [word for word in (PASSWORD, WRONG, SECRET, SERVICE, "planted-value") if word in text]


def pages_of(error):
    """What Django shows of an exception: the page for developers, the mail, the page of production."""
    request = RequestFactory().get("/")
    for debug in (True, False):
        with override_settings(DEBUG=debug):
            reporter = ExceptionReporter(request, type(error), error, error.__traceback__)
            yield reporter.get_traceback_html()
            yield reporter.get_traceback_text()


async def failure(face, method, *arguments):
    """The exception of a call, without the frame of this module that holds the value."""
    try:
        await getattr(face, method)(*arguments)
    except CallCacheError as error:
        frames = error.__traceback__
        while frames.tb_frame.f_globals.get("__name__", "").startswith("tests."):
            frames = frames.tb_next
        return error.with_traceback(frames)
    raise AssertionError("it did not fail")


CALLS = [
    ("get", ("a",)),
    ("set", ("a",)),
    ("set_many", ()),
    ("incr", ("a",)),
    ("clear", ()),
    ("set", ("s:1",)),
]


@pytest.mark.parametrize("kind", ["down", "wrong password", "full"])
class TestErrorPages:
    async def test_pages__nothing_planted(self, face_of, make_cache, start_redis, kind, caplog):
        """Neither page nor mail nor log shows a password, a secret, a service key or a value."""
        caplog.set_level(logging.DEBUG)
        server = start_redis(password=PASSWORD)
        location = f"redis://{LOOPBACK}:{free_port() if kind == 'down' else server.port}/0"
        options = {"PASSWORD": WRONG if kind == "wrong password" else PASSWORD}
        face = face_of(
            make_cache(
                location,
                APP_WITH_SECRETS,
                options,
                ON_ERROR="raise",
                RULES=RULES,
                DEADLINE=10,
                COMPRESS=False,
            )
        )
        calls = CALLS
        if kind == "full":
            face.cache.redis_client().config_set("maxmemory", 1)
            calls = [("set", ("a",)), ("set", ("s:1",))]
        for method, arguments in calls:
            given = arguments
            if method == "set":
                given = (*arguments, {"field": VALUE})
            elif method == "set_many":
                given = ({"a": VALUE},)
            error = await failure(face, method, *given)
            for page in pages_of(error):
                assert "Traceback" in page
                assert planted(page) == [], method
            assert planted(str(error) + repr(error)) == []
        assert planted(caplog.text) == []


class TestRepresentations:
    def test_repr(self, make_cache):
        """No object that a page or a debugger may show tells a secret by itself."""
        cache = make_cache("redis://127.0.0.1:1/0", APP_WITH_SECRETS, {"PASSWORD": PASSWORD}, RULES=RULES)
        runtime = cache._runtime
        shown = [cache, runtime, runtime.options, runtime.settings, get_settings(), runtime.connections]
        shown += [runtime._key_ring, runtime.breaker, runtime.blocking_io, runtime._server, cache.blocking]
        assert planted("".join(repr(each) + pprint.pformat(each) for each in shown)) == []
        assert planted(repr(copy.copy(get_settings()))) == []
        assert sys.getsizeof(shown) > 0

    def test_metrics(self, make_cache):
        """Counts name prefixes and methods, no server password."""
        cache = make_cache("redis://127.0.0.1:1/0", APP_WITH_SECRETS, {"PASSWORD": PASSWORD})
        cache.get("a")
        assert planted(repr(cache.counted())) == []
