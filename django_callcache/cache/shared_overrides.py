"""Pins of TTLs and the pause of what adapts: one hash in Redis, which every process reads with its timer.

It has no TTL and outlives all processes; it ends with the data of Redis. A call of the cache reads nothing of
it: what holds was read before, and is looked at when a policy is asked.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from django_callcache.lua import Script
from django_callcache.ttl import Decision, Override, Overrides, Pin, Policy, TtlParameters

logger = logging.getLogger(__name__)

PAUSE = b"pause"
PIN = b"pin:"
"""What the field of a pin begins with; its prefix follows."""

DROP = Script("""
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
""")
"""Remove a field that still is what was read. KEYS: the hash. ARGV: field, value."""

Kind = TypeVar("Kind", bound=Override)


class SharedOverrides:
    """What this process knows of them. Any number of threads may share one.

    Args:
        when_changed: Called when others hold than before.
    """

    def __init__(self, when_changed: Callable[[], object]) -> None:
        self.known = Overrides()
        """As last read. It is replaced as a whole."""
        self._when_changed = when_changed

    def obey(self, known: Overrides) -> None:
        """Let these hold from now on."""
        if known != self.known:
            self.known = known
            self._when_changed()

    def for_prefix(self, name: str, default_ttl: float) -> Callable[[Decision, float], Decision]:
        """What turns the decisions of a prefix's policy into those that hold.

        Args:
            name: Of the prefix.
            default_ttl: Seconds that its entries get where what adapts is paused.
        """

        def applied(decision: Decision, now: float) -> Decision:
            return self.known.applied(name, decision, now, default_ttl)

        return applied


def default_ttl_of(policy: Policy, parameters: TtlParameters) -> float:
    """Seconds that hold while a policy is paused: within the bounds of those that learn."""
    return parameters.clamp(parameters.default_ttl) if policy.learns else parameters.default_ttl


def written(override: Override) -> bytes:
    """A pin or a pause as Redis keeps it."""
    return msgspec.json.encode(override)


def read_overrides(fields: Mapping[bytes, bytes]) -> Overrides:
    """What the hash holds; a field that nobody of ours wrote is left out."""
    pins: dict[str, Pin] = {}
    pause = None
    for name, text in fields.items():
        if name == PAUSE:
            pause = _read(text, Override)
        elif name.startswith(PIN):
            pin = _read(text, Pin)
            if pin is not None and 0 < pin.ttl_seconds < math.inf:
                pins[name.removeprefix(PIN).decode(errors="replace")] = pin
    return Overrides(pins=pins, pause=pause)


def ended(fields: Mapping[bytes, bytes], now: float) -> dict[bytes, bytes]:
    """The fields that have ended by themselves, or that nobody can read."""
    found = {}
    for name, text in fields.items():
        override = _read(text, Pin if name.startswith(PIN) else Override)
        if override is None or not override.holds(now):
            found[name] = text
    return found


def _read(text: bytes, kind: type[Kind]) -> Kind | None:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        logger.debug("override=unreadable error=%s", type(error).__name__)
        return None
