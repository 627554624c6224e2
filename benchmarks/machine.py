"""The machine that a benchmark runs on: its description, and one CPU for client and server."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import redis

PACKAGES = ("django", "django-redis", "redis", "hiredis", "msgspec", "zstandard")


def pin_to_one_cpu() -> str:
    """Keep this process, and the children it starts from now on, on one CPU; say what came of it.

    Client and server on one CPU show what the code costs. On two, every round trip waits for an idle
    CPU to wake up, which takes longer than the call and hides the difference.
    """
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned: this system cannot pin a process"
    cpu = max(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        return f"not pinned: {error.strerror}"
    return f"client and server pinned to CPU {cpu}"


def describe(redis_url: str, pinning: str) -> dict[str, Any]:
    """Return what a reader of the figures has to know."""
    with redis.Redis.from_url(redis_url) as client:
        server: dict[str, Any] = client.info("server")
    return {
        "machine": f"{_processor()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
        "load": _load(),
        "pinning": pinning,
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "packages": {name: version(name) for name in PACKAGES},
        "redis-server": server["redis_version"],
    }


def lines(description: dict[str, Any]) -> str:
    """Return a description as text."""
    packages = ", ".join(f"{name} {number}" for name, number in description["packages"].items())
    return "\n".join(
        f"{name:13}{packages if name == 'packages' else text}" for name, text in description.items()
    )


def _processor() -> str:
    try:
        cpu = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in cpu.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _load() -> str:
    try:
        return f"{os.getloadavg()[0]:.2f} in the last minute, this benchmark not included"
    except OSError:
        return "unknown"
