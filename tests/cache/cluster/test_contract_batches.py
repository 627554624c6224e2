"""The contract of many keys, held on three real nodes."""

from __future__ import annotations

import pytest

from tests.cache.operations.test_batches import *  # noqa: F403 (its fixtures go along)

pytestmark = pytest.mark.long
