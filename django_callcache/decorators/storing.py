"""How the results of ``cached()`` are kept: in which cache, for how long, and whether at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache

from django_callcache.cache import CallCache
from django_callcache.cache.filling import FillContext
from django_callcache.decorators.call_keys import CallKeys

MISSING: Any = object()


class Call:
    """One call of a function."""

    def __init__(
        self, function: Callable[..., Any], keys: CallKeys, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self._function = function
        self._keys = keys
        self._args = args
        self._kwargs = kwargs

    @cached_property
    def key(self) -> str:
        """Where its result is kept."""
        return self._keys.of(self._args, self._kwargs)

    @property
    def tags(self) -> dict[str, tuple[str, ...]]:
        """What stores its result with its tags: a keyword argument, or none."""
        tags = self._keys.tags_of(self._args, self._kwargs)
        return {"tags": tags} if tags else {}

    def run(self) -> Any:
        """Call the function; what a coroutine function returns is to be awaited."""
        return self._function(*self._args, **self._kwargs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """Reads and keeps results.

    A cache of another backend, such as a dummy in tests, is used by Django's own methods; it knows
    no tags.
    """

    alias: str
    timeout: Any
    """Seconds, None for ever, or Django's mark for the cache's own choice."""
    version: int | None
    condition: Callable[[Any], bool] | None
    """Tells which results are kept; None: all."""
    filling: Mapping[str, Any]
    """Keyword arguments of ``get_or_set``."""

    @property
    def _cache(self) -> BaseCache:
        return caches[self.alias]

    def result(self, call: Call) -> Any:
        """The result that is kept, else the call's."""
        cache = self._cache
        if not isinstance(cache, CallCache):
            value = cache.get(call.key, MISSING, self.version)
            return self.refreshed(call) if value is MISSING else value
        return self._computed(cache, call)

    async def aresult(self, call: Call) -> Any:
        """The same for a coroutine function."""
        cache = self._cache
        if not isinstance(cache, CallCache):
            value = await cache.aget(call.key, MISSING, self.version)
            return await self.arefreshed(call) if value is MISSING else value
        return await self._acomputed(cache, call)

    def refreshed(self, call: Call) -> Any:
        """The call's result, kept over what was there."""
        cache = self._cache
        if isinstance(cache, CallCache):
            return self._computed(cache, call, force=True)
        value = call.run()
        if self._is_kept(value):
            cache.set(call.key, value, self.timeout, self.version)
        return value

    async def arefreshed(self, call: Call) -> Any:
        """The same for a coroutine function."""
        cache = self._cache
        if isinstance(cache, CallCache):
            return await self._acomputed(cache, call, force=True)
        value = await call.run()
        if self._is_kept(value):
            await cache.aset(call.key, value, self.timeout, self.version)
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

    def _computed(self, cache: CallCache, call: Call, **options: Any) -> Any:
        def compute(context: FillContext) -> Any:
            return self._considered(call.run(), context)

        options = {**self.filling, **call.tags, **options}
        return cache.get_or_set(call.key, compute, self.timeout, self.version, **options)

    async def _acomputed(self, cache: CallCache, call: Call, **options: Any) -> Any:
        async def compute(context: FillContext) -> Any:
            return self._considered(await call.run(), context)

        options = {**self.filling, **call.tags, **options}
        return await cache.aget_or_set(call.key, compute, self.timeout, self.version, **options)

    def _is_kept(self, value: Any) -> bool:
        return self.condition is None or self.condition(value)

    def _considered(self, value: Any, context: FillContext) -> Any:
        """A result, which is not kept where the condition says so."""
        if not self._is_kept(value):
            context.skip()
        return value
