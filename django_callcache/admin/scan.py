"""A walk over keys that costs Redis little: it stops after some steps or a fifth of a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import cast

import redis

COUNT = 500
"""Keys that Redis looks at in one step."""
CALLS = 20
SECONDS = 0.2
"""What a walk may cost: twenty steps of five hundred keys, or a fifth of a second."""


class Scan:
    """One walk.

    Args:
        client: Of the server.
        glob: Over keys as Redis holds them.
        cursor: Where an earlier walk stopped; 0 for the beginning.
        first: Keys of the first step; left out, as many as of any other.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        client: redis.Redis,
        glob: str | bytes,
        *,
        cursor: int = 0,
        first: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._glob = glob
        self._first = first or COUNT
        self._clock = clock
        self._started = clock()
        self._calls = 0
        self.cursor = cursor
        """Where to go on; 0 at the end."""
        self.total = client.dbsize()
        """Keys in the database."""

    def pages(self) -> Iterator[list[bytes]]:
        """Yield the keys of each step, until the end or until the walk has cost enough."""
        while not self._calls or self.cursor:
            if self._calls >= CALLS or (self._calls and self.seconds >= SECONDS):
                return
            count = COUNT if self._calls else self._first
            found = self._client.scan(self.cursor, match=self._glob, count=count)
            self.cursor, page = cast("tuple[int, list[bytes]]", found)
            self._calls += 1
            yield page

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self._clock() - self._started

    @property
    def looked_at(self) -> int:
        """Keys of the database that were looked at, roughly: Redis goes through its table in steps."""
        return min(self._first + (self._calls - 1) * COUNT, self.total) if self.cursor else self.total
