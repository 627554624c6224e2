from __future__ import annotations

import html

import pytest
from django.urls import reverse

from django_callcache.outbox.trace_log import READ, WRITE, TraceEvent, TraceLog, add_trace_command

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:django_callcache_prefix")


@pytest.fixture
def ask(client, boss, cache):
    """Ask what another TTL would do to a prefix."""
    client.force_login(boss)

    def asked(**parameters):
        return client.get(PAGE, {"alias": "default", "prefix": "call:", "period": "7d", **parameters})

    return asked


class TestWhatIf:
    def test_hours(self, ask, stats):
        """By the hourly rows: measured, then the present TTL, the asked one and the one that costs least."""
        answer = ask(ttl="600", changes="2").context["what_if"]
        assert (answer.basis, answer.changes_from, answer.eta) == ("hours", "stated", 12)
        assert [line.name for line in answer.lines] == ["measured", "now", "asked", "cheapest"]
        measured, present, asked, best = answer.lines
        assert measured.hit_ratio == pytest.approx(0.8)
        assert (present.ttl_seconds, asked.ttl_seconds) == (60, 600)
        assert asked.hit_ratio > present.hit_ratio
        assert asked.stale > present.stale > 0
        costs = [line.loads + 12 * line.stale for line in (present, asked, best)]
        assert costs[2] <= min(costs) * 1.05

    def test_hours__changes_unknown(self, ask, stats):
        """Where nobody knows how often values change the page says so, and nothing of stale reads."""
        response = ask(ttl="600")
        answer = response.context["what_if"]
        assert [line.name for line in answer.lines] == ["measured", "now", "asked"]
        assert answer.lines[2].stale is None
        assert "Nobody knows how often its values change" in html.unescape(response.content.decode())

    def test_recording(self, ask, stats, cache):
        """By a recording, where one knows enough of the prefix: its reads and changes are replayed."""
        log = TraceLog(cache.redis_client(), cache.redis_keys)
        recording = log.start("a", seconds=3600, share=1.0, most_bytes=1 << 20, prefix="")
        events = [TraceEvent(1000.0 + 10 * n, READ, "call:", "k") for n in range(400)]
        events += [TraceEvent(1000.0 + 500 * n, WRITE, "call:", "k", digest=str(n)) for n in range(8)]
        script, keys, arguments = add_trace_command(cache.redis_keys, recording.id, events)
        assert cache.redis_client().eval(script.text, len(keys), *keys, *arguments) == 1
        response = ask(ttl="100")
        answer = response.context["what_if"]
        assert (answer.basis, answer.reads) == ("recording", 400)
        assert [line.name for line in answer.lines] == ["measured", "now", "asked", "adaptive"]
        asked = answer.lines[2]
        assert asked.loads == pytest.approx(1 / 10, abs=0.02)
        assert 0 < asked.stale < 0.5
        assert "Replayed: the first 400 reads" in html.unescape(response.content.decode())

    def test_not_enough(self, ask):
        """Without enough reads the page says how many are missing, and no figure."""
        response = ask(ttl="600")
        assert response.context["what_if"].missing == 200
        assert response.context["what_if"].lines == ()
        assert "200 more are needed" in response.content.decode()

    @pytest.mark.parametrize("parameters", [{"ttl": "0"}, {"ttl": "x"}, {"ttl": "60", "eta": "-1"}])
    def test_bad_values(self, ask, stats, parameters):
        """What makes no sense is answered by the form."""
        response = ask(**parameters)
        assert "what_if" not in response.context
        assert "errorlist" in response.content.decode()

    def test_writes_nothing(self, ask, stats, cache, redis_client):
        """Asking changes nothing in Redis."""
        before = {key: redis_client.dump(key) for key in redis_client.scan_iter() if b"processes" not in key}
        ask(ttl="600", changes="2")
        after = {key: redis_client.dump(key) for key in redis_client.scan_iter() if b"processes" not in key}
        assert after == before
