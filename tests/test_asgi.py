from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psycopg
import pytest
from django.core.cache import caches

from django_callcache.asgi import lifespan
from django_callcache.service import CacheService
from testproject.parts.child import LOOPBACK, free_port, stop, wait_until_ready
from tests.asgi_lifespan import living
from tests.sync.conftest import new_database

ROOT = Path(__file__).parents[1]


class Recording(CacheService):
    """A service that notes what is asked of it, and fails where told to."""

    def __init__(self, failing=""):
        super().__init__()
        self.calls = []
        self.failing = failing

    async def start_sync(self):
        self._note("start")

    async def stop_sync(self):
        self._note("stop")

    def _note(self, call):
        self.calls.append(call)
        if call == self.failing:
            raise RuntimeError(f"cannot {call}")


class TestLifespan:
    async def test_start_and_end(self):
        """The sync starts with the server and stops with it."""
        service = Recording()
        async with living(lifespan(None, service)) as started:
            assert started == {"type": "lifespan.startup.complete"}
            assert service.calls == ["start"]
        assert service.calls == ["start", "stop"]

    async def test_start__fails(self):
        """A start that fails is told to the server with its reason."""
        async with living(lifespan(None, Recording(failing="start"))) as started:
            assert started == {"type": "lifespan.startup.failed", "message": "RuntimeError: cannot start"}

    async def test_end__fails(self):
        """An end that fails is told, too."""
        messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
        sent = []

        async def receive():
            return next(messages)

        async def send(message):
            sent.append(message)

        await lifespan(None, Recording(failing="stop"))({"type": "lifespan"}, receive, send)
        assert sent[1] == {"type": "lifespan.shutdown.failed", "message": "RuntimeError: cannot stop"}

    @pytest.mark.parametrize("kind", ["http", "websocket"])
    async def test_other_scopes(self, kind):
        """Everything else reaches the application as it is."""
        seen = []

        async def application(*arguments):
            seen.append(arguments)

        arguments = ({"type": kind}, object(), object())
        await lifespan(application, Recording())(*arguments)
        assert seen == [arguments]


class Site:
    """The sample project behind a real ASGI server, in a process of its own."""

    def __init__(self, folder, environment):
        self.port = free_port()
        self.log = folder / "uvicorn.log"
        self.environment = {
            **os.environ,
            "SAMPLE_DATABASE": str(folder / "site.sqlite3"),
            "SAMPLE_LOG_LEVEL": "INFO",
            **environment,
        }

    def __enter__(self):
        manage = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(manage, cwd=ROOT, env=self.environment, check=True)
        uvicorn = [sys.executable, "-m", "uvicorn", "tests.asgi_site:application"]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*uvicorn, "--lifespan", "on", "--host", LOOPBACK, "--port", str(self.port)],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        wait_until_ready(self.process, lambda: self.status_of("/campaigns/1/") is not None, log=self.log)
        return self

    def __exit__(self, *_):
        stop(self.process, signal_number=signal.SIGTERM)

    def status_of(self, path):
        """The status of the answer to a request, None without one."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}{path}", timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return None


class TestUvicorn:
    def test_site(self, cache, postgres_url, tmp_path):
        """A site under uvicorn answers requests, syncs meanwhile, and ends in order."""
        remote_url = new_database(postgres_url)
        caches["default"].set("campaign:7", {"name": "May"})
        with Site(tmp_path, {"CALLCACHE_POSTGRES_URL": remote_url}) as site:
            assert site.status_of("/campaigns/12345/") == 404
            with psycopg.connect(remote_url, autocommit=True) as remote:
                self.wait_for_row(remote, site.log)
        log = site.log.read_text()
        assert "sync=stopped" in log
        assert "Application shutdown complete." in log
        assert "Traceback" not in log

    def wait_for_row(self, remote, log):
        """Wait until the entry is in the remote store."""
        ends_at = time.monotonic() + 30
        while time.monotonic() < ends_at:
            row = remote.execute("select key, value from callcache_entries").fetchone()
            if row is not None:
                assert row == ("1:campaign:7", {"name": "May"})
                return
            time.sleep(0.05)
        pytest.fail(f"nothing was pushed:\n{log.read_text()}")
