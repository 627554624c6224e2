"""Caches whose figures are looked at, and Prometheus's programs."""

from __future__ import annotations

import pytest

from testproject.parts.missing import PartMissing
from testproject.parts.prometheus_server import find
from tests.cache.conftest import make_cache, make_caches, start_redis
from tests.conftest import require

__all__ = ["make_cache", "make_caches", "start_redis"]


@pytest.fixture
def prometheus_programs():
    """Prometheus and its tool, found on PATH."""
    for program in ("prometheus", "promtool"):
        try:
            find(program)
        except PartMissing as missing:
            require(str(missing))
