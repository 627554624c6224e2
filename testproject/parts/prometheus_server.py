"""A private Prometheus and its tool: the ``prometheus`` and ``promtool`` on PATH."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testproject.parts.child import LOOPBACK, directory_for, free_port, stop, wait_until_ready
from testproject.parts.missing import PartMissing

INSTALL = "sudo apt-get install --no-install-recommends prometheus"


def find(program: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``.

    Raises:
        PartMissing: It is not there.
    """
    found = shutil.which(program)
    if found is None:
        raise PartMissing(program, command=INSTALL)
    return found


def promtool(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool on some input; its verdict is the return code."""
    return subprocess.run(
        [find("promtool"), *arguments], input=text, capture_output=True, text=True, check=False, timeout=120
    )


class PrometheusServer:
    """A Prometheus of one's own, without files at the end.

    Args:
        targets: ``host:port`` of what it scrapes, once a second.
        metrics_path: Where the targets' metrics are.
        token: What a scrape presents.
    """

    def __init__(self, targets: Sequence[str], *, metrics_path: str, token: str) -> None:
        self._targets = targets
        self._metrics_path = metrics_path
        self._token = token

    def __enter__(self) -> Self:
        program = find("prometheus")
        self._directory = directory_for("prometheus")
        self.port = free_port()
        (self._directory / "prometheus.yml").write_text(json.dumps(self._configuration()))
        self._log = self._directory / "log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    program,
                    f"--config.file={self._directory}/prometheus.yml",
                    f"--storage.tsdb.path={self._directory}/data",
                    f"--web.listen-address={LOOPBACK}:{self.port}",
                ],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_until_ready(self._process, self._is_ready, log=self._log)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop(self._process, signal_number=signal.SIGTERM)
        shutil.rmtree(Path(self._directory), ignore_errors=True)

    def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """Return the labels and values that an expression has now."""
        asked = urllib.parse.urlencode({"query": expression})
        answer: Any = json.loads(self._get(f"/api/v1/query?{asked}"))
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    def _is_ready(self) -> bool:
        with suppress(OSError):
            return b"Ready" in self._get("/-/ready")
        return False

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}{path}", timeout=10) as response:
            body: bytes = response.read()
        return body

    def _configuration(self) -> dict[str, Any]:
        """YAML knows JSON."""
        job = {
            "job_name": "callcache",
            "scrape_interval": "1s",
            "scrape_timeout": "1s",
            "metrics_path": self._metrics_path,
            "authorization": {"type": "Bearer", "credentials": self._token},
            "static_configs": [{"targets": list(self._targets)}],
        }
        return {"global": {"evaluation_interval": "1s"}, "scrape_configs": [job]}
