"""A primary, its replica, and a sentinel that makes the one of the other."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack
from shutil import rmtree

import redis

from testproject.parts.child import LOOPBACK, directory_for, free_port, stop
from testproject.parts.redis_server import RedisServer, find_redis_server
from tests.cache.waiting import wait_until

ATTEMPTS = 3
SERVICE = "calls"
DOWN_AFTER_MS = 500


def options_of(port, **stated):
    """What an alias needs to ask a sentinel on this machine.

    Args:
        port: Where it listens.
        stated: ``SENTINEL_KWARGS``.
    """
    return {
        "SENTINELS": [(LOOPBACK, port)],
        "SENTINEL_KWARGS": stated,
        "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
        "CONNECTION_POOL_CLASS": "redis.sentinel.SentinelConnectionPool",
    }


class Watched:
    """Two servers and the sentinel that watches them.

    Args:
        replicates: Whether the second server is the first one's replica from the beginning, as the
            sentinel's own failover needs it.
        down_after_ms: From when on the sentinel takes a silent primary for down.
    """

    def __init__(self, *, replicates, down_after_ms=DOWN_AFTER_MS):
        self._replicates = replicates
        self._down_after_ms = down_after_ms
        self._stack = ExitStack()

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self):
        self.first = self._stack.enter_context(RedisServer())
        self.second = self._stack.enter_context(RedisServer())
        if self._replicates:
            with redis.Redis.from_url(self.second.url) as replica:
                replica.replicaof(LOOPBACK, self.first.port)
                wait_until(lambda: replica.info("replication")["master_link_status"] == "up")
        for _ in range(ATTEMPTS):
            if self._start_sentinel():
                return
        raise AssertionError("the sentinel did not start")

    def _start_sentinel(self):
        """Start one on some port; tell whether it runs, for somebody else may have taken the port."""
        self.port = free_port()
        directory = directory_for("sentinel")
        self._stack.callback(rmtree, directory, ignore_errors=True)
        config = directory / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind {LOOPBACK}\ndir {directory}\n"
            f"sentinel monitor {SERVICE} {LOOPBACK} {self.first.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} {self._down_after_ms}\n"
            f"sentinel failover-timeout {SERVICE} 10000\n"
        )
        process = subprocess.Popen(
            [str(find_redis_server()), str(config), "--sentinel"], stdout=subprocess.DEVNULL
        )
        self._stack.callback(stop, process, signal_number=signal.SIGTERM)
        self._client = self._stack.enter_context(redis.Redis(host=LOOPBACK, port=self.port))
        wait_until(lambda: process.poll() is not None or self._knows_them())
        return process.poll() is None

    def __exit__(self, *_):
        self._stack.close()

    @property
    def options(self):
        """What an alias needs to find the primary."""
        return options_of(self.port)

    @property
    def primary(self):
        """The server that the sentinel names."""
        _, port = self._client.sentinel_get_master_addr_by_name(SERVICE)
        return self.first if port == self.first.port else self.second

    def fail_over(self):
        """Let the sentinel make the replica the primary, and wait until the other has heard of it."""
        before = self.primary
        wait_until(self._may_begin)
        wait_until(lambda: self.primary is not before)
        with redis.Redis.from_url(before.url) as demoted:
            wait_until(lambda: _role_of(demoted) == "slave")

    def switch(self, *, kills):
        """Do at once what a sentinel does in a failover.

        Args:
            kills: Whether the connections of the old primary are closed, as a sentinel does.
        """
        old, new = self.primary, self.second if self.primary is self.first else self.first
        with redis.Redis.from_url(old.url) as demoted, redis.Redis.from_url(new.url) as promoted:
            promoted.replicaof("no", "one")
            self._client.execute_command("SENTINEL", "REMOVE", SERVICE)
            self._client.execute_command("SENTINEL", "MONITOR", SERVICE, LOOPBACK, new.port, 1)
            demoted.replicaof(LOOPBACK, new.port)
            for kind in ("normal", "pubsub") if kills else ():
                demoted.client_kill_filter(_type=kind)

    def _may_begin(self):
        """Ask for a failover; the sentinel refuses until it has seen that the replica is well."""
        try:
            return self._client.execute_command("SENTINEL", "FAILOVER", SERVICE)
        except redis.ResponseError as refusal:
            if "NOGOODSLAVE" not in str(refusal):
                raise
            return False

    def _knows_them(self):
        try:
            masters = self._client.sentinel_masters()
        except redis.ConnectionError:
            return False
        master = masters.get(SERVICE)
        return bool(master and master["num-slaves"] == self._replicates and not master["is_sdown"])


def _role_of(server):
    try:
        return server.info("replication")["role"]
    except redis.ConnectionError:  # cut off by the sentinel, as all clients are
        return None
