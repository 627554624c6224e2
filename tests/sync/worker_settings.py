"""Settings of a process that tests start, kill and start again."""

from __future__ import annotations

import os

from testproject.settings import *  # noqa: F403

CALLCACHE = {
    "SYNC": {
        "REMOTE": os.environ["WORKER_REMOTE"],
        "NAMESPACE": os.environ["WORKER_NAMESPACE"],
        "DATABASE": "remote",
        "SUPABASE_URL": os.environ.get("WORKER_SUPABASE_URL", ""),
        "SUPABASE_KEY": os.environ.get("WORKER_SUPABASE_KEY", ""),
        "BATCH": int(os.environ.get("WORKER_BATCH", "40")),
        # Short, so that who takes over need not wait for long.
        "LEASE": float(os.environ.get("WORKER_LEASE", "0.5")),
        "INTERVAL": 0.1,
    }
}
# A stall of a busy machine is no fault of Redis: a test that is about those sets the default.
CACHES["default"]["OPTIONS"]["CALLCACHE"]["DEADLINE"] = float(os.environ.get("WORKER_DEADLINE", "10"))  # noqa: F405
if "WORKER_DATABASE_URL" in os.environ:
    DATABASES["remote"] = env.db_url_config(os.environ["WORKER_DATABASE_URL"])  # noqa: F405
