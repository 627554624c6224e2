"""A private Redis Cluster: three primaries, and replicas where they are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from testproject.parts.child import LOOPBACK, StartFailed, free_port
from testproject.parts.redis_server import RedisServer

SLOTS = 16384
PATIENCE = 60.0
"""Seconds for what nodes agree on among themselves, which takes them one or two."""


class RedisCluster:
    """Nodes of one's own, which know one another and have all slots between them.

    Args:
        primaries: How many nodes share the slots.
        replicas: How many nodes follow each of them.
        password: What clients, and the nodes themselves, must present.
        needs_all: Whether no slot is served where one has no node.
        append_only: Whether nodes keep their data through `RedisServer.kill` and `RedisServer.start`.
        node_timeout_ms: From when on the others take a silent node for failed.
        certificate: Its path and its key's, for nodes that speak TLS to clients and to one another.
        program: The server to run; left out, `find_redis_server` finds one.
    """

    def __init__(
        self,
        *,
        primaries: int = 3,
        replicas: int = 0,
        password: str = "",
        needs_all: bool = False,
        append_only: bool = False,
        node_timeout_ms: int = 1000,
        certificate: tuple[Path, Path] | None = None,
        program: Path | None = None,
    ) -> None:
        self._number = primaries
        self._replicas = replicas
        self._password = password
        self._append_only = append_only
        self._certificate = certificate
        self._program = program
        self._tls_ports: dict[RedisServer, int] = {}
        self._config = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(node_timeout_ms),
            "cluster-require-full-coverage": "yes" if needs_all else "no",
            "cluster-allow-reads-when-down": "no",
            **({"masterauth": password} if password else {}),
        }
        self._stack = ExitStack()
        self.nodes: list[RedisServer] = []
        """The primaries, in the order of their slots, and behind them the replicas of each in turn."""

    def __enter__(self) -> Self:
        try:
            for _ in range(self._number * (1 + self._replicas)):
                self.add_node()
            self._join()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Address as Django's ``LOCATION`` takes it; it names the primaries."""
        secret = f":{self._password}@" if self._password else ""
        places = ",".join(f"{LOOPBACK}:{self.port(node)}" for node in self.nodes[: self._number])
        return f"redis{'s' if self._certificate else ''}+cluster://{secret}{places}"

    def port(self, node: RedisServer) -> int:
        """Where clients that are not the administrator reach a node: over TLS, if the nodes speak it."""
        return self._tls_ports.get(node, node.port)

    def add_node(self) -> RedisServer:
        """Start a node that knows nobody yet."""
        # The port of the bus is 10,000 above; ports of the ephemeral range may be too high for that.
        for _ in range(20):
            tls_port = free_port() if self._certificate else 0
            server = RedisServer(
                password=self._password,
                append_only=self._append_only,
                config=self._config | (self._speaking_tls(tls_port) if tls_port else {}),
                program=self._program,
            )
            try:
                self._stack.enter_context(server)
            except StartFailed:
                continue
            if tls_port:
                self._tls_ports[server] = tls_port
            self.nodes.append(server)
            return server
        raise StartFailed("no port was found whose neighbour for the cluster bus is free too")

    def ask(self, node: RedisServer, *words: Any) -> Any:
        """Send one command to one node."""
        with redis.Redis.from_url(node.url) as client:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]

    def flush(self) -> None:
        """Empty the primaries."""
        for node in self.nodes[: self._number]:
            self.ask(node, "FLUSHALL")

    def settle(self) -> None:
        """Wait until all nodes know that all are well, after one was down."""
        wait_for(lambda: all(self._is_well(node) and not self._fails(node) for node in self.nodes))

    def id_of(self, node: RedisServer) -> str:
        """What the nodes call one another."""
        found = self.ask(node, "CLUSTER", "MYID")
        return found.decode() if isinstance(found, bytes) else str(found)

    def begin_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Let a slot be on its way: what is not there any more is asked for at the target."""
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, keys: Sequence[bytes], source: RedisServer, target: RedisServer) -> None:
        """Move some keys of a slot that is on its way."""
        if keys:
            words = ("MIGRATE", LOOPBACK, target.port, "", 0, 10_000)
            auth = ("AUTH", self._password) if self._password else ()
            self.ask(source, *words, *auth, "KEYS", *keys)

    def end_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Move the rest of a slot's keys, and let the target have it."""
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            self.move_keys(keys, source, target)
        for node in (target, source):
            self.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

    def _join(self) -> None:
        primaries = self.nodes[: self._number]
        for at, node in enumerate(primaries):
            first, behind = at * SLOTS // self._number, (at + 1) * SLOTS // self._number
            self.ask(node, "CLUSTER", "ADDSLOTS", *range(first, behind))
            self.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        for node in self.nodes[1:]:
            self.ask(node, "CLUSTER", "MEET", LOOPBACK, self.port(self.nodes[0]))
        wait_for(lambda: all(self._knows(each) == len(self.nodes) for each in self.nodes))
        for at, node in enumerate(self.nodes[self._number :]):
            self.ask(node, "CLUSTER", "REPLICATE", self.id_of(primaries[at % self._number]))
        wait_for(lambda: all(self._is_well(node) for node in self.nodes))
        for node in self.nodes[self._number :]:
            wait_for(lambda node=node: _replicates(node))

    def _speaking_tls(self, port: int) -> dict[str, str]:
        assert self._certificate  # noqa: S101
        trusted, key = self._certificate
        return {
            "tls-port": str(port),
            "tls-cluster": "yes",
            "tls-replication": "yes",
            "tls-cert-file": f'"{trusted}"',
            "tls-key-file": f'"{key}"',
            "tls-ca-cert-file": f'"{trusted}"',
            "tls-auth-clients": "no",
        }

    def _knows(self, node: RedisServer) -> int:
        return int(_info(self.ask(node, "CLUSTER", "INFO"))["cluster_known_nodes"])

    def _fails(self, node: RedisServer) -> bool:
        info = _info(self.ask(node, "CLUSTER", "INFO"))
        return info["cluster_slots_fail"] != "0" or info["cluster_slots_pfail"] != "0"

    def _is_well(self, node: RedisServer) -> bool:
        info = _info(self.ask(node, "CLUSTER", "INFO"))
        return info["cluster_state"] == "ok" and info["cluster_slots_assigned"] == str(SLOTS)


def wait_for(condition: Callable[[], object]) -> None:
    """Look until a condition holds.

    Raises:
        StartFailed: It did not come about.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise StartFailed("the nodes of the cluster did not agree in time")
        time.sleep(0.01)


def _replicates(node: RedisServer) -> bool:
    with redis.Redis.from_url(node.url) as client:
        found: Any = client.info("replication")
        return bool(found["role"] == "slave" and found["master_link_status"] == "up")


def _info(reply: Any) -> dict[str, str]:
    if isinstance(reply, dict):
        return reply
    text = reply.decode() if isinstance(reply, bytes) else reply
    return dict(line.split(":", 1) for line in text.split() if ":" in line)
