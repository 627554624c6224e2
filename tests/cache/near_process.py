"""A process with a near cache, told by lines of JSON on its standard input what to do.

It is what the tests of coherence start several of: ``python -m tests.cache.near_process URL LINK``.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback

from tests.cache import process_cache

STALENESS = 1.0
"""MAX_STALENESS of every process here: the least there may be."""


def set_up(url, link):
    """Return the cache of this process, ``LINK`` as told."""
    options = {"RULES": {"k:": {"ttl": 600}}, "NEAR_TTL": 3600, "MAX_STALENESS": STALENESS, "DEADLINE": 20}
    return process_cache.set_up(url, {**options, "LINK": link}, {"STATS": {"FLUSH_INTERVAL": 3600}})


def connect(cache):
    """Let the link start and confirm."""
    cache.get("k:first")
    while cache._runtime.near.confirmed_until < time.monotonic_ns():
        time.sleep(0.002)


def confirm(cache):
    """Wait for a round trip of the link that begins now."""
    asked_after = time.monotonic_ns() + int(STALENESS * 1e9)
    while cache._runtime.near.confirmed_until <= asked_after:
        time.sleep(0.002)


def write(cache, numbers):
    """Write numbers to keys; tell when each was acknowledged."""
    acknowledged = {}
    for key, number in numbers.items():
        cache.set(key, {"key": key, "n": number})
        acknowledged[key] = time.monotonic_ns()
    return acknowledged


def read(cache, keys):
    """The number at each key; a value of another key is reported as such."""
    found = {}
    for key in keys:
        value = cache.get(key)
        assert value is None or value["key"] == key, f"{key} gave {value}"
        found[key] = value and value["n"]
    return found


def mix(cache, own, others, writes, rounds):
    """Write the own keys in turn, reading all in between.

    Returns:
        acknowledged: by key, when each number was acknowledged, numbers counted from 0;
        seen: by key and number, when the last read that gave it began;
        unread: how often a read did not see the own last write;
        backwards: how often a key's number fell.
    """
    acknowledged = {key: [] for key in own}
    seen = {key: {} for key in [*own, *others]}
    last = dict.fromkeys(seen, -1)
    unread = backwards = 0
    for turn in range(writes):
        key = own[turn % len(own)]
        number = len(acknowledged[key])
        cache.set(key, {"key": key, "n": number})
        acknowledged[key].append(time.monotonic_ns())
        unread += cache.get(key)["n"] != number
        for _ in range(rounds):
            for each in seen:
                began = time.monotonic_ns()
                value = cache.get(each)
                number = -1 if value is None else value["n"]
                seen[each][number] = began
                backwards += number < last[each]
                last[each] = number
            time.sleep(0.0005)
    return {"acknowledged": acknowledged, "seen": seen, "unread": unread, "backwards": backwards}


def stream(cache, keys, seconds):
    """Write all keys again and again; tell when each number was acknowledged."""
    acknowledged = {key: [] for key in keys}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for key in keys:
            cache.set(key, {"key": key, "n": len(acknowledged[key])})
            acknowledged[key].append(time.monotonic_ns())
        time.sleep(0.001)
    return acknowledged


def fork(cache, children, keys):
    """Warm up, fork, and let each child tell what it reads when."""
    connect(cache)
    confirm(cache)
    read(cache, keys)
    warm = len(cache._runtime.near)
    pipes = [(os.pipe(), os.pipe()) for _ in range(children)]
    for told, telling in pipes:
        if os.fork() == 0:
            for other, _ in pipes:
                os.close(other[1])  # so that the end of the parent is heard
            _child(cache, keys, told[0], telling[1])
    return Children(pipes), warm


def _child(cache, keys, told, telling):
    try:
        kept = len(cache._runtime.near)
        for step in ("read", "connect", "confirm"):
            if not os.read(told, 1):
                return
            if step == "connect":
                connect(cache)
            elif step == "confirm":
                confirm(cache)
            found = read(cache, keys)
            reply = json.dumps({"kept": kept, "near": len(cache._runtime.near), "found": found})
            os.write(telling, reply.encode().ljust(4000))
    except BaseException:
        traceback.print_exc()
        os.write(telling, b"null".ljust(4000))
    finally:
        os._exit(0)


class Children:
    """Forked processes that do one step after another."""

    def __init__(self, pipes):
        self._pipes = pipes

    def step(self):
        """Let all do their next step; return what each says."""
        for told, _ in self._pipes:
            os.write(told[1], b".")
        return [json.loads(os.read(telling[0], 4000)) for _, telling in self._pipes]


def main():
    """Answer every line with a line."""
    cache = set_up(*sys.argv[1:])
    calls = {
        "write": write,
        "read": read,
        "mix": mix,
        "stream": stream,
        "connect": connect,
        "confirm": confirm,
    }
    children = None
    for line in sys.stdin:
        name, arguments = json.loads(line)
        if name == "fork":
            children, reply = fork(cache, *arguments)
        elif name == "step":
            reply = children.step()
        elif name == "counted":
            reply = cache.counted()["k:"]
        else:
            reply = calls[name](cache, *arguments)
        print(json.dumps(reply), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
