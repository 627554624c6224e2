"""Three real nodes, in the place of the one server that tests elsewhere use."""

from __future__ import annotations

import pytest

from testproject.parts.missing import PartMissing
from testproject.parts.redis_cluster import RedisCluster
from tests.conftest import require
from tests.topology import client_of


@pytest.fixture(scope="session")
def lasting_cluster():
    """A cluster of three nodes, whose slots stay where they are."""
    try:
        with RedisCluster() as nodes:
            yield nodes
    except PartMissing as missing:
        require(str(missing))


@pytest.fixture(scope="module")
def cluster(lasting_cluster):
    """The cluster of the tests of a module."""
    return lasting_cluster


@pytest.fixture(scope="module")
def redis_url(cluster):
    """Its address."""
    return cluster.url


@pytest.fixture(scope="module")
def session_redis(cluster):
    """One redis-py client for a whole module."""
    return client_of(cluster.url)


@pytest.fixture(autouse=True)
def _empty_redis(cluster):
    """Each test finds the nodes empty."""
    yield
    cluster.flush()
