"""Looks at who has which slot, while callers wait for them and give up."""

from __future__ import annotations

import asyncio
import threading

import pytest

from django_callcache.cache.callers import AsyncCaller
from django_callcache.cache.topology import Topology
from tests.topology import client_of


class TestLook:
    async def test_look__others_give_up(self, cluster):
        """A task whose deadline passes, or that is cancelled, takes the look from nobody else."""
        may_go_on = threading.Event()

        def make_client():
            may_go_on.wait(60)
            return client_of(cluster.url)

        topology, caller = Topology(make_client, "cluster"), AsyncCaller()
        looking = topology.look()
        assert await caller.landed(looking, 0.01) is False
        patient, cancelled = (asyncio.create_task(caller.landed(looking, 60)) for _ in range(2))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        may_go_on.set()
        assert await patient is True
        assert looking.exception() is None
        assert set(topology.primaries) == {("127.0.0.1", node.port) for node in cluster.nodes}
