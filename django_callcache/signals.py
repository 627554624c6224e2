"""Signals of this app. Receivers run in the loop, never in a cache call; what they raise is logged."""

from __future__ import annotations

from django.dispatch import Signal

cache_synced = Signal()
"""A sync pass has ended, well or not.

Arguments: ``sender`` the cache alias, ``report`` a ``django_callcache.sync.sync_pass.SyncReport``.
"""
