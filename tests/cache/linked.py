"""Caches whose links listen, and what they hold."""

from __future__ import annotations

import time

PATIENCE = 30.0
"""Seconds to wait for what comes in milliseconds on a machine that is not busy."""

OPTIONS = {"RULES": {"k:": {"ttl": 600}}, "NEAR_TTL": 3600, "DEADLINE": 20}


def until(condition):
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.002)


def near_of(cache):
    return cache._runtime.near


def link_of(cache):
    return cache._runtime.link


def watch_of(cache):
    return cache._runtime.watch


def is_confirmed(cache):
    return near_of(cache).confirmed_until > time.monotonic_ns()


def connect_link(cache):
    """Let the link start and confirm."""
    cache.get("k:first")
    until(lambda: is_confirmed(cache))
    return cache


def confirm_anew(cache):
    """Wait for a confirmation that was asked for after now: what was written before has been heard."""
    asked_after = time.monotonic_ns() + int(cache.options.max_staleness * 1e9)
    until(lambda: near_of(cache).confirmed_until > asked_after)


def is_near(cache, key):
    return near_of(cache).find(key) is not None


def keep(cache, key, value):
    """Store a value and let this process hold a copy of it."""
    cache.set(key, value)
    confirm_anew(cache)
    assert cache.get(key) == value
    assert is_near(cache, key)
