"""What is told of an alert: facts about the cache, never a cached value, a key or a secret."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message, the same for every channel."""

    alert: str
    """Name of the rule."""
    alias: str
    state: str
    """``firing``, ``resolved`` or ``test``."""
    severity: str
    summary: str
    value: float | None
    """What the rule looked at, when the alert fired."""
    threshold: float
    began_at: datetime.datetime
    flaps: int = 0
    """How often it came and went lately."""

    @property
    def title(self) -> str:
        """One line."""
        return f"{self.state.upper()} {self.severity}: {self.alert} (cache {self.alias})"

    @property
    def text(self) -> str:
        """Some lines for people."""
        lines = [self.title, self.summary, f"Since {self.began_at:%Y-%m-%d %H:%M:%S %Z}."]
        if self.value is not None:
            lines.append(f"Value {self.value:.4g}, threshold {self.threshold:.4g}.")
        if self.flaps:
            lines.append(f"It came and went {self.flaps} times before.")
        lines.append(f"What to do: docs/operating.md, section {self.alert}.")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """All facts by name."""
        return {
            "alert": self.alert,
            "alias": self.alias,
            "state": self.state,
            "severity": self.severity,
            "summary": self.summary,
            "value": self.value,
            "threshold": self.threshold,
            "began_at": self.began_at.isoformat(),
            "flaps": self.flaps,
        }


def trial(now: datetime.datetime) -> Notice:
    """Return a notice that says it is none."""
    return Notice(
        alert="test",
        alias="none",
        state="test",
        severity="info",
        summary="A test of this channel: nothing is wrong.",
        value=None,
        threshold=0.0,
        began_at=now,
    )
