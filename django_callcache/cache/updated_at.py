"""When a cached value's row changed, as the value itself says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils import timezone


def updated_at_of(value: Any, field: str) -> float | None:
    """Unix seconds in a field of a value: an item of a mapping, or an attribute.

    Datetimes, ISO 8601 text and unix seconds are understood; a time without a zone is meant in Django's.
    None where the value has no such field, or nothing of the kind in it.
    """
    stated = value.get(field) if isinstance(value, Mapping) else getattr(value, field, None)
    if isinstance(stated, str):
        try:
            stated = datetime.fromisoformat(stated)
        except ValueError:
            return None
    if isinstance(stated, datetime):
        return (timezone.make_aware(stated) if timezone.is_naive(stated) else stated).timestamp()
    if isinstance(stated, int | float) and not isinstance(stated, bool):
        return float(stated)
    return None
