"""Places where tests end a process, or raise, to see what a crash there leaves behind.

``CALLCACHE_FAILPOINT=cp4:kill`` kills the process where ``cp4`` is reached, ``cp4:raise`` raises.
The environment is read once, at import; without the variable a place costs one function call.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "CALLCACHE_FAILPOINT"

_place, _, _action = os.environ.get(VARIABLE, "").partition(":")


class FailpointReached(Exception):
    """The place that the environment names was reached."""


def reach(place: str) -> None:
    """Do what the environment asks for at a place; as a rule, nothing."""
    if place != _place:
        return
    if _action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise FailpointReached(place)
