"""Secrets that cannot be mistaken, planted wherever one may be stated, and a search of all that is told.

What Django's error pages and mails show of exceptions is in `tests.cache.test_hygiene`.
"""

from __future__ import annotations

import io
import json
import logging
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import django
import pytest
import redis
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core import serializers
from django.core.cache import caches
from django.core.checks import run_checks
from django.core.management import CommandError, call_command, get_commands
from django.urls import reverse
from redis.backoff import NoBackoff
from redis.retry import Retry

from testproject.parts.child import LOOPBACK, free_port
from tests.admin.test_matrix import MATRIX, address_of
from tests.alerts.conftest import hook
from tests.cache.conftest import make_cache, make_caches, start_redis
from tests.cache.sentinel import options_of
from tests.management.every_command import EXAMINING, LINES

__all__ = ["hook", "make_cache", "make_caches", "start_redis"]

pytestmark = pytest.mark.django_db

PLANTED = {
    name: f"planted-{name}"
    for name in (
        *("redis", "wrong", "sentinel", "service", "seal", "token", "signature", "mail", "metrics"),
        "value",
    )
}
VALUE = {"field": PLANTED["value"]}
OURS = "django_callcache.cache.CallCache"


class Echo:
    """Something at the address of Supabase that repeats what it was asked with, in one bad way or another."""

    STATUSES = (400, 401, 404, 500, 503, 302, 200)

    def __init__(self):
        self.status = 400
        self.asked = 0
        echo = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                echo.asked += 1
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                heard = str(dict(self.headers))
                body = json.dumps(
                    {"code": "22P02", "message": heard, "details": heard, "hint": heard}
                    if echo.status != 200
                    else heard
                ).encode()
                self.send_response(echo.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if echo.status == 302:
                    self.send_header("Location", f"http://{LOOPBACK}:1/{self.headers['apikey']}")
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_HEAD = answer  # noqa: N815

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self):
        return f"http://{LOOPBACK}:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def told(caplog, capfd, db):
    """All that was told, by words about where."""
    caplog.set_level(logging.DEBUG)
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)  # what `caplog` keeps is forgotten when the test itself ends
    heard = {}
    yield heard
    logging.getLogger().removeHandler(handler)
    heard["log"] = log.getvalue()
    heard["terminal"] = "".join(capfd.readouterr())
    models = [model for model in apps.get_app_config("django_callcache").get_models() if model._meta.managed]
    heard["rows"] = "".join(
        serializers.serialize("json", model.objects.all()) for model in (*models, LogEntry)
    )
    found = {
        (where, name) for where, text in heard.items() for name, secret in PLANTED.items() if secret in text
    }
    assert found == set()


@pytest.fixture
def make_site(settings, monkeypatch, start_redis, echo, hook):
    """Settings that are full of secrets; Redis answers, refuses the password, or is gone."""

    def make(state):
        monkeypatch.setattr(redis.ConnectionPool, "__repr__", telling_all)
        server = start_redis(password=PLANTED["redis"], append_only=True)
        place = f"redis://{LOOPBACK}:{server.port}/0"
        password = PLANTED["wrong" if state == "refuses" else "redis"]
        rules = {"s:": {"sync": "lww"}, "p:": {"sensitive": True}}
        own = {"RULES": rules, "DEADLINE": 10, "COMPRESS": False}
        settings.CACHES = {
            "default": {
                "BACKEND": OURS,
                "LOCATION": place,
                "KEY_PREFIX": "t",
                "OPTIONS": {"PASSWORD": password, "CALLCACHE": own},
            },
            "old": {
                "BACKEND": OURS,
                "LOCATION": place.replace("//", f"//:{password}@"),
                "KEY_PREFIX": "u",
                "OPTIONS": {"CALLCACHE": {"DEADLINE": 10}},
            },
            "watched": watched_by_nobody(password),
        }
        webhook = {"KIND": "webhook", "ALLOW_HTTP": True, "ALLOW_PRIVATE": True}
        address = f"{hook.url}/{PLANTED['token']}"
        settings.CALLCACHE = {
            "SECRETS": [PLANTED["seal"]],
            "SYNC": {
                "NAMESPACE": "tests",
                "REMOTE": "supabase",
                "SUPABASE_URL": echo.url,
                "SUPABASE_KEY": PLANTED["service"],
            },
            "STATS": {"FLUSH_INTERVAL": 3600},
            "METRICS": {"TOKEN": PLANTED["metrics"]},
            "ALERTS": {
                "CHANNELS": {
                    "mail": {"KIND": "mail", "TO": ["ops@example.com"]},
                    "chat": {**webhook, "SECRET_URL": address, "SECRET": PLANTED["signature"]},
                    "gone": {
                        **webhook,
                        "SECRET_URL": f"http://{LOOPBACK}:1/{PLANTED['token']}",
                    },
                    "inside": {**webhook, "SECRET_URL": address, "ALLOW_PRIVATE": False},
                }
            },
        }
        if state == "gone":
            server.stop()
        elif state == "answers":
            for alias in ("default", "old"):
                caches[alias].set_many({f"page:{number}": VALUE for number in range(8)})
            caches["default"].set("s:1", VALUE)
            caches["default"].set("p:1", VALUE)
        return server

    return make


def telling_all(pool):
    """A pool as redis-py 6.4 and 7.0 show it."""
    return f"<ConnectionPool({pool.connection_kwargs})>"


def watched_by_nobody(password):
    """Settings of a cache whose Sentinel does not answer."""
    return {
        "BACKEND": OURS,
        "LOCATION": "redis://calls/0",
        "KEY_PREFIX": "w",
        "OPTIONS": {
            **options_of(free_port(), password=PLANTED["sentinel"], retry=Retry(NoBackoff(), 0)),
            "PASSWORD": password,
            "CALLCACHE": {"DEADLINE": 10},
        },
    }


def run(told, line, times=0):
    """Run a command; what it prints, what it raises and all that led to that are told."""
    out = io.StringIO()
    try:
        call_command(*line, stdout=out, stderr=out)
    except (CommandError, SystemExit) as error:
        out.write("".join(traceback.format_exception(error)))
        while error is not None:
            out.write(f"{error.args!r} {error!r}")
            error = error.__cause__ or error.__context__
    told[f"{' '.join(line)} {times}"] = out.getvalue()


class TestCommands:
    def test_lines__complete(self):
        """Each command has a line."""
        ours = {name for name, app in get_commands().items() if app == "django_callcache"}
        assert {line[0] for line in LINES} == ours

    @pytest.mark.parametrize("state", ["answers", "refuses", "gone"])
    def test_commands__that_examine(self, make_site, told, state):
        """What looks at everything prints no secret and raises none, whatever Redis does.

        No Sentinel answers for one of the caches.
        """
        make_site(state)
        for line in EXAMINING:
            run(told, line)

    @pytest.mark.long
    @pytest.mark.parametrize("state", ["answers", "refuses", "gone"])
    def test_commands__every_one(self, make_site, told, state):
        """Nor does any other command."""
        make_site(state)
        for line in LINES:
            run(told, line)

    def test_commands__remote_echoes(self, make_site, told, echo):
        """What a remote store says of a request, with the key it was sent with, goes no further."""
        make_site("answers")
        for status in echo.STATUSES:
            echo.status = status
            for line in (("runcachesync", "--once", "--json"), ("callcache_doctor", "--json")):
                run(told, (*line, "--alias", "default"), status)
        assert echo.asked >= len(echo.STATUSES)

    @pytest.mark.parametrize(
        ("channel", "status"),
        [("mail", 200), ("gone", 200), ("inside", 200), ("chat", 200), ("chat", 302), ("chat", 500)],
    )
    def test_channels(self, make_site, told, settings, hook, channel, status):
        """A channel that fails tells why, and neither its address nor a password."""
        make_site("answers")
        hook.status, hook.location = status, f"http://{LOOPBACK}:1/{PLANTED['token']}"
        backend, port = "django.core.mail.backends.smtp.EmailBackend", free_port()
        if django.VERSION >= (6, 1):
            options = {"host": LOOPBACK, "port": port, "username": "u", "password": PLANTED["mail"]}
            settings.MAILERS = {"default": {"BACKEND": backend, "OPTIONS": options}}
        else:
            settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = backend, LOOPBACK, port
            settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "u", PLANTED["mail"]
        run(told, ("callcache_alerts", "--test", channel))
        if channel != "chat" or status != 200:
            assert "CommandError" in told[f"callcache_alerts --test {channel} 0"]
        for _, _, body in hook.requests:
            told["body"] = body.decode()


class TestPages:
    @pytest.mark.parametrize("state", ["answers", "refuses", "gone"])
    def test_pages(self, make_site, told, client, settings, state):
        """No page shows one, with DEBUG or without, nor do metrics to whoever has the token."""
        make_site(state)
        settings.DEBUG = state != "answers"
        client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))
        client.raise_request_exception = False
        for name, row in MATRIX.items():
            response = client.get(address_of(name), {**row.query, "alias": "default"})
            told[name] = f"{response.headers} {text_of(response)}"
        client.logout()
        for token, status in ((PLANTED["metrics"], 200), (PLANTED["wrong"], 401)):
            response = client.get(reverse("callcache:metrics"), headers={"authorization": f"Bearer {token}"})
            assert response.status_code == status
            told[f"metrics {status}"] = f"{response.headers} {text_of(response)}"

    def test_acts(self, make_site, told, client):
        """Nor what is answered to somebody who acts while nothing works."""
        make_site("gone")
        client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))
        client.raise_request_exception = False
        for name, row in MATRIX.items():
            if row.data:
                response = client.post(address_of(name), row.data, follow=True)
                told[f"{name} told"] = text_of(response)


class TestChecks:
    def test_checks(self, make_site, told):
        """System checks, those for production too, name what is wrong and repeat no secret."""
        make_site("answers")
        found = run_checks(include_deployment_checks=True)
        assert "callcache.W106" in {message.id for message in found}
        told["checks"] = "\n".join(f"{message} {message.hint}" for message in found)


def text_of(response):
    content = response.getvalue() if response.streaming else response.content
    return content.decode()
