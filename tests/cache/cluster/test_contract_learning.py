"""The contract of TTLs that learn, held on three real nodes."""

from __future__ import annotations

import pytest

from tests.cache.operations.test_learning import *  # noqa: F403 (its fixtures go along)

pytestmark = pytest.mark.long
