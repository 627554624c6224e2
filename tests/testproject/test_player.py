"""Playing calls through the site."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from testproject.crm.bank_calls import read_calls
from testproject.crm.loading import load_calls
from testproject.crm.models import Call, Campaign
from testproject.crm.records import call_record, campaign_record
from testproject.demo import player as players
from testproject.demo.player import Player, Tally


@pytest.fixture
def port(transactional_db, redis_url, live_server):
    load_calls(limit=5)
    return urlsplit(live_server.url).port


def player(port, **options):
    """A player with one desk: the in-memory database of tests has one connection for all threads."""
    return Player(port, desks=1, **options)


class Impatient(BaseHTTPRequestHandler):
    """Answers, and closes a connection that is idle for a moment without a word."""

    protocol_version = "HTTP/1.1"
    timeout = 0.1

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_): ...


class TestIdle:
    def test_get__connection_closed_meanwhile(self, monkeypatch):
        """A connection that the site has closed for its idleness is opened anew."""
        monkeypatch.setattr(players, "IDLE_SECONDS", 0.05)
        tally = Tally()
        with ThreadingHTTPServer(("127.0.0.1", 0), Impatient) as server:
            threading.Thread(target=server.serve_forever).start()
            desk = players._Desk(server.server_port, tally)
            desk.get("/")
            time.sleep(0.5)
            desk.get("/")
            desk.close()
            server.shutdown()
        assert (tally.requests, tally.errors) == (2, 0)


class TestPlay:
    def test_play__all(self, port):
        """Every call is made once, and what the site said it wrote is what it has."""
        made = []
        played = player(port, on_call=lambda: made.append(1))
        tally = played.play(read_calls(limit=5))
        assert (tally.errors, tally.problems) == (0, [])
        assert (tally.calls, tally.requests, len(made)) == (5, 40, 5)
        assert Call.objects.count() == 10
        assert tally.written["campaign:1"] == campaign_record(Campaign.objects.get())
        for call in Call.objects.filter(pk__gt=5):
            assert tally.written[f"call:{call.pk}"] == call_record(call)

    def test_play__time_is_up(self, port):
        """No call begins when time is up."""
        tally = player(port).play(read_calls(limit=5), until=time.monotonic() - 1)
        assert tally.requests == 0

    def test_play__unknown_contact(self, port):
        """What the site refuses is an error, and the next call goes on."""
        calls = list(read_calls(limit=9))
        tally = player(port).play(calls[4:])
        assert tally.calls == 1
        assert tally.errors == 4 * 4  # the call, and three looks at the contact
        assert tally.problems[0]

    def test_open_campaigns__not_there(self, port):
        """A campaign that is not there is an error."""
        opened = player(port)
        opened.open_campaigns([1, 2])
        assert (opened.tally.requests, opened.tally.errors) == (2, 1)

    def test_play__nobody_there(self):
        """A site that does not answer is errors, not an end."""
        tally = player(1).play(read_calls(limit=1))
        assert (tally.requests, tally.errors, tally.calls) == (6, 6, 0)


class TestTally:
    def test_recorded__answers_in_another_order(self):
        """The record with the higher counter is the one written last."""
        tally = Tally()
        for count in (1, 3, 2):
            campaign, contact = {"id": 1, "calls_made": count}, {"id": 4, "calls_made": 1}
            tally.recorded({"call": {"id": count}, "campaign": campaign, "contact": contact})
        assert tally.written["campaign:1"]["calls_made"] == 3
        assert set(tally.written) == {"campaign:1", "contact:4", "call:1", "call:2", "call:3"}
