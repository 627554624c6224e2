"""OpenTelemetry spans of cache calls: a backend to name in ``CACHES`` instead of ``CallCache``.

One span a call of the site, none for what goes on inside. No key and no value is in a span. Without an
SDK the API's own no-op spans cost about a microsecond; without this backend nothing is traced at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from django_callcache import __version__
from django_callcache.cache import CallCache

TRACER = "django_callcache"

_MISSING: Any = object()


class TracedCallCache(CallCache):
    """``CallCache`` with spans ``callcache get``, ``callcache set`` and so on.

    Attributes are OpenTelemetry's for databases (``db.system.name``, ``db.operation.name``,
    ``db.operation.batch.size``) and ``callcache.alias``, ``cache.hit`` and, of many keys, ``cache.hits``.
    """

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        with self._span("get") as span:
            return _noted(span, super().get(key, _MISSING, version), default)

    async def aget(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        with self._span("get") as span:
            return _noted(span, await super().aget(key, _MISSING, version), default)

    def get_many(self, keys: Any, *args: Any, **kwargs: Any) -> Any:
        with self._span("get_many", keys := list(keys)) as span:
            found = super().get_many(keys, *args, **kwargs)
            span.set_attribute("cache.hits", len(found))
            return found

    async def aget_many(self, keys: Any, *args: Any, **kwargs: Any) -> Any:
        with self._span("get_many", keys := list(keys)) as span:
            found = await super().aget_many(keys, *args, **kwargs)
            span.set_attribute("cache.hits", len(found))
            return found

    def set(self, *args: Any, **kwargs: Any) -> Any:
        with self._span("set"):
            return super().set(*args, **kwargs)

    async def aset(self, *args: Any, **kwargs: Any) -> Any:
        with self._span("set"):
            return await super().aset(*args, **kwargs)

    def set_many(self, data: Mapping[Any, Any], *args: Any, **kwargs: Any) -> Any:
        with self._span("set_many", data):
            return super().set_many(data, *args, **kwargs)

    async def aset_many(self, data: Mapping[Any, Any], *args: Any, **kwargs: Any) -> Any:
        with self._span("set_many", data):
            return await super().aset_many(data, *args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        with self._span("delete"):
            return super().delete(*args, **kwargs)

    async def adelete(self, *args: Any, **kwargs: Any) -> Any:
        with self._span("delete"):
            return await super().adelete(*args, **kwargs)

    def get_or_set(self, *args: Any, **kwargs: Any) -> Any:
        with self._span("get_or_set"):
            return super().get_or_set(*args, **kwargs)

    async def aget_or_set(self, *args: Any, **kwargs: Any) -> Any:
        with self._span("get_or_set"):
            return await super().aget_or_set(*args, **kwargs)

    def incr(self, *args: Any, **kwargs: Any) -> Any:
        with self._span("incr"):
            return super().incr(*args, **kwargs)

    async def aincr(self, *args: Any, **kwargs: Any) -> Any:
        with self._span("incr"):
            return await super().aincr(*args, **kwargs)

    @contextmanager
    def _span(self, operation: str, many: Any = None) -> Iterator[Span]:
        attributes = {
            "db.system.name": "redis",
            "db.operation.name": operation,
            "callcache.alias": self.alias,
        }
        tracer = trace.get_tracer(TRACER, __version__)
        # A message may name what was asked for; the error's kind is enough.
        with tracer.start_as_current_span(
            f"callcache {operation}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            if many is not None:
                span.set_attribute("db.operation.batch.size", len(many))
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(trace.StatusCode.ERROR)
                raise


def _noted(span: Span, value: Any, default: Any) -> Any:
    is_hit = value is not _MISSING
    span.set_attribute("cache.hit", is_hit)
    return value if is_hit else default
