"""The contract of tags, held on three real nodes."""

from __future__ import annotations

import pytest

from tests.cache.operations.test_tags import *  # noqa: F403 (its fixtures go along)

pytestmark = pytest.mark.long
