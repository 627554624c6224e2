"""How one alias reaches its Redis in this process: connections, breakers, link; of a server or a cluster.

What aliases on the same server share is made once, by `Shared`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol, TypeVar

import redis

from django_callcache.cache.breaker import Breaker
from django_callcache.cache.cluster_client import ClusterClient
from django_callcache.cache.cluster_io import AsyncClusterIo, BlockingClusterIo
from django_callcache.cache.cluster_link import ClusterLink
from django_callcache.cache.connections import Connections
from django_callcache.cache.drivers import BlockingIo, FirstThings
from django_callcache.cache.invalidation import InvalidationLink
from django_callcache.cache.multiplexer import AsyncIo
from django_callcache.cache.running import run
from django_callcache.cache.server import Server
from django_callcache.cache.topology import Node, Topology
from django_callcache.conf import CacheOptions

LOOK_SECONDS = 1.0
"""How long a node may take to say who has which slot, before another one is asked."""

WhenLost = Callable[[], None] | None
Thing = TypeVar("Thing")


class Shared:
    """What is there once a server in this process, whatever the number of aliases."""

    def __init__(self) -> None:
        self._breakers: dict[str, Breaker] = {}
        self._links: dict[Hashable, InvalidationLink | ClusterLink] = {}
        self._topologies: dict[Hashable, Topology] = {}
        self._lock = threading.Lock()

    def breaker(self, label: str) -> Breaker:
        """The breaker of a server."""
        with self._lock:
            return self._breakers.setdefault(label, Breaker(label))

    def link(self, server: Server) -> InvalidationLink | ClusterLink:
        """The listener of a server, or the listeners of a cluster."""
        topology = self.topology(server) if server.seeds else None
        with self._lock:
            known = self._links.get(server.identity)
            if known is None:
                known = _link_to(server) if topology is None else _links_to(server, topology)
                self._links[server.identity] = known
            return known

    def topology(self, server: Server) -> Topology:
        """Who has which slot of a cluster."""
        with self._lock:
            known = self._topologies.get(server.identity)
            if known is None:
                known = Topology(
                    lambda: redis.RedisCluster(**server.cluster_arguments(LOOK_SECONDS)), server.label
                )
                self._topologies[server.identity] = known
            return known

    def forget(self) -> None:
        """Start anew in a forked child."""
        self._lock = threading.Lock()
        for breaker in self._breakers.values():
            breaker.forget()
        for link in self._links.values():
            link.forget()
        for topology in self._topologies.values():
            topology.forget()

    def clear(self) -> None:
        """Forget all servers: settings have changed."""
        for topology in self._topologies.values():
            topology.close()
        self._breakers.clear()
        self._links.clear()
        self._topologies.clear()


class Reach(Protocol):
    """How an alias reaches its Redis."""

    breaker: Any
    """Has `Breaker.is_open` and `Breaker.forget`; of a cluster, for all its nodes."""
    connections: Any
    """Has `Connections.forget` and `Connections.close`; of a cluster, for all its nodes."""

    def blocking_io(self, deadline: float, when_lost: WhenLost, recovery: FirstThings | None = None) -> Any:
        """A driver for threads."""
        ...

    def async_io(self, deadline: float, when_lost: WhenLost, recovery: FirstThings | None = None) -> Any:
        """A driver for the running event loop."""
        ...

    def client(self) -> Any:
        """A redis-py client for work off the hot path."""
        ...

    def close(self) -> None:
        """Close the connections of the client, and those that are not in use."""
        ...


class ServerReach:
    """The way to one server.

    Args:
        server: Which.
        options: Of the alias.
        shared: Where its breaker comes from.
    """

    def __init__(self, server: Server, options: CacheOptions, shared: Shared) -> None:
        self._server = server
        self.breaker = shared.breaker(server.label)
        self.connections = _connections_to(server, options)
        self.breaker.when_opened(self.connections.release_waiters)

    def blocking_io(
        self, deadline: float, when_lost: WhenLost, recovery: FirstThings | None = None
    ) -> BlockingIo:
        """See `Reach.blocking_io`."""
        return BlockingIo(self.connections, self.breaker, deadline, when_lost, recovery)

    def async_io(self, deadline: float, when_lost: WhenLost, recovery: FirstThings | None = None) -> AsyncIo:
        """See `Reach.async_io`."""
        server = self._server
        return AsyncIo(lambda: server.connect_async(deadline), self.breaker, deadline, when_lost, recovery)

    def client(self) -> redis.Redis:
        """See `Reach.client`."""
        return redis.Redis(connection_pool=self._server.pool)

    def close(self) -> None:
        """See `Reach.close`."""
        self.connections.close()
        self._server.pool.disconnect()


class ClusterReach:
    """The ways to the nodes of a cluster, each made when it is first gone.

    Args:
        server: Names some of the nodes.
        options: Of the alias.
        shared: Where the topology and the breakers come from.
    """

    def __init__(self, server: Server, options: CacheOptions, shared: Shared) -> None:
        self._server = server
        self._options = options
        self._shared = shared
        self.topology = shared.topology(server)
        self._reaches: _Made[ServerReach] = _Made(self._reach)
        self.breaker = NodeBreakers(self._reaches)
        self.connections = NodeConnections(self._reaches)
        self.topology.when_changed(self._leave_others)

    def blocking_io(
        self, deadline: float, when_lost: WhenLost, recovery: FirstThings | None = None
    ) -> BlockingClusterIo:
        """See `Reach.blocking_io`."""
        ios = _Made(lambda node: self._reaches[node].blocking_io(deadline, when_lost))
        return BlockingClusterIo(self.topology, ios.__getitem__, deadline, when_lost, recovery)

    def async_io(
        self, deadline: float, when_lost: WhenLost, recovery: FirstThings | None = None
    ) -> AsyncClusterIo:
        """See `Reach.async_io`."""
        ios = _Made(lambda node: self._reaches[node].async_io(deadline, when_lost))
        return AsyncClusterIo(self.topology, ios.__getitem__, deadline, when_lost, recovery)

    def client(self) -> ClusterClient:
        """See `Reach.client`."""
        io = self.blocking_io(max(LOOK_SECONDS, self._options.deadline), None)

        def walk(packed: bytes) -> Any:
            reply = run(io.ask(packed, time.monotonic_ns(), reads=True))
            if isinstance(reply, redis.ResponseError):
                raise reply
            return reply

        return ClusterClient(walk, **self._server.cluster_arguments())

    def close(self) -> None:
        """See `Reach.close`."""
        self.connections.close()

    def _reach(self, node: Node) -> ServerReach:
        return ServerReach(self._server.node(node), self._options, self._shared)

    def _leave_others(self) -> None:
        """Close what leads to nodes that have no slot any more."""
        for node, reach in list(self._reaches.items()):
            if node not in self.topology.primaries:
                reach.connections.close()


class NodeBreakers:
    """The breakers of the nodes that an alias has reached."""

    def __init__(self, reaches: Mapping[Node, ServerReach]) -> None:
        self._reaches = reaches

    @property
    def is_open(self) -> bool:
        """Whether calls to one of them are not sent for now."""
        return any(reach.breaker.is_open for reach in list(self._reaches.values()))

    def forget(self) -> None:
        """Close all of them."""
        for reach in list(self._reaches.values()):
            reach.breaker.forget()


class NodeConnections:
    """The connections to the nodes that an alias has reached."""

    def __init__(self, reaches: Mapping[Node, ServerReach]) -> None:
        self._reaches = reaches

    def forget(self) -> None:
        """See `Connections.forget`."""
        for reach in list(self._reaches.values()):
            reach.connections.forget()

    def close(self) -> None:
        """See `Connections.close`."""
        for reach in list(self._reaches.values()):
            reach.connections.close()

    def __len__(self) -> int:
        return sum(len(reach.connections) for reach in list(self._reaches.values()))


class _Made(dict[Node, Thing]):
    """What is made for a node when it is first asked for."""

    def __init__(self, make: Callable[[Node], Thing]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, node: Node) -> Thing:
        return self.setdefault(node, self._make(node))


def _link_to(server: Server) -> InvalidationLink:
    return InvalidationLink(server.listener, server.label)


def _links_to(server: Server, topology: Topology) -> ClusterLink:
    return ClusterLink(topology, lambda node: _link_to(server.node(node)))


def _connections_to(server: Server, options: CacheOptions) -> Connections:
    return Connections(
        lambda: server.connection(options.deadline),
        *(options.max_connections, options.pool_timeout, server.label),
    )
