"""Starts the demo below the private servers, and passes on what its user wants."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping

from django.conf import settings

from testproject.demo.options import DemoOptions

SECONDS_TO_STOP = 60.0


def launch(options: DemoOptions, environment: Mapping[str, str]) -> int:
    """Run the demo in a process of its own; return its exit code.

    A KeyboardInterrupt ends it in order: it stops its children, then this returns.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "testproject.demo", options.to_json()],
        cwd=settings.BASE_DIR,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        # Ctrl-C on the terminal reaches this process alone, which passes it on once.
        start_new_session=True,
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        return process.wait(SECONDS_TO_STOP)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
