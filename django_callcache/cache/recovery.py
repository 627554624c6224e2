"""Invalidations that did not reach Redis: remembered in this process, made good before anything else is.

A write that fails while Redis is away leaves the old value there. So the key is deleted as soon as Redis
answers again: by the next call, in front of its own commands in the same round trip, or by a thread that
tries once a second, whichever comes first. Where too many keys are concerned, their prefixes are deleted
by SCAN and UNLINK, and until that is done this process reads nothing from Redis.

What a process remembers goes when it ends.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from redis import exceptions as redis_errors

from django_callcache.cache import commands
from django_callcache.cache.drivers import Io
from django_callcache.cache.running import run
from django_callcache.exceptions import RedisFault, RedisUnavailable
from django_callcache.redis_keys import ROOT, RedisKeys

logger = logging.getLogger(__name__)

_now = time.monotonic_ns

MAX_REMEMBERED = 10_000
"""Keys remembered one by one."""
RETRY_SECONDS = (0.5, 1.0)
"""The pause between two tries is drawn from this range, so that processes do not come as one."""
SCAN_COUNT = 500
"""Keys that Redis looks at in one step."""
REFUSED_NS = 1_000_000_000
"""For so long calls see to their own keys alone after the server has refused: all may be thousands."""
AT_ONCE = 1000
"""Keys in one command."""


class AskMany(Protocol):
    """One round trip, as `Io.ask_many` makes it."""

    def __call__(
        self, commands: Sequence[bytes], started: int, *, reads: bool = False
    ) -> Awaitable[list[Any]]: ...


class Recovery:
    """What one alias of this process has to make good.

    Args:
        glob_of: Returns a pattern that matches the keys of a Redis key's prefix.
        make_io: Makes a driver that does not ask this object.
        server: How the server is called in messages.
        keys: Names the fences. Those of the keys concerned go with whatever is deleted: without them nothing
            is stored that was computed, and nothing served stale that was kept, before this.
    """

    def __init__(
        self, glob_of: Callable[[bytes], bytes], make_io: Callable[[], Io], server: str, keys: RedisKeys
    ) -> None:
        self._keys = keys
        self._glob_of = glob_of
        self._make_io = make_io
        self._server = server
        self._stopped = threading.Event()
        self.forget()

    def forget(self) -> None:
        """Start anew in a forked child: what was lost is for the parent to make good."""
        self._lock = threading.Lock()
        self._lost: dict[bytes, int] = {}
        self._globs: dict[bytes, int] = {}
        self._number = 0
        self._thread: threading.Thread | None = None
        self._refused_until = 0
        self.is_pending = False
        """Whether anything is to be made good."""

    def stop(self) -> None:
        """Try no more by a thread of its own."""
        self._stopped.set()

    def remember(self, lost: Iterable[bytes]) -> None:
        """Remember that these keys are to be deleted, in this order, behind what is remembered already."""
        with self._lock:
            self._number += 1
            for key in lost:
                self._lost.pop(key, None)
                self._lost[key] = self._number
            if len(self._lost) > MAX_REMEMBERED:
                # Internal keys, those of tags, have no prefix to be found by.
                for key in [key for key in self._lost if not key.startswith(ROOT)]:
                    self._globs[self._glob_of(key)] = self._number
                    del self._lost[key]
                logger.warning("redis=%s lost_writes=overflow prefixes=%d", self._server, len(self._globs))
        self._begin()

    def remember_glob(self, glob: bytes) -> None:
        """Remember that the keys that match are to be deleted."""
        with self._lock:
            self._number += 1
            self._globs[glob] = self._number
        self._begin()

    async def first(
        self,
        ask_many: AskMany,
        asked: Sequence[bytes],
        started: int,
        *,
        reads: bool,
        concerns: Callable[[bytes], bool] | None = None,
    ) -> list[Any]:
        """Make good what is remembered key by key, then carry out a call, in one round trip.

        Args:
            ask_many: Carries out the call.
            asked: Its commands.
            started: When it began.
            reads: Whether it changes nothing.
            concerns: Tells which keys are to be made good before this call; left out, all.

        Raises:
            RedisUnavailable: The call reads what has to be deleted first, or whole prefixes have to be.
        """
        if reads and self._globs:
            raise RedisUnavailable(
                f"Redis at {self._server} is back; what was invalidated meanwhile is being deleted first."
            )
        lost = [each for each in self._remembered() if concerns is None or concerns(each[0])]
        if _now() < self._refused_until:
            lost = _among(lost, asked)
        deletions = self._deletions(lost)
        replies = await ask_many([*deletions, *asked], started, reads=reads)
        is_good = self._made_good(lost, replies[: len(deletions)])
        if reads and not is_good and _among(lost, asked):
            raise RedisUnavailable(
                f"Redis at {self._server} holds a value that was replaced or deleted, and refuses to drop it."
            )
        return replies[len(deletions) :]

    async def replay(self, io: Io) -> None:
        """Make everything good.

        Raises:
            RedisFault: Redis is not back yet; what is not done stays remembered.
        """
        lost = self._remembered()
        if lost:
            self._made_good(lost, await io.ask_many(self._deletions(lost), _now()))
        for glob, number in list(self._globs.items()):
            fences = self._keys.fences()
            for at in range(0, len(fences), AT_ONCE):
                _answer(await io.ask(commands.of_keys(b"UNLINK", fences[at : at + AT_ONCE]), _now()))
            await _delete_matching(io, glob)
            with self._lock:
                if self._globs.get(glob) == number:
                    del self._globs[glob]
                self._look()

    def _begin(self) -> None:
        self.is_pending = True
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            thread = threading.Thread(target=self._keep_trying, name="callcache-recovery", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is shutting down, or is out of threads
                return
            self._thread = thread

    def _keep_trying(self) -> None:
        io = self._make_io()
        while not self._stopped.wait(random.uniform(*RETRY_SECONDS)):  # noqa: S311
            try:
                run(self.replay(io))
            except (RedisFault, redis_errors.RedisError) as fault:
                logger.debug("redis=%s recovery=waits error=%s", self._server, type(fault).__name__)
            with self._lock:
                self._look()
                if not self.is_pending:
                    self._thread = None
                    return

    def _remembered(self) -> list[tuple[bytes, int]]:
        with self._lock:
            return list(self._lost.items())

    def _made_good(self, lost: Sequence[tuple[bytes, int]], replies: Sequence[Any]) -> bool:
        """Forget what was carried out, unless it was lost again meanwhile; tell whether it was."""
        if any(isinstance(reply, redis_errors.ResponseError) for reply in replies):
            # A replica, a full disk, or a user who may not: it stays remembered, for the thread to try.
            self._refused_until = _now() + REFUSED_NS
            return False
        with self._lock:
            for key, number in lost:
                if self._lost.get(key) == number:
                    del self._lost[key]
            self._look()
        return True

    def _deletions(self, lost: Sequence[tuple[bytes, int]]) -> list[bytes]:
        fences = dict.fromkeys(self._keys.fence(key) for key, _ in lost)
        keys = [*fences, *(key for key, _ in lost)]
        return [commands.of_keys(b"UNLINK", keys[at : at + AT_ONCE]) for at in range(0, len(keys), AT_ONCE)]

    def _look(self) -> None:
        if self.is_pending and not self._lost and not self._globs:
            logger.info("redis=%s lost_writes=made_good", self._server)
            self.is_pending = False


def _among(lost: Sequence[tuple[bytes, int]], asked: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Those of the keys that some commands are about."""
    words = set(_words_of(asked))
    return [(key, number) for key, number in lost if key in words]


def _words_of(asked: Sequence[bytes]) -> Iterator[bytes]:
    """The words of packed commands (Redis documentation, "RESP": arrays of bulk strings)."""
    for command in asked:
        at = 0
        while (start := command.find(b"$", at)) >= 0:
            end = command.index(b"\r\n", start)
            at = end + 2 + int(command[start + 1 : end])
            yield command[end + 2 : at]


async def _delete_matching(io: Io, glob: bytes) -> None:
    cursor: Any = b"0"
    while True:
        scan = commands.command("SCAN", cursor, "MATCH", glob, "COUNT", SCAN_COUNT)
        cursor, page = _answer(await io.ask(scan, _now(), reads=True))
        values = [key for key in page if not key.startswith(ROOT)]
        if values:
            _answer(await io.ask(commands.of_keys(b"UNLINK", values), _now()))
        if cursor == b"0":
            return


def _answer(reply: Any) -> Any:
    if isinstance(reply, redis_errors.ResponseError):
        raise reply
    return reply
