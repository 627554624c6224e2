"""The runtimes of this process: one for each alias, made anew in a forked child.

Django makes a backend object for every thread and every asynchronous context, so a hundred request tasks
make a hundred of them. All that must be there once is found here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

from django.core.signals import setting_changed
from django.dispatch import receiver

from django_callcache.cache.reach import Shared
from django_callcache.cache.runtime import Runtime
from django_callcache.conf import SOURCES, UNSET

_runtimes: dict[tuple[Any, ...], tuple[Any, Runtime]] = {}
_shared = Shared()
_lock = threading.Lock()


def runtime_of(server: Any, params: Mapping[str, Any]) -> Runtime:
    """The runtime of an alias, made when it is first asked for."""
    options = params.get("OPTIONS")
    # The options are told apart by identity, which is safe as long as the registry holds them.
    key = (
        str(server),
        id(options) if options else 0,
        params.get("KEY_PREFIX", ""),
        params.get("VERSION", 1),
        params.get("TIMEOUT", UNSET),
        params.get("KEY_FUNCTION"),
        params.get("REVERSE_KEY_FUNCTION"),
    )
    known = _runtimes.get(key)
    if known is not None:
        return known[1]
    runtime = Runtime(server, params, _shared)
    with _lock:
        return _runtimes.setdefault(key, (options, runtime))[1]


def runtimes() -> list[Runtime]:
    """Every runtime of this process."""
    return [runtime for _, runtime in list(_runtimes.values())]


@receiver(setting_changed)
def _forget_settings(*, setting: str, **_: object) -> None:
    if setting in SOURCES:
        for runtime in runtimes():
            runtime.close()
        _runtimes.clear()
        _shared.clear()


def _forget_parent() -> None:
    global _lock
    _lock = threading.Lock()
    _shared.forget()
    for runtime in runtimes():
        runtime.forget()


os.register_at_fork(after_in_child=_forget_parent)
