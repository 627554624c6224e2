"""The doctor: what is wrong with a cache, why, and what helps.

`examination` gathers facts from Redis, the database and the remote store; `diagnosis` judges them and
knows none of the three.
"""

from __future__ import annotations

from django_callcache.doctor.diagnosis import Finding, diagnose
from django_callcache.doctor.examination import examine

__all__ = ["Finding", "diagnose", "examine"]
