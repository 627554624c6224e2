"""Functions that rules of the tests name to merge two sides."""

from __future__ import annotations

from django_callcache.sync.conflicts import DELETED


def union(key, local, remote):
    """Fields of both sides, the local one's where both have one; a deletion loses."""
    if local is DELETED:
        return remote
    if remote is DELETED:
        return local
    return {**remote, **local}


def nothing(key, local, remote):
    """Delete what two sides quarrel over."""
    return DELETED


def broken(key, local, remote):
    raise ArithmeticError("secret value")
