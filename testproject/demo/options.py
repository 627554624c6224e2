"""What the user of the demo may choose."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """One run of the demo."""

    began_at: float
    """Unix seconds at which the command began; the time to play is counted from here."""
    seconds: float | None = None
    """Seconds that the whole demo takes; None: until somebody stops it."""
    port: int = 0
    """TCP port of the site; 0: any that is free."""
    calls: int | None = None
    """Calls to load and play, the first ones of the file; None: all."""
    speed: float | None = None
    """Calls played in a second at most; None: as fast as the site answers."""
    site_processes: int = 2
    """Processes of the site."""
    sync_interval: float = 2.0
    """Seconds between two passes of the sync loop."""

    def to_json(self) -> str:
        """Return these options as one argument of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` made."""
        return cls(**json.loads(text))
