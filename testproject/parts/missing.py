"""The error of a part that this machine does not have."""

from __future__ import annotations


class PartMissing(Exception):
    """A server's program is not to be found, or cannot be run here.

    Args:
        part: What is missing, as people call it.
        command: The one command that installs it.
        reason: Why what is there does not serve, where something is there.
    """

    def __init__(self, part: str, *, command: str, reason: str = "") -> None:
        self.part = part
        self.command = command
        because = f" ({reason})" if reason else ""
        super().__init__(f"{part} is missing{because}. Install it with: {command}")
