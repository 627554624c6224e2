from __future__ import annotations

import pytest
from django.core.cache import caches

pytest.importorskip("opentelemetry.sdk", reason="Install it with: pip install opentelemetry-sdk")

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.cache.conftest import APP, Face

SECRET = "a-key-nobody-should-see"


@pytest.fixture
def spans(monkeypatch):
    """What was traced."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", lambda name, version: provider.get_tracer(name, version))
    yield exporter.get_finished_spans
    provider.shutdown()


@pytest.fixture(params=["blocking", "asyncio"])
def face(request, settings, redis_url):
    """One face of a traced cache."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django_callcache.contrib.tracing.TracedCallCache",
            "LOCATION": redis_url,
            "KEY_PREFIX": "t",
            "OPTIONS": {"CALLCACHE": {"DEADLINE": 10, "STATS": False}},
        }
    }
    settings.CALLCACHE = APP
    return Face(caches["default"], is_native=request.param == "asyncio")


class TestTracedCallCache:
    async def test_get(self, face, spans):
        """A read has one span that tells whether it found something; a stored None is found."""
        await face.set(SECRET, None)
        assert await face.get(SECRET, 5) is None
        assert await face.get("nothing", 5) == 5
        told = [(span.name, span.attributes.get("cache.hit")) for span in spans()]
        assert told == [("callcache set", None), ("callcache get", True), ("callcache get", False)]
        assert spans()[1].attributes["db.system.name"] == "redis"
        assert spans()[1].attributes["callcache.alias"] == "default"

    async def test_many(self, face, spans):
        """Calls of many keys tell how many there were and how many were found."""
        await face.set_many({"a": 1, "b": 2})
        assert await face.get_many(iter(["a", "b", "c"])) == {"a": 1, "b": 2}
        stored, read = spans()
        assert stored.attributes["db.operation.batch.size"] == 2
        assert (read.attributes["db.operation.batch.size"], read.attributes["cache.hits"]) == (3, 2)

    async def test_others(self, face, spans):
        """Every other call has one span, whatever goes on inside."""
        assert await face.get_or_set("n", 1) == 1
        assert await face.incr("n") == 2
        assert await face.delete("n")
        assert [span.name for span in spans()] == [
            "callcache get_or_set",
            "callcache incr",
            "callcache delete",
        ]

    async def test_error(self, face, spans):
        """An error is told by its kind alone."""
        with pytest.raises(ValueError, match=SECRET):
            await face.incr(SECRET)
        (span,) = spans()
        assert span.attributes["error.type"] == "ValueError"
        assert span.status.status_code is trace.StatusCode.ERROR
        assert SECRET not in span.to_json()

    async def test_no_secrets(self, face, spans):
        """Neither a key nor a value is in a span."""
        await face.set(SECRET, "a value nobody should see")
        await face.get(SECRET)
        for span in spans():
            assert SECRET not in span.to_json()
            assert "nobody should see" not in span.to_json()
