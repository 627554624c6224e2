"""Servers that take what alerts tell: mail and webhooks."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import django
import pytest
from aiosmtpd.controller import Controller

from testproject.parts.child import LOOPBACK, free_port
from tests.cache.conftest import make_cache, make_caches, start_redis

__all__ = ["make_cache", "make_caches", "start_redis"]


class Mailbox:
    """Takes every mail."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(envelope)
        return "250 OK"


@pytest.fixture
def mailbox(settings):
    """A real mail server that Django sends to, and what arrived there."""
    box = Mailbox()
    port = free_port()
    controller = Controller(box, hostname=LOOPBACK, port=port)
    controller.start()
    backend = "django.core.mail.backends.smtp.EmailBackend"
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": backend, "OPTIONS": {"host": LOOPBACK, "port": port}}}
    else:
        settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = backend, LOOPBACK, port
    settings.ADMINS = ["ana@example.com"] if django.VERSION >= (6, 0) else [("Ana", "ana@example.com")]
    yield box
    controller.stop()


class Hook:
    """A server that webhooks reach, and what they brought."""

    def __init__(self):
        self.requests = []
        self.status = 200
        self.location = ""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.requests.append((self.path, dict(self.headers), body))
                self.send_response(hook.status)
                if hook.location:
                    self.send_header("Location", hook.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self):
        return f"http://{LOOPBACK}:{self.server.server_port}/services/a-secret-path"

    def told(self):
        """The bodies that arrived."""
        return [json.loads(body) for _, _, body in self.requests]

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hook():
    """A webhook's other end."""
    server = Hook()
    yield server
    server.close()
