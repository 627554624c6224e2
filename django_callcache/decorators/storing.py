"""How the results of ``cached()`` are kept: in which cache, for how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache

from django_callcache.cache import CallCache
from django_callcache.decorators.call_keys import CallKeys

MISSING: Any = object()


class Call:
    """One call of a function."""

    def __init__(
        self, function: Callable[..., Any], keys: CallKeys, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self.run = partial(function, *args, **kwargs)
        self._keys = keys

    @cached_property
    def key(self) -> str:
        """Where its result is kept."""
        return self._keys.of(self.run.args, self.run.keywords)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """Reads and keeps results.

    A cache of another backend, such as a dummy in tests, is used by Django's own methods.
    """

    alias: str
    timeout: Any
    """Seconds, None for ever, or Django's mark for the cache's own choice."""
    version: int | None

    @property
    def _cache(self) -> BaseCache:
        return caches[self.alias]

    def result(self, call: Call) -> Any:
        """The result that is kept, else the call's."""
        return self._cache.get_or_set(call.key, call.run, self.timeout, self.version)

    async def aresult(self, call: Call) -> Any:
        """The same for a coroutine function."""
        cache = self._cache
        if isinstance(cache, CallCache):
            return await cache.aget_or_set(call.key, call.run, self.timeout, self.version)
        value = await cache.aget(call.key, MISSING, self.version)
        return await self.arefreshed(call) if value is MISSING else value

    def refreshed(self, call: Call) -> Any:
        """The call's result, kept over what was there."""
        value = call.run()
        self._cache.set(call.key, value, self.timeout, self.version)
        return value

    async def arefreshed(self, call: Call) -> Any:
        """The same for a coroutine function."""
        value = await call.run()
        await self._cache.aset(call.key, value, self.timeout, self.version)
        return value

    def get(self, call: Call) -> Any:
        """The result that is kept, or None."""
        return self._cache.get(call.key, None, self.version)

    async def aget(self, call: Call) -> Any:
        """The same for asyncio."""
        return await self._cache.aget(call.key, None, self.version)

    def delete(self, call: Call) -> bool:
        """Delete what is kept; tell whether there was something."""
        return self._cache.delete(call.key, self.version)

    async def adelete(self, call: Call) -> bool:
        """The same for asyncio."""
        return await self._cache.adelete(call.key, self.version)
