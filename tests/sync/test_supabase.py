from __future__ import annotations

import base64
import json
import logging
import os
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured

from django_callcache.conf import SyncSettings
from django_callcache.exceptions import RemoteRefused, RemoteRejected, RemoteUnavailable, SyncError
from django_callcache.sync.supabase import SupabaseStore
from tests.supalite.supalite import SupaLite
from tests.sync.test_remote import NAMESPACE, row

KEY = "sb_secret_0123456789abcdef"
VALUE = "what the cache holds"


class Impostor(ThreadingHTTPServer):
    """A server that answers every request with the same, and remembers what it was told."""

    daemon_threads = True

    def __init__(self, status=200, headers=None, body=b"", delay=0.0, drip=0.0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = (status, headers or {}, body, delay)
        self.drip = drip
        self.requests = []
        self.times = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def answer(self):
        status, headers, body, delay = self.server.answer
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        self.server.times.append(time.monotonic())
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(delay)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):  # who asked may have given up
            if not self.server.drip:
                self.wfile.write(body)
                return
            for byte in body:
                self.wfile.write(bytes([byte]))
                time.sleep(self.server.drip)

    do_GET = do_POST = answer  # noqa: N815 (names that http.server looks for)

    def log_message(self, *args):
        pass


@contextmanager
def impostor(**options):
    with Impostor(**options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def store_at(url, key=KEY, **options):
    store = SupabaseStore(url, key, **options)
    try:
        yield store
    finally:
        store.close()


class TestAnswers:
    """Servers that are not what they should be."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirect(self, status):
        """A redirect is not followed, so no other host sees the key, and nothing counts as written."""
        with (
            impostor() as other,
            impostor(status=status, headers={"Location": other.url}) as server,
            store_at(server.url) as store,
        ):
            with pytest.raises(RemoteUnavailable):
                store.push(NAMESPACE, "a", [row()])
            assert len(server.requests) == 1
            assert other.requests == []

    @pytest.mark.parametrize(
        "body",
        [b"", b"<html><body>Sign in</body></html>", b"[]", b"{}", b"null", b"7", b'"ok"', b"\xff\xfe", b"{"],
    )
    @pytest.mark.parametrize("content_type", ["text/html", "application/json"])
    def test_success_that_proves_nothing(self, body, content_type):
        """A success without the reply of the function counts as nothing written."""
        with (
            impostor(headers={"Content-Type": content_type}, body=body) as server,
            store_at(server.url) as store,
        ):
            with pytest.raises(RemoteUnavailable):
                store.push(NAMESPACE, "a", [row()])
            with pytest.raises((RemoteUnavailable, RemoteRefused)):
                store.check_schema()

    @pytest.mark.parametrize("status", [408, 429, 502, 503, 504, 520, 522])
    def test_busy(self, status):
        """A busy server is tried once, and its wish for a pause is handed on."""
        for call in (lambda store: store.push(NAMESPACE, "a", [row()]), SupabaseStore.check_schema):
            with (
                impostor(status=status, headers={"Retry-After": "7"}, body=b"<html>busy") as server,
                store_at(server.url) as store,
            ):
                with pytest.raises(RemoteUnavailable) as caught:
                    call(store)
                assert caught.value.retry_after == 7
                assert len(server.requests) == 1

    def test_busy__left_alone(self):
        """A server that has asked for a pause is not asked before it is over, and then it is."""
        with (
            impostor(status=429, headers={"Retry-After": "0.2"}) as server,
            store_at(server.url) as store,
        ):
            while len(server.times) < 3:
                with pytest.raises(RemoteUnavailable) as caught:
                    store.check_schema()
                assert 0 < caught.value.retry_after <= 0.2
                time.sleep(0.001)
        assert min(late - early for early, late in pairwise(server.times)) >= 0.2

    @pytest.mark.parametrize("wish", ["soon", "-1", "Wed, 21 Oct 2026 07:28:00 GMT", "nan", "inf"])
    def test_busy__strange_wish(self, wish):
        """A wish for a pause that is no number of seconds is bounded, or none."""
        with impostor(status=503, headers={"Retry-After": wish}) as server, store_at(server.url) as store:
            with pytest.raises(RemoteUnavailable) as caught:
                store.push(NAMESPACE, "a", [row()])
            assert caught.value.retry_after is None or 0 <= caught.value.retry_after <= 3600

    @pytest.mark.parametrize("status", [401, 403])
    def test_refused(self, status):
        """Wrong credentials are for a person to mend."""
        with (
            impostor(status=status, body=b'{"message": "Invalid API key"}') as server,
            store_at(server.url) as store,
        ):
            with pytest.raises(RemoteRefused, match="SUPABASE_KEY"):
                store.push(NAMESPACE, "a", [row()])
            assert len(server.requests) == 1

    @pytest.mark.parametrize("status", [302, 400, 401, 404, 500, 503])
    def test_error__tells_no_key(self, status):
        """Neither an error nor what stands behind it has the key, which some answers repeat."""
        body = json.dumps({"code": "XX000", "message": f"no such key: {KEY}", "details": KEY, "hint": KEY})
        headers = {"Content-Type": "application/json", "Location": f"/?{KEY}"}
        with (
            impostor(status=status, headers=headers, body=body.encode()) as server,
            store_at(server.url) as store,
        ):
            with pytest.raises(SyncError) as caught:
                store.push(NAMESPACE, "a", [row()])
            assert server.requests
        behind = caught.value
        while behind is not None:
            assert KEY not in f"{behind!r} {behind} {behind.args} {vars(behind)}"
            behind = behind.__cause__ or behind.__context__
        modules = {frame.name for frame in caught.traceback}
        assert not modules & {"send", "_judge_status", "execute"}

    @pytest.mark.parametrize(
        ("code", "error"),
        [
            ("22P05", RemoteRejected), ("23514", RemoteRejected), ("54000", RemoteRejected),
            ("P0001", RemoteRejected), ("SUP", RemoteRejected), ("40001", RemoteUnavailable),
            ("57014", RemoteUnavailable), ("53300", RemoteUnavailable), ("55P03", RemoteUnavailable),
            ("XX000", RemoteUnavailable), ("PGRST202", RemoteRefused), ("PGRST205", RemoteRefused),
            ("42501", RemoteRefused), ("42883", RemoteRefused), ("22023", RemoteRefused),
            (None, RemoteUnavailable), ("PGRST003", RemoteUnavailable),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("status", [400, 500])
    def test_error_codes(self, status, code, error):
        """The code of an error decides: wait, call a person, or look for the row."""
        body = json.dumps(
            {"code": code, "message": "hidden value", "details": "hidden", "hint": None}
        ).encode()
        with impostor(status=status, body=body) as server, store_at(server.url) as store:
            with pytest.raises(error) as caught:
                store.push(NAMESPACE, "a", [row()])
            assert "hidden" not in str(caught.value)

    def test_statement_timeout__by_its_words(self):
        """A time limit is one also where the code is lost on the way."""
        body = b'{"code": "SUP", "message": "canceling statement due to statement timeout"}'
        with impostor(status=500, body=body) as server, store_at(server.url) as store:
            with pytest.raises(RemoteUnavailable):
                store.push(NAMESPACE, "a", [row()])
            assert len(server.requests) == 1

    def test_silence(self):
        """A server that does not answer is given up in time."""
        with impostor(delay=2.0) as server, store_at(server.url, timeout_seconds=0.1) as store:
            with pytest.raises(RemoteUnavailable, match="answer"):
                store.push(NAMESPACE, "a", [row()])
            assert len(server.requests) <= 1

    def test_drips(self):
        """A server that sends its answer byte by byte is given up in time, and the next call goes."""
        with (
            impostor(body=b" " * 1000, drip=0.02) as server,
            store_at(server.url, timeout_seconds=0.3) as store,
        ):
            began = time.monotonic()
            with pytest.raises(RemoteUnavailable, match="longer than"):
                store.push(NAMESPACE, "a", [row()])
            assert time.monotonic() - began < 10
            server.answer = (401, {}, b"", 0.0)
            with pytest.raises(RemoteRefused):
                store.push(NAMESPACE, "a", [row()])

    def test_nobody_there(self):
        """A closed port is an outage."""
        with store_at("http://127.0.0.1:1") as store, pytest.raises(RemoteUnavailable):
            store.push(NAMESPACE, "a", [row()])


class TestSecrets:
    @pytest.mark.parametrize("status", [200, 302, 400, 401, 500, 503])
    def test_key__in_no_text(self, status, caplog):
        """The key and the values are in no log line, error or traceback text, nor in the store's repr."""
        caplog.set_level(logging.DEBUG)
        error = {"code": "22P02", "message": f"bad {KEY}", "details": f"{KEY} {VALUE}"}
        body = json.dumps(error).encode()
        with impostor(status=status, body=body) as server, store_at(server.url) as store:
            texts = [repr(store), str(store)]
            try:
                store.push(NAMESPACE, "a", [row(value=VALUE)])
            except Exception as error:
                texts += [str(error), repr(error), *traceback.format_exception(error)]
        shown = "\n".join([*texts, caplog.text])
        assert KEY not in shown
        assert VALUE not in shown

    def test_log__only_ours_silent(self, caplog):
        """What its client logs of requests is missing for ours, and for ours only."""
        caplog.set_level(logging.DEBUG)
        with impostor(body=b"{}") as server, store_at(server.url) as store:
            with pytest.raises(RemoteUnavailable):
                store.push(NAMESPACE, "a", [row()])
            assert "HTTP Request" not in caplog.text
            assert "receive_response" not in caplog.text
            httpx.get(server.url + "/else", trust_env=False)
            assert "/else" in caplog.text
            assert "receive_response" in caplog.text


class TestConstruction:
    @pytest.mark.parametrize("url", ["", "project.supabase.co", "ftp://x.y", "https://"])
    def test_no_address(self, url):
        """An address that is none is refused."""
        with pytest.raises(ImproperlyConfigured, match="SUPABASE_URL"):
            SupabaseStore(url, KEY)

    @pytest.mark.parametrize("role", ["anon", "authenticated"])
    def test_publishable_key(self, role):
        """Keys made for browsers are refused, of the new kind and of the old."""
        claims = base64.urlsafe_b64encode(json.dumps({"role": role}).encode()).rstrip(b"=").decode()
        for key in ("", "sb_publishable_0123", f"e30.{claims}.c2ln"):
            with pytest.raises(ImproperlyConfigured, match="SUPABASE_KEY"):
                SupabaseStore("https://x.supabase.co", key)

    def test_old_service_key(self):
        """The service role's key of the old kind is taken."""
        claims = base64.urlsafe_b64encode(b'{"role": "service_role"}').rstrip(b"=").decode()
        assert SupabaseStore("https://x.supabase.co", f"e30.{claims}.c2ln")

    def test_from_settings(self):
        """The settings name the project; the repr shows its host only."""
        settings = SyncSettings(supabase_url="https://x.supabase.co", supabase_key=KEY, timeout=3)
        assert repr(SupabaseStore.from_settings(settings)) == "<SupabaseStore x.supabase.co>"


class TestServer:
    """Against the real server."""

    def test_publishable_key_of_another_project(self, supalite):
        """A key that the server does not know is refused."""
        store = SupabaseStore(supalite.url, KEY)
        with pytest.raises(RemoteRefused):
            store.push(NAMESPACE, "a", [row()])
        store.close()

    def test_fork(self, supabase_store):
        """A child does not use the connections of its parent."""
        supabase_store.push(NAMESPACE, "a", [row("1:parent", value=1)])
        child = os.fork()
        if child == 0:
            try:
                for number in range(20):
                    reply = supabase_store.push(NAMESPACE, "a", [row(f"1:child:{number}", value=number)])
                    assert reply.applied == {f"1:child:{number}": 1}
                os._exit(0)
            finally:
                os._exit(1)
        for number in range(20):
            reply = supabase_store.push(NAMESPACE, "a", [row(f"1:mine:{number}", value=number)])
            assert reply.applied == {f"1:mine:{number}": 1}
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def test_schema_missing(self, postgres_url):
        """A project without the schema is refused with the command that prints it."""
        with SupaLite(postgres_url) as server, store_at(server.url, key=server.secret_key) as store:
            for call in (store.check_schema, lambda: store.push(NAMESPACE, "a", [row()])):
                with pytest.raises(RemoteRefused, match="callcache_sql"):
                    call()
