"""A private server that speaks Supabase's Data API: ``@supabase/lite`` over a PostgreSQL of ours.

The server reads the database's schema when it starts, so the schema must be there by then. It differs
from the hosted service where the tests that use it say so.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from testproject.parts.child import LOOPBACK, directory_for, free_port, stop, wait_until_ready
from testproject.parts.missing import PartMissing

HERE = Path(__file__).parent
PROGRAM = HERE / "node_modules/@supabase/lite/dist/cli/index.js"
INSTALL = "cd tests/supalite && npm ci --ignore-scripts --no-audit --no-fund"
OLDEST_NODE = 20

CONFIG = """\
[api]
port = {port}
[db]
driver = "postgres"
url = {database}
[db.migrations]
schema_paths = ["./schemas/schema.sql"]
[db.seed]
sql_paths = ["./seed.sql"]
[auth]
enabled = true
jwt_secret = "{jwt_secret}"
jwt_expiry = 3600
enable_signup = false
publishable_key = "{publishable_key}"
secret_key = "{secret_key}"
"""


def find_node() -> str:
    """Return the node to run the server with; ``CALLCACHE_NODE`` names one before that on PATH.

    Raises:
        PartMissing: There is none, it is too old, or the server is not installed.
    """
    node = os.environ.get("CALLCACHE_NODE") or shutil.which("node") or "node"
    try:
        version = subprocess.run(
            [node, "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
        major = int(version.lstrip("v").split(".")[0])
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise PartMissing("Node.js", command="sudo apt-get install nodejs npm") from error
    if major < OLDEST_NODE:
        raise PartMissing(
            f"Node.js {OLDEST_NODE}", command="npm install --global node", reason=f"found {version}"
        )
    if not PROGRAM.exists():
        raise PartMissing("@supabase/lite", command=INSTALL)
    return node


class SupaLite:
    """The server, over one database.

    Args:
        database_url: A PostgreSQL that has the roles of a Supabase project and the schema to serve.
    """

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self.publishable_key = "sb_publishable_" + secrets.token_hex(16)
        self.secret_key = "sb_secret_" + secrets.token_hex(16)
        self.port = 0
        self.directory = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        node = find_node()
        self.directory = directory_for("supalite")
        try:
            self._start(node)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """What a project calls SUPABASE_URL."""
        return f"http://{LOOPBACK}:{self.port}"

    def close(self) -> None:
        """Stop the server and remove its files."""
        if self._process is not None:
            stop(self._process, signal_number=signal.SIGTERM)
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self, node: str) -> None:
        self.port = free_port()
        self._write_project()
        log = self.directory / "lite.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                # Without --no-admin, requests without a key would run as the service role.
                [node, str(PROGRAM), "start", "--no-admin"],
                cwd=self.directory,
                env={**os.environ, "DO_NOT_TRACK": "1", "LITE_TELEMETRY": "0", "NO_COLOR": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until_ready(self._process, self._answers, log=log)

    def _write_project(self) -> None:
        project = self.directory / "supabase"
        (project / "schemas").mkdir(parents=True)
        (project / "migrations").mkdir()
        (project / "schemas/schema.sql").touch()
        (project / "seed.sql").touch()
        (project / "config.toml").write_text(
            CONFIG.format(
                port=self.port,
                database=json.dumps(self.database_url),
                jwt_secret=secrets.token_hex(32),
                publishable_key=self.publishable_key,
                secret_key=self.secret_key,
            )
        )

    def _answers(self) -> bool:
        request = urllib.request.Request(self.url + "/rest/v1/", headers={"apikey": self.secret_key})  # noqa: S310
        try:
            urllib.request.urlopen(request, timeout=5).close()  # noqa: S310
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True
