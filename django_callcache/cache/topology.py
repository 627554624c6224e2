"""Which node of a Redis Cluster has which slot, as redis-py finds it out, and who wants to know of changes.

Asking is done by a thread of its own, one at a time: callers wait for it no longer than for anything else,
whether the nodes are silent or not there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple
from zlib import crc32

from redis import exceptions as redis_errors

from django_callcache.redis_keys import SLOTS

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 0.2
"""Pause between two looks that nobody waits for: a node that fails fails many calls at once."""


class Node(NamedTuple):
    """Where a node listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Topology:
    """The slots of one cluster, for all aliases of this process that lie there.

    Args:
        make_client: Makes a ``redis.RedisCluster``, which looks at the cluster when it is made.
        label: How the cluster is called in messages.
    """

    def __init__(self, make_client: Callable[[], Any], label: str) -> None:
        self._make_client = make_client
        self.label = label
        self._when_changed: list[Callable[[], None]] = []
        self.forget()

    def forget(self) -> None:
        """Start anew in a forked child: sockets and threads are the parent's."""
        self._lock = threading.Lock()
        self._client: Any = None
        self._looking: Future[None] | None = None
        self._looked_at = 0.0
        self.slots: list[Node | None] | None = None
        """The primary of each slot; None before the first look."""
        self.primaries: tuple[Node, ...] = ()
        """Each once, in an order that all callers share."""
        self.mark = 0
        """A number that is the same in all processes as long as the slots are; 0 before the first look."""

    def when_changed(self, follow: Callable[[], None]) -> None:
        """Call ``follow`` whenever slots have moved; it may be called by any thread."""
        self._when_changed.append(follow)

    def look(self) -> Future[None]:
        """Look at the cluster; the future ends when it was seen, or holds what was in the way."""
        with self._lock:
            if self._looking is not None:
                return self._looking
            looking: Future[None] = Future()
            looking.set_running_or_notify_cancel()  # a waiter that gives up gives up for nobody else
            thread = threading.Thread(
                target=self._look, args=(looking,), name="callcache-topology", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # the interpreter is shutting down, or is out of threads
                looking.set_exception(redis_errors.ConnectionError(str(error)))
                return looking
            self._looking = looking
            return looking

    def look_soon(self, pause_seconds: float = AGAIN_SECONDS) -> Future[None] | None:
        """Look at the cluster, unless that was done a moment ago: None then."""
        if time.monotonic() - self._looked_at > pause_seconds:
            return self.look()
        return None

    def moved(self, slot: int, node: Node) -> None:
        """Take note that a slot is another node's, as a node has said."""
        slots = self.slots
        if slots is not None and slots[slot] != node:
            self._take([*slots[:slot], node, *slots[slot + 1 :]])
            self.look_soon()

    def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _look(self, looking: Future[None]) -> None:
        try:
            slots = self._seen()
        except Exception as error:
            logger.debug("cluster=%s topology=unknown error=%s", self.label, type(error).__name__)
            failure: Exception | None = error
        else:
            self._take(slots)
            failure = None
        with self._lock:
            self._looked_at = time.monotonic()
            self._looking = None
        if failure is None:
            looking.set_result(None)
        else:
            looking.set_exception(failure)

    def _seen(self) -> list[Node | None]:
        if self._client is None:
            self._client = self._make_client()
        else:
            try:
                self._client.nodes_manager.initialize()
            except (redis_errors.RedisError, redis_errors.RedisClusterException):
                # All nodes known have gone; those stated in the settings may be there.
                self.close()
                self._client = self._make_client()
        known = self._client.nodes_manager.slots_cache
        found = {slot: nodes[0] for slot, nodes in known.items()}
        return [Node(found[slot].host, found[slot].port) if slot in found else None for slot in range(SLOTS)]

    def _take(self, slots: list[Node | None]) -> None:
        if slots == self.slots:
            return
        self.mark = crc32(repr(slots).encode()) | 1
        self.slots = slots
        self.primaries = tuple(sorted({node for node in slots if node is not None}))
        logger.info("cluster=%s primaries=%s", self.label, ",".join(map(str, self.primaries)))
        for follow in list(self._when_changed):
            follow()
