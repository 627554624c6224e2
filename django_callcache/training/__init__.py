"""Training of zstd dictionaries: from values in Redis to a dictionary that the processes share.

What it asks of a cache stands in `subject`; how a process uses a dictionary, in ``cache.dictionaries``.
"""

from __future__ import annotations

from django_callcache.training.copies import keep, prune, restore
from django_callcache.training.learning import Trial, learn

__all__ = ["Trial", "keep", "learn", "prune", "restore"]
