"""Rubbish on the channels by which near caches hear of changes: it costs hits, and nothing else (F-S19)."""

from __future__ import annotations

import os
import time
from itertools import cycle, islice

import pytest

from tests.cache.linked import confirm_anew, is_near, keep, near_of, until

RUBBISH = [b"", b"garbage", b"\xc1" * 50, b"\x91\xa1x", b"\x81\x01\x02", b"\x93", b"t:1:k:a", b"*1\r\n"]
LARGE = os.urandom(1 << 20)


@pytest.fixture(params=["tracked", "announced"])
def near(request, make_near, deny, monkeypatch):
    """A cache whose link listens, by the server's word or by that of other writers; it counts flushes."""
    location = {"location": deny("-client|tracking")} if request.param == "announced" else {}
    cache = make_near(**location)
    keep(cache, "k:a", 1)
    near = near_of(cache)
    empty, near.flushes = near.empty, 0

    def counted():
        near.flushes += 1
        empty()

    monkeypatch.setattr(near, "empty", counted)
    return cache


def channel_of(cache):
    """Where it listens."""
    is_tracking = cache._runtime.watch.is_tracking
    return b"__redis__:invalidate" if is_tracking else cache.redis_keys.near_channel()


class Flood:
    """Messages without sense, and reads meanwhile.

    Args:
        cache: What reads.
        client: Who publishes.
    """

    def __init__(self, cache, client):
        self._cache = cache
        self._client = client
        self._channel = channel_of(cache)
        self.sent = 0
        self.wrong = []

    def send(self, number):
        """Publish so many, and look."""
        with self._client.pipeline(transaction=False) as pipeline:
            for message in islice(cycle(RUBBISH), number):
                pipeline.publish(self._channel, message)
            pipeline.execute()
        self.sent += number
        if (found := self._cache.get("k:a")) != 1:
            self.wrong.append(found)

    def send_large(self):
        """Publish a megabyte."""
        self._client.publish(self._channel, LARGE)
        self.sent += 1


def ensure_unharmed(cache, client, flood, began):
    """See that nothing was read wrongly, little flushed, and that the link hears as before."""
    near = near_of(cache)
    assert flood.wrong == []
    confirm_anew(cache)  # behind all that was published
    assert near.flushes <= 1 + (time.monotonic() - began)
    until(lambda: cache.get("k:a") == 1 and is_near(cache, "k:a"))
    if cache._runtime.watch.is_tracking:
        client.set("t:1:k:a", 2)
    else:
        client.publish(channel_of(cache), b"\x91\xc4\x07t:1:k:a")
        client.set("t:1:k:a", 2)
    until(lambda: cache.get("k:a") == 2)


class TestRubbish:
    @pytest.mark.usefixtures("hurried_links")
    def test_flood(self, near, redis_client):
        """Thousands of messages change no value, flush once a second at most, and the link goes on."""
        flood, began = Flood(near, redis_client), time.monotonic()
        for _ in range(20):
            flood.send(100)
        flood.send_large()
        ensure_unharmed(near, redis_client, flood, began)

    @pytest.mark.long
    def test_flood__ten_thousand_a_second(self, near, redis_client, capsys):
        """So do ten thousand a second, and a megabyte each second, for ten seconds."""
        flood, began = Flood(near, redis_client), time.monotonic()
        for turn in range(1000):
            flood.send(100)
            if turn % 100 == 0:
                flood.send_large()
            time.sleep(max(0.0, began + turn * 0.01 - time.monotonic()))
        took = time.monotonic() - began
        with capsys.disabled():
            print(f"\n{flood.sent / took:,.0f} messages/s, {near_of(near).flushes} flushes in {took:.1f} s")  # noqa: T201
        ensure_unharmed(near, redis_client, flood, began)
