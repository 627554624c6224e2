"""Who runs a command, for the audit."""

from __future__ import annotations

import getpass


def account() -> str:
    """Return the account that a command runs under, as the audit names it."""
    try:
        return f"{getpass.getuser()} (manage.py)"
    except (KeyError, OSError):  # no such account in a container without a passwd entry
        return "manage.py"
