"""Operations that compute what is missing."""

from __future__ import annotations

from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from django_callcache.cache.operations.base import FAILED, MISSING
from django_callcache.cache.operations.entries import EntryOperations
from django_callcache.cache.value_keys import Key


class FillOperations(EntryOperations):
    """Values that callers bring along the means to compute."""

    async def get_or_set(
        self, key: Key, default: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """The value at a key; where there is none, ``default`` (called if callable) is stored and returned.

        A None that the callable returns is stored like any value. The asyncio method takes
        coroutine functions too.
        """
        value = await self.read(key, version, missing=MISSING, failed=FAILED)
        if value is not MISSING and value is not FAILED:
            return value
        computed = await self._io.call(default) if callable(default) else default
        # A server that has just failed is not asked again: the caller has waited long enough.
        if value is FAILED or await self.add(key, computed, timeout, version):
            return computed
        return await self.read(key, version, missing=computed, failed=computed)  # somebody was faster
