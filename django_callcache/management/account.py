"""Who runs a command, for the audit, and moments as commands print them."""

from __future__ import annotations

import datetime
import getpass


def account() -> str:
    """Return the account that a command runs under, as the audit names it."""
    try:
        return f"{getpass.getuser()} (manage.py)"
    except (KeyError, OSError):  # no such account in a container without a passwd entry
        return "manage.py"


def moment(seconds: float) -> str:
    """Return a moment in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
