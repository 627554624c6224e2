"""Signals of this app. What receivers raise is logged and stops nothing.

Receivers of `cache_synced` run in the loop. Those of the other signals run inside the cache call that sends
them, before it returns, and cost it their time: they must be quick. As long as nobody is connected, a cache
call does not send anything.

A call through an ``a…`` method awaits asynchronous receivers; blocking ones it runs in a thread, as Django's
``Signal.asend_robust`` does. A blocking call runs asynchronous receivers to their end in a loop of their
own. A receiver that uses a cache itself causes no further signals.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.dispatch import Signal

logger = logging.getLogger(__name__)

_is_telling: ContextVar[bool] = ContextVar("callcache_is_telling", default=False)

_when_changed: list[Callable[[], object]] = []


class CacheSignal(Signal):
    """A signal about a cache call. ``receivers`` is empty as long as nobody listens.

    Receivers may be connected to one alias by ``sender="default"``.
    """

    def connect(
        self,
        receiver: Callable[..., Any],
        sender: object = None,
        weak: bool = True,
        dispatch_uid: Any = None,
    ) -> None:
        """See ``django.dispatch.Signal.connect``."""
        super().connect(receiver, _same(sender), weak, dispatch_uid)
        _changed()

    def disconnect(
        self, receiver: Callable[..., Any] | None = None, sender: object = None, dispatch_uid: Any = None
    ) -> bool:
        """See ``django.dispatch.Signal.disconnect``."""
        disconnected = super().disconnect(receiver, _same(sender), dispatch_uid)
        _changed()
        return disconnected

    def tell(self, sender: str, **details: Any) -> None:
        """Send from a blocking call."""
        if _is_telling.get():
            return
        before = _is_telling.set(True)
        try:
            self.send_robust(_same(sender), **details)
        except Exception:  # an asynchronous receiver, and this thread has a running loop
            logger.exception("alias=%s signal=not-sent", sender)
        finally:
            _is_telling.reset(before)

    async def atell(self, sender: str, **details: Any) -> None:
        """Send from a call on an event loop."""
        if _is_telling.get():
            return
        before = _is_telling.set(True)
        try:
            await self.asend_robust(_same(sender), **details)
        finally:
            _is_telling.reset(before)


def when_changed(callback: Callable[[], object]) -> None:
    """Call something whenever a receiver of a `CacheSignal` is connected or disconnected."""
    _when_changed.append(callback)


def are_reads_heard() -> bool:
    """Tell whether somebody may listen to hits or misses."""
    return bool(cache_hit.receivers or cache_miss.receivers)


def _same(sender: object) -> object:
    """The one object that stands for an alias: Django tells senders apart by identity."""
    return sys.intern(sender) if type(sender) is str else sender


def _changed() -> None:
    for callback in _when_changed:
        callback()


cache_synced = Signal()
"""A sync pass has ended, well or not.

Arguments: ``sender`` the cache alias, ``report`` a ``django_callcache.sync.sync_pass.SyncReport``.
"""

cache_hit = CacheSignal()
"""A read has found a value.

Arguments: ``sender`` the cache alias, ``key`` as the caller wrote it, ``version`` an integer, ``near``
whether the value came from this process's near cache.
"""

cache_miss = CacheSignal()
"""A read has found none.

Arguments: as for `cache_hit`; ``near`` whether this process knew that there is none.
"""

cache_written = CacheSignal()
"""A value was stored: set, added, filled in, counted or moved.

Arguments: ``sender`` the cache alias, ``key`` as the caller wrote it, ``version`` an integer. A new timeout
alone is no write.
"""

cache_deleted = CacheSignal()
"""A key was deleted by its name, or would have been: there may have been nothing.

Arguments: as for `cache_written`.
"""

cache_invalidated = CacheSignal()
"""Entries were dropped together, how many ever it were.

Arguments: ``sender`` the cache alias, ``kind`` one of ``"tags"``, ``"pattern"``, ``"prefix"``, ``"clear"``
and ``"flush"``, ``names`` a tuple of the tags, or of the one pattern or prefix, ``removed`` the number of
tags that were in use or of keys deleted, None where it is not known.
"""

cache_alert = Signal()
"""An alert fires or is resolved, whether or not it is told to any channel.

Arguments: ``sender`` the cache alias, ``alert`` its ``django_callcache.models.CacheAlert``.
"""
