"""Small records of which every field differs from one to the next."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from functools import cache

from testproject.crm.bank_calls import read_calls

NEW_YEAR = datetime(2026, 1, 1)
FIRST_NAMES = (
    "Ana",
    "Luis",
    "María",
    "José",
    "Camila",
    "Juan",
    "Sofía",
    "Andrés",
    "Laura",
    "Carlos",
    "Paula",
)
LAST_NAMES = ("García", "Rodríguez", "Martínez", "López", "González", "Pérez", "Sánchez", "Ramírez", "Torres")


@cache
def contacts(number):
    """Records of real contacts, as the sample project caches them."""
    calls = list(read_calls(limit=20_000))
    random.Random(5).shuffle(calls)
    return tuple(
        {
            "id": call.contact,
            "age": call.profile.age,
            "job": call.profile.job,
            "marital_status": call.profile.marital_status,
            "education": call.profile.education,
            "credit_default": call.profile.credit_default,
            "housing_loan": call.profile.housing_loan,
            "personal_loan": call.profile.personal_loan,
            "calls_made": call.attempt,
            "subscriptions": int(call.subscribed),
            "last_called_at": call.started_at.isoformat(),
        }
        for call in calls[:number]
    )


@cache
def leads(number, seed=7):
    """Records with names, numbers and addresses at random: as varied as records get."""
    chance = random.Random(seed)
    return tuple(
        {
            "id": count,
            "name": f"{chance.choice(FIRST_NAMES)} {chance.choice(LAST_NAMES)}",
            "phone": f"+57 3{chance.randrange(10**9):09d}",
            "email": f"{chance.choice(FIRST_NAMES).lower()}{chance.randrange(1000)}@example."
            f"{chance.choice(('com', 'org', 'co'))}",
            "campaign": chance.randrange(500),
            "status": chance.choice(("pending", "answered", "busy", "no_answer", "failed")),
            "attempts": chance.randrange(9),
            "score": round(chance.random(), 4),
            "active": chance.random() < 0.5,
            "last_called_at": (NEW_YEAR + timedelta(seconds=chance.randrange(10**7))).isoformat(),
            "tags": [chance.choice(("vip", "new", "retry", "late")) for _ in range(chance.randrange(4))],
        }
        for count in range(number)
    )
