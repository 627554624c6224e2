"""Whether Redis keeps what waits for the remote store, through a crash and a shortage of memory.

``SYNC["REQUIRE_DURABLE"]`` makes writes of synced prefixes depend on it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django_callcache.exceptions import SyncNotRecorded

TRUSTED_SECONDS = 60.0
"""How long a Redis that was found durable is taken for it. One that was not is looked at again each time."""


class Durability:
    """What one process knows of one Redis.

    Args:
        server: How the server is called in messages.
        clock: Monotonic seconds.
    """

    def __init__(self, server: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._trusted_until = float("-inf")

    async def ensure(self, ask: Callable[[str], Awaitable[Any]]) -> None:
        """See that Redis keeps what is written; it is asked once a minute.

        Args:
            ask: Returns the server's answer to a command.

        Raises:
            SyncNotRecorded: It does not.
        """
        if self._clock() < self._trusted_until:
            return
        flaw = flaw_in(read_info(await ask("INFO")))
        if flaw:
            raise SyncNotRecorded(
                f"Redis at {self._server} might lose the write before it is synced: {flaw}. "
                'It was refused since CALLCACHE["SYNC"]["REQUIRE_DURABLE"] is on.'
            )
        self._trusted_until = self._clock() + TRUSTED_SECONDS


def flaw_in(info: Mapping[str, str]) -> str:
    """Return by what a Redis loses what waits, and what helps; empty where it keeps it.

    Args:
        info: What INFO tells.
    """
    if info.get("aof_enabled") != "1":
        return "it keeps no log on disk; set appendonly yes"
    policy = info.get("maxmemory_policy", "")
    if policy.startswith("allkeys") and info.get("maxmemory", "0") != "0":
        return f"it may evict any key ({policy}); set maxmemory-policy volatile-lru or noeviction"
    return ""


def read_info(text: bytes) -> dict[str, str]:
    """Return what INFO lists, by name."""
    lines = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}
