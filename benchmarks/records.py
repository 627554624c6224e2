"""Records of three sizes, and records that all differ."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.contenders import CAMPAIGN

SIZES = {"small": 0, "5 kB": 20, "100 kB": 400}
"""How many contacts the campaign of each size has; the sizes are those of its JSON, roughly."""

_STATES = ("answered", "busy", "no answer", "voicemail", "wrong number")


def record(contacts: int) -> dict[str, Any]:
    """A campaign with some contacts."""
    if not contacts:
        return dict(CAMPAIGN)
    return {**CAMPAIGN, "contacts": [contact(random.Random(number)) for number in range(contacts)]}


def contact(chance: random.Random) -> dict[str, Any]:
    """A contact, as unlike others as people are."""
    number = chance.randrange(10**6)
    day, hour, minute = chance.randrange(1, 29), chance.randrange(24), chance.randrange(60)
    return {
        "id": number,
        "name": f"{chance.choice(('Ana', 'Luis', 'Marta', 'Jorge', 'Rosa'))} {number:x}",
        "phone": f"+57 3{chance.randrange(10**9):09}",
        "email": f"{number:x}@example.com",
        "state": chance.choice(_STATES),
        "attempts": chance.randrange(6),
        "balance": round(chance.uniform(-500, 90_000), 2),
        "called_at": f"2026-05-{day:02}T{hour:02}:{minute:02}:00Z",
    }
