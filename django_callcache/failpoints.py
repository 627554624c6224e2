"""Places where tests end a process, or raise, to see what a crash there leaves behind.

``CALLCACHE_FAILPOINT=cp4:kill`` kills the process where ``cp4`` is reached, ``cp4:raise`` raises, and
``cp4:stop`` stops it until somebody sends SIGCONT; ``cp4:stop:kill`` does one after the other. It happens
once. The environment is read once, at import; without the variable a place costs one function call.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "CALLCACHE_FAILPOINT"

_place = ""
_actions: tuple[str, ...] = ()


class FailpointReached(Exception):
    """The place that the environment names was reached."""


def arm(text: str) -> None:
    """Choose the place and what happens there, as the environment does; an empty text: nothing, nowhere.

    Raises:
        ValueError: There is no such action.
    """
    global _place, _actions
    place, *actions = text.split(":")
    if unknown := set(actions) - {"kill", "raise", "stop"}:
        raise ValueError(f"{VARIABLE} knows kill, raise and stop, not {', '.join(sorted(unknown))}")
    _place, _actions = place, tuple(actions)


def reach(place: str) -> None:
    """Do what was asked for at a place; as a rule, nothing."""
    global _place
    if place != _place:
        return
    _place = ""
    for action in _actions:
        if action == "raise":
            raise FailpointReached(place)
        os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)


arm(os.environ.get(VARIABLE, ""))
