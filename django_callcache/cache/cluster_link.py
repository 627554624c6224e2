"""Keeps near caches coherent on a Redis Cluster: one listening connection to each primary.

Each node announces what changes in its own slots, so copies are served only while all of them confirm, and
for as long as the eldest confirmation holds. Where slots move, or a node takes another's place, all copies
go, and none is kept before the nodes of now have confirmed. Listeners look at the cluster once a second: a
primary that was cut off from the others and does not know that it has a successor is found out so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from django_callcache.cache.announcer import Announcer
from django_callcache.cache.invalidation import InvalidationLink
from django_callcache.cache.topology import Node, Topology
from django_callcache.cache.watch import Watch

LOOK_SECONDS = 1.0


class ClusterLink:
    """The listeners of one cluster in this process; see `InvalidationLink`.

    Args:
        topology: Knows the primaries.
        make_link: Makes the listener of one.
    """

    def __init__(self, topology: Topology, make_link: Callable[[Node], InvalidationLink]) -> None:
        self._topology = topology
        self._make_link = make_link
        self._links: dict[Node, InvalidationLink] = {}
        topology.when_changed(self._follow)
        self.forget()

    def forget(self) -> None:
        """Start anew in a forked child."""
        for link in self._links.values():
            link.forget()
        self._lock = threading.Lock()
        self._links = {}
        self._choirs: tuple[Choir, ...] = ()

    def start(self, watch: Watch) -> None:
        """Listen for this alias too, unless it was done."""
        if any(choir.watch is watch for choir in self._choirs):
            return
        with self._lock:
            if any(choir.watch is watch for choir in self._choirs):
                return
            choir = Choir(watch, self._topology)
            self._choirs = (*self._choirs, choir)
            watch.begin()
            for node, link in self._links.items():
                link.start(choir.joined_by(node))
        if self._topology.slots is None:
            self._topology.look()
        elif not self._links:
            self._follow()

    def stop(self, watch: Watch) -> None:
        """Listen no more for this alias."""
        with self._lock:
            leaving = [choir for choir in self._choirs if choir.watch is watch]
            self._choirs = tuple(choir for choir in self._choirs if choir.watch is not watch)
            for choir in leaving:
                for node, link in self._links.items():
                    link.stop(choir.left_by(node))
        watch.end()

    def suspect(self) -> None:
        """Begin anew: see `InvalidationLink.suspect`. Called where no lock can be taken."""
        for link in list(self._links.values()):
            link.suspect()

    def _follow(self) -> None:
        """Listen to the primaries of now."""
        with self._lock:
            if not self._choirs:
                return
            primaries = self._topology.primaries
            for node in [node for node in self._links if node not in primaries]:
                link = self._links.pop(node)
                for choir in self._choirs:
                    link.stop(choir.left_by(node))
            for choir in self._choirs:
                choir.watch.silence()
            for node in primaries:
                if node not in self._links:
                    link = self._links[node] = self._make_link(node)
                    for choir in self._choirs:
                        link.start(choir.joined_by(node))


class Choir:
    """The voices of all primaries for one alias: it is confirmed what all of them confirm.

    Args:
        watch: What the alias wants to hear of.
        topology: Is looked at now and then.
    """

    def __init__(self, watch: Watch, topology: Topology) -> None:
        self.watch = watch
        self._topology = topology
        self._voices: dict[Node, Voice] = {}

    def joined_by(self, node: Node) -> Voice:
        """A voice more."""
        return self._voices.setdefault(node, Voice(self))

    def left_by(self, node: Node) -> Voice:
        """A voice less."""
        return self._voices.pop(node, None) or Voice(self)

    def confirm(self) -> None:
        """Serve copies if nothing is overdue from any node."""
        self._topology.look_soon(LOOK_SECONDS)
        confirmed = [voice.confirmed_at for voice in list(self._voices.values())]
        if confirmed and all(confirmed):
            self.watch.confirm(min(confirmed))

    def settle(self) -> None:
        """Let what the least helpful node allows hold for all."""
        ways = {voice.way for voice in list(self._voices.values())}
        if "refused" in ways:
            self.watch.refused()
        elif "announced" in ways:
            self.watch.announced()
        elif ways == {"tracked"}:
            self.watch.tracked(0)


class Voice:
    """One primary's part: what `InvalidationLink` asks of a `Watch`."""

    tracking = None

    def __init__(self, choir: Choir) -> None:
        self._choir = choir
        self.way = ""
        """How the node tells of changes; empty as long as that is not known."""
        self.confirmed_at = 0
        self.has_said = False

    @property
    def prefixes(self) -> tuple[bytes, ...]:
        """See `Watch`."""
        return self._choir.watch.prefixes

    @property
    def announcer(self) -> Announcer:
        """See `Watch`."""
        return self._choir.watch.announcer

    @property
    def max_staleness(self) -> float:
        """See `Watch`."""
        return self._choir.watch.max_staleness

    @property
    def is_confirmed(self) -> bool:
        """Whether this node's word holds."""
        return bool(self.confirmed_at)

    def distrust(self) -> None:
        """Serve nothing before this node has confirmed again."""
        self.confirmed_at = 0
        self._choir.watch.distrust()

    def begin(self) -> None:
        """Its listener starts."""

    def end(self) -> None:
        """Its listener ends."""
        self.deafen()

    def deafen(self) -> None:
        """Nothing is heard of this node from now on."""
        self.way = ""
        self.silence()

    def silence(self) -> None:
        """Serve nothing and hold nothing before this node has confirmed again."""
        self.confirmed_at = 0
        self._choir.watch.silence()

    def confirm(self, asked_at: int) -> None:
        """Nothing of this node is overdue that was acknowledged before ``asked_at``."""
        self.confirmed_at = asked_at
        self._choir.confirm()

    def tracked(self, listener_id: int) -> None:
        """The node tells of changes itself."""
        self._settle("tracked")

    def announced(self) -> None:
        """Writers tell of changes."""
        self._settle("announced")

    def refused(self) -> None:
        """Nobody tells of changes on this node."""
        self._settle("refused")

    def changed(self, redis_keys: Collection[bytes]) -> None:
        """Drop the copies of these keys."""
        self._choir.watch.changed(redis_keys)

    def puzzled(self) -> None:
        """Something was said that cannot be read."""
        self._choir.watch.puzzled()

    def _settle(self, way: str) -> None:
        self.way = way
        self._choir.settle()
